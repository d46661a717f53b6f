"""Many readers of one thing share one look at it.

A popular run is read by many at once; each look costs a hop to a reader's thread and the writing
of the same bytes. So those who come while a look is under way wait for the next one, together.
They do not join the one under way: it may be older than an answer that a reader has seen already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agency.errors import AgencyError

_Key = TypeVar("_Key", bound=Hashable)
_Seen = TypeVar("_Seen")


@dataclass(slots=True)
class _Outcome(Generic[_Seen]):
    """What a look has brought: a value or an error; neither when it was cut off or met a bug."""

    values: list[_Seen] = field(default_factory=list)
    error: AgencyError | None = None


@dataclass(slots=True)
class _Turn(Generic[_Seen]):
    """One thing's looks: the lock of the one under way, and the one that is to begin."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    next: asyncio.Future[_Outcome[_Seen]] | None = None


class SharedLooks(Generic[_Key, _Seen]):
    """Looks at things by key; each look begins after all who share it have asked."""

    def __init__(self, look: Callable[[_Key], Awaitable[_Seen]]) -> None:
        self._look = look
        self._turns: dict[_Key, _Turn[_Seen]] = {}

    async def get(self, key: _Key) -> _Seen:
        """Look at a thing, alone or with others; raises what the look raises."""
        while True:
            turn = self._turns.setdefault(key, _Turn())
            joined = turn.next
            if joined is None:
                return await self._lead(key, turn)
            # Shielded, because one who leaves must not take the look from the others.
            outcome = await asyncio.shield(joined)
            if outcome.error is not None:
                raise outcome.error
            if outcome.values:
                return outcome.values[0]

    async def _lead(self, key: _Key, turn: _Turn[_Seen]) -> _Seen:
        outcome = _Outcome[_Seen]()
        mine = turn.next = asyncio.get_running_loop().create_future()
        try:
            async with turn.lock:
                turn.next = None
                seen = await self._look(key)
            outcome.values.append(seen)
        except AgencyError as error:
            outcome.error = error
            raise
        finally:
            mine.set_result(outcome)
            if turn.next is mine:
                turn.next = None
            if turn.next is None and not turn.lock.locked():
                self._turns.pop(key, None)
        return seen
