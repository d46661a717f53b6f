"""Records are dataclasses in every way, only made later."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import TypeAdapter

from agency.core.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    """A record."""

    kind: ClassVar[str] = "mine"
    id: str
    count: int = 3
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secret: str = dataclasses.field(default="x", repr=False, compare=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The same, as the standard library makes it."""

    kind: ClassVar[str] = "mine"
    id: str
    count: int = 3
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secret: str = dataclasses.field(default="x", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Place:
    number: int
    path: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below zero")


@dataclass(frozen=True, slots=True)
class Deeper(Place):
    depth: int = 0


@dataclass(frozen=True)
class Loose:
    value: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loose) and abs(self.value - other.value) < 2

    def __hash__(self) -> int:
        return 7


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


def test_record_says_of_itself_what_a_dataclass_says() -> None:
    mine, standard = Mine(id="a", tags={"b": "c"}), Standard(id="a", tags={"b": "c"})

    assert repr(mine).replace("Mine", "Standard") == repr(standard)
    assert dataclasses.asdict(mine) == dataclasses.asdict(standard)
    assert [f.name for f in dataclasses.fields(Mine)] == [
        f.name for f in dataclasses.fields(Standard)
    ]
    assert Mine.__match_args__ == Standard.__match_args__
    assert str(inspect.signature(Mine.__init__)) == str(inspect.signature(Standard.__init__))
    assert not hasattr(mine, "__dict__")
    assert Mine.kind == "mine"


@pytest.mark.parametrize("given", [{}, {"id": "a", "nothing": 1}], ids=["too_little", "too_much"])
def test_wrong_arguments_are_refused_as_by_a_dataclass(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as by_standard:
        Standard(**given)
    for _ in range(2):
        with pytest.raises(TypeError) as by_mine:
            Mine(**given)
        assert str(by_mine.value).replace("Mine", "Standard") == str(by_standard.value)
    with pytest.raises(TypeError, match="positional"):
        Mine(*["a"])  # type: ignore[call-arg]


def test_records_are_equal_by_what_is_compared() -> None:
    assert Mine(id="a") == Mine(id="a", secret="y")
    assert Mine(id="a") != Mine(id="b")
    assert Mine(id="a").__eq__(Standard(id="a")) is NotImplemented
    assert hash(Place(1, ("a",))) == hash(Place(1, ("a",)))
    assert {Nothing(), Nothing()} == {Nothing()}
    assert Place(1) != Deeper(1)
    assert Loose(1) == Loose(2)
    assert hash(Loose(1)) == 7


def test_record_cannot_be_changed() -> None:
    for record, name in ((Mine(id="a"), "id"), (Deeper(1), "number"), (Mine(id="a"), "other")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(record, name)


def test_record_is_replaced_copied_and_sent_to_another_process() -> None:
    record = Mine(id="a", tags={"b": "c"})

    assert dataclasses.replace(record, count=4) == Mine(id="a", count=4, tags={"b": "c"})
    assert copy.copy(record) == record
    assert copy.deepcopy(record) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert pickle.loads(pickle.dumps(Deeper(1, ("a",), 2))) == Deeper(1, ("a",), 2)


def test_defaults_are_made_for_each_record() -> None:
    one, other = Mine(id="a"), Mine(id="b")

    assert one.tags == {}
    assert one.tags is not other.tags


def test_record_of_a_record_has_its_fields_and_checks() -> None:
    deeper = Deeper(1, (), 2)

    assert (deeper.number, deeper.depth) == (1, 2)
    with pytest.raises(ValueError, match="below zero"):
        Deeper(-1)
    with pytest.raises(ValueError, match="below zero"):
        Place(-1)


def test_records_are_read_and_written_by_pydantic() -> None:
    adapter, standard = TypeAdapter(Mine), TypeAdapter(Standard)

    assert adapter.validate_json('{"id": "a", "count": 4}') == Mine(id="a", count=4)
    assert adapter.dump_json(Mine(id="a")) == standard.dump_json(Standard(id="a"))
    schema = adapter.json_schema()
    assert {**schema, "title": "", "description": ""} == {
        **standard.json_schema(),
        "title": "",
        "description": "",
    }
    with pytest.raises(ValueError, match="below zero"):
        TypeAdapter(Place).validate_json('{"number": -1}')


def test_record_that_may_change_is_a_dataclass_at_once() -> None:
    @dataclass(slots=True)
    class Counter:
        count: int = 0

    counter = Counter()
    counter.count += 1

    assert counter == Counter(1)
    with pytest.raises(TypeError):
        hash(counter)


@dataclass(frozen=True, slots=True)
class Mixed:
    first: int
    second: int = 2
    third: list[int] = dataclasses.field(default_factory=list)
    last: int = dataclasses.field(default=4, kw_only=True)


class Derived(Mixed):
    """Of no decorator: its objects have a dictionary, and are of another layout."""


def test_record_is_of_its_class_and_filled_in_order() -> None:
    mixed = Mixed(1, 3, last=5)

    assert type(mixed) is Mixed
    assert repr(mixed) == "Mixed(first=1, second=3, third=[], last=5)"
    assert str(inspect.signature(Mixed.__init__)) == (
        "(self, first: 'int', second: 'int' = 2, third: 'list[int]' = <factory>, *,"
        " last: 'int' = 4) -> None"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        mixed.first = 2  # type: ignore[misc]


def test_object_of_a_class_derived_without_the_decorator_is_filled_as_well() -> None:
    Mixed(1)

    derived = Derived(1, third=[7])

    assert type(derived) is Derived
    assert (derived.first, derived.second, derived.third, derived.last) == (1, 2, [7], 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        derived.first = 2  # type: ignore[misc]
