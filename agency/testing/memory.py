"""What workflows have in memory outside of their runs: looked at, and put back as it was.

A process that is killed forgets its memory. So that this can be played within one process, the
plain values that workflows can reach are noted and put back: globals of their modules, and what
they close over. Instances of classes, connections and the like are left alone.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CellType, FunctionType
from typing import Any

from agency.core.records import dataclass

VALUES_MAX = 10_000
"""Plain values in one container at most; larger ones are taken for caches and left alone."""
_SCALARS = (int, float, complex, str, bytes, bool, type(None))
_MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_CONTAINERS = (list, set, deque, bytearray, *_MAPPINGS)
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is kept: a name in a module, or in what a function closes over."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is another now."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} was {self.before} and is {self.after}"


class Memory:
    """The plain values that some functions can reach.

    Args:
        functions: The workflows.
        outside: Objects that stand for what is outside of the process. They are not forgotten.
    """

    def __init__(
        self, functions: Iterable[Callable[..., Any]], outside: Sequence[object] = ()
    ) -> None:
        self._modules, self._cells = _reach(functions)
        self._outside = {id(_contents(thing)): thing for thing in outside}

    def note(self) -> Mapping[str, Any]:
        """Copy what is there."""
        noted = {place.name: copy.deepcopy(place.get()) for place in self._places()}
        for number, thing in enumerate(self._outside.values(), 1):
            contents = _contents(thing)
            if _is_plain(contents):
                noted[f"outside {number}"] = copy.deepcopy(contents)
        return noted

    def restore(self, noted: Mapping[str, Any], *, with_outside: bool) -> None:
        """Put back what was noted; names that have come since are forgotten.

        Containers are changed in place: whoever holds one sees it as it was.
        """
        for place in list(self._places()):
            if place.name in noted:
                _put(place, noted[place.name])
        for module in self._modules.values():
            for name in [name for name, value in vars(module).items() if _is_tracked(name, value)]:
                if f"{module.__name__}.{name}" not in noted and id(_of(module, name)) not in (
                    self._outside
                ):
                    delattr(module, name)
        if with_outside:
            for number, thing in enumerate(self._outside.values(), 1):
                was = noted.get(f"outside {number}")
                if was is not None:
                    _refill(_contents(thing), was)

    def changes(self, noted: Mapping[str, Any]) -> list[Change]:
        """Tell what is another than it was noted."""
        now = self.note()
        return [
            Change(name, _show(noted, name), _show(now, name))
            for name in sorted({*noted, *now})
            if (name in noted) != (name in now) or noted[name] != now[name]
        ]

    def _places(self) -> Iterator[Place]:
        for module in self._modules.values():
            for name, value in list(vars(module).items()):
                if _is_tracked(name, value) and id(value) not in self._outside:
                    yield _global(module, name)
        for label, cell in self._cells.items():
            value = _content(cell)
            if _is_plain(value) and id(value) not in self._outside:
                yield _closed_over(label, cell)


def _reach(
    functions: Iterable[Callable[..., Any]],
) -> tuple[dict[str, Any], dict[str, CellType]]:
    """Find the modules and cells that functions can reach."""
    modules: dict[str, Any] = {}
    cells: dict[str, CellType] = {}
    seen: set[int] = set()
    waiting = [function for function in functions if isinstance(function, FunctionType)]
    while waiting:
        function = waiting.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        module = sys.modules.get(function.__module__)
        if module is not None and not function.__module__.startswith("agency."):
            modules[function.__module__] = module
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            known = [label for label, other in cells.items() if other is cell]
            if not known:
                label = f"{function.__module__}.{name}"
                cells[label if label not in cells else f"{function.__qualname__}.{name}"] = cell
            value = _content(cell)
            if isinstance(value, FunctionType):
                waiting.append(value)
    return modules, cells


def _global(module: Any, name: str) -> Place:  # noqa: ANN401  a module
    return Place(
        f"{module.__name__}.{name}",
        lambda: getattr(module, name),
        lambda value: setattr(module, name, value),
    )


def _closed_over(label: str, cell: CellType) -> Place:
    def put(value: Any) -> None:  # noqa: ANN401  what an author has kept
        cell.cell_contents = value

    return Place(label, lambda: cell.cell_contents, put)


def _content(cell: CellType) -> Any:  # noqa: ANN401  what an author has kept
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return _content


def _of(module: Any, name: str) -> Any:  # noqa: ANN401  a module
    return vars(module)[name]


def _contents(thing: object) -> Any:  # noqa: ANN401  what an author has kept
    return thing if isinstance(thing, _CONTAINERS) else getattr(thing, "__dict__", thing)


def _is_tracked(name: str, value: object) -> bool:
    return not name.startswith(("__", "@")) and _is_plain(value)


def _is_plain(value: object) -> bool:
    """Tell whether a value is made of plain values only, and not too many."""
    waiting, count = [value], 0
    while waiting:
        found = waiting.pop()
        count += 1
        if count > VALUES_MAX:
            return False
        if type(found) in _SCALARS:
            continue
        if isinstance(found, _SEQUENCES) and type(found) in _SEQUENCES:
            waiting.extend(found)
        elif isinstance(found, dict) and type(found) in _MAPPINGS:
            waiting.extend(found)
            waiting.extend(found.values())
        elif type(found) is not bytearray:
            return False
    return True


def _put(place: Place, was: Any) -> None:  # noqa: ANN401  what an author has kept
    held = place.get()
    if isinstance(held, _CONTAINERS) and type(held) is type(was):
        _refill(held, was)
    else:
        place.set(copy.deepcopy(was))


def _refill(held: Any, was: Any) -> None:  # noqa: ANN401  a container
    fresh = copy.deepcopy(was)
    held.clear()
    if isinstance(held, dict | set):
        held.update(fresh)
    else:
        held.extend(fresh)


def _show(noted: Mapping[str, Any], name: str) -> str:
    shown = repr(noted[name]) if name in noted else "nothing"
    if len(shown) > _SHOWN_CHARACTERS:
        return f"{shown[:_SHOWN_CHARACTERS]}…"
    return shown
