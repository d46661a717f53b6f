"""Sagas for tests, whose legs write down what they do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from agency import Leg, LegContext, Retry, Saga

ONCE = Retry(attempts=1)
QUICK = Retry(attempts=3, base_s=0.01, jitter=False)


@dataclass
class Diary:
    """What was done, in order, and what is to go wrong.

    Attributes:
        done: ``do a``, ``undo a``, with what each was told.
        failures: Times that ``do a`` or ``undo a`` fails before it works; -1: always.
        holds: Where somebody waits, until it is let go.
    """

    done: list[str] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    holds: dict[str, asyncio.Event] = field(default_factory=dict)
    is_there: dict[str, asyncio.Event] = field(default_factory=dict)
    contexts: dict[str, list[LegContext]] = field(default_factory=dict)

    def hold(self, what: str) -> asyncio.Event:
        """Let it wait there; gives what is set when it has come."""
        self.holds[what] = asyncio.Event()
        self.is_there[what] = asyncio.Event()
        return self.is_there[what]

    async def note(self, what: str, context: LegContext) -> None:
        self.done.append(what)
        self.contexts.setdefault(what, []).append(context)
        if what in self.holds:
            self.is_there[what].set()
            await self.holds[what].wait()
        left = self.failures.get(what, 0)
        if left:
            self.failures[what] = left - 1
            raise ValueError(f"{what} does not work")

    def leg(self, leg_id: str, **more: Any) -> Leg:
        """A leg that hands back ``<id>!`` and is undone with it."""

        async def do(ctx: LegContext) -> str:
            await self.note(f"do {leg_id}", ctx)
            return f"{leg_id}!"

        async def undo(ctx: LegContext, result: str | None) -> None:
            await self.note(f"undo {leg_id}", ctx)

        more.setdefault("undo", undo)
        more.setdefault("undo_retry", ONCE)
        return Leg(id=leg_id, do=more.pop("do", do), **more)

    def saga(self, *legs: str | Leg, **more: Any) -> Saga:
        saga = Saga("order", **more)
        for leg in legs:
            saga.add(self.leg(leg) if isinstance(leg, str) else leg)
        return saga
