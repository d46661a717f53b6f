"""What workflows keep in memory: noted, compared, forgotten."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from agency.testing.memory import Memory

NUMBER = 1
TEXTS = ["a"]
NESTED: dict[str, Any] = {"inner": [1, 2]}
LATER: list[int]
LOCKED: dict[str, object] = {"lock": object()}


def reader() -> Any:
    return NUMBER, TEXTS, NESTED


def test_globals_are_put_back_in_place() -> None:
    global NUMBER  # noqa: PLW0603
    memory = Memory([reader])
    noted = memory.note()
    held = TEXTS
    NUMBER = 2
    TEXTS.append("b")
    NESTED["inner"].append(3)
    globals()["LATER"] = [1]

    assert {"LATER", "NESTED", "NUMBER", "TEXTS"} == {
        change.name.rpartition(".")[2] for change in memory.changes(noted)
    }
    memory.restore(noted, with_outside=True)

    assert (1, ["a"], {"inner": [1, 2]}) == (NUMBER, TEXTS, NESTED)
    assert held is TEXTS
    assert "LATER" not in globals()
    assert [] == memory.changes(noted)


def test_what_is_not_plain_is_left_alone() -> None:
    memory = Memory([reader])
    noted = memory.note()
    lock = LOCKED["lock"]
    LOCKED["other"] = 1

    memory.restore(noted, with_outside=True)

    assert lock is LOCKED["lock"]
    assert 1 == LOCKED.pop("other")


def test_values_that_functions_close_over_are_reached_through_functions() -> None:
    counts: Counter[str] = Counter()
    last = deque([1], maxlen=2)
    total = 0

    def inner() -> None:
        nonlocal total
        total += 1
        counts["calls"] += 1
        last.append(total)

    def outer() -> None:
        inner()

    memory = Memory([outer])
    noted = memory.note()
    outer()
    outer()
    memory.restore(noted, with_outside=True)

    assert (0, {}, [1]) == (total, dict(counts), list(last))


def test_what_stands_for_the_outside_is_forgotten_only_when_asked() -> None:
    class Shop:
        def __init__(self) -> None:
            self.sold = ["a"]

    shop = Shop()
    memory = Memory([reader], outside=[TEXTS, shop])
    noted = memory.note()
    TEXTS.append("b")
    shop.sold.append("b")

    memory.restore(noted, with_outside=False)
    assert (["a", "b"], ["a", "b"]) == (TEXTS, shop.sold)
    assert 2 == len(memory.changes(noted))
    memory.restore(noted, with_outside=True)

    assert (["a"], ["a"]) == (TEXTS, shop.sold)
