"""What stands between an engine and its store, and cuts the engine off when it is killed.

To the disk, the end of a process is this: a transaction is carried out or not, its answer comes or
not, and nothing is asked for ever after. The gate does just that, at a chosen transaction.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from agency.core.records import dataclass
from agency.errors import ShuttingDown
from agency.ports.store import Due
from agency.storage.sqlite.store import SqliteStore

WRITES = frozenset(
    {
        "runs.record",
        "runs.suspend",
        "runs.finish",
        "runs.release",
        "approvals.decide",
        "mail.deliver",
        "mail.answer",
        "runs.end",
        "topics.publish",
    }
)
"""Transactions of a run's life. Others (claims, timers, upkeep) come at no fixed place in it."""

_OF_RUNS = WRITES | {"journal.load", "journal.waits", "runs.get", "sessions.messages"}
"""What is asked for by the work on a run, which knows how to leave when the store has closed.

All else is asked for by the loops of the engine; for them the end comes as their cancellation.
"""

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an engine is killed.

    Attributes:
        number: Which of its transactions, from 1.
        when: Before it is carried out, or after it was committed and before anybody is told.
    """

    number: int
    when: When

    def __str__(self) -> str:
        return f"{self.when} transaction {self.number}"


@dataclass(frozen=True, slots=True)
class Write:
    """A transaction that was handed in.

    Attributes:
        what: Room and method: ``runs.record``.
        arguments: What it was called with, by name where it was named.
    """

    what: str
    positional: tuple[Any, ...]
    named: Mapping[str, Any]


Look = Callable[[Write], Awaitable[bool]]
"""Looks at a transaction before it is carried out, and tells whether to kill the engine there."""


class Gate:
    """A store whose engine can be cut off. It is handed to the engine in place of the store.

    Attributes:
        writes: Transactions that were handed in, in order.
        cut: Set once the engine is cut off.
        next_at: When the next of its runs is due, as the timer was last told.
    """

    def __init__(
        self,
        store: SqliteStore,
        at: Cut | None = None,
        look: Look | None = None,
    ) -> None:
        """Let everything through until the cut.

        Args:
            at: Where to cut; by default nowhere.
            look: Asked before each transaction; True cuts before it.
        """
        self.writes: list[Write] = []
        self.cut = asyncio.Event()
        self.next_at: datetime | None = None
        self._store = store
        self._at = at
        self._look = look

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a store has
        found = getattr(self._store, name)
        if callable(found) or isinstance(found, asyncio.Event):
            return found
        room = _Room(self, name, found)
        setattr(self, name, room)
        return room

    def close(self) -> None:
        """Cut the engine off now."""
        self.cut.set()

    async def pass_on(
        self,
        what: str,
        method: Callable[..., Awaitable[Any]],
        *args: Any,  # noqa: ANN401  of any method
        **named: Any,  # noqa: ANN401  the same
    ) -> Any:  # noqa: ANN401  what a store answers
        """Carry out a call of the engine.

        Raises:
            ShuttingDown, CancelledError: the engine is cut off.
        """
        if self.cut.is_set():
            raise _end(what)
        if what not in WRITES:
            answer = await method(*args, **named)
            if self.cut.is_set():
                raise _end(what)
            if isinstance(answer, Due):
                self.next_at = answer.next_at
            return answer
        write = Write(what, args, named)
        self.writes.append(write)
        number = len(self.writes)
        if self._at == Cut(number, "before") or (self._look and await self._look(write)):
            self.close()
            raise ShuttingDown
        answer = await method(*args, **named)
        if self._at == Cut(number, "after"):
            self.close()
        if self.cut.is_set():
            raise ShuttingDown
        return answer


class _Room:
    """A room of the store, seen through the gate."""

    def __init__(self, gate: Gate, name: str, room: object) -> None:
        self._gate = gate
        self._name = name
        self._room = room

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a room has
        found = getattr(self._room, name)
        if not callable(found):
            return found
        passed = functools.partial(self._gate.pass_on, f"{self._name}.{name}", found)
        setattr(self, name, passed)
        return passed


def _end(what: str) -> BaseException:
    return ShuttingDown() if what in _OF_RUNS else asyncio.CancelledError()
