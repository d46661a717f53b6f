"""One who watches runs, as a door does: reads on, attaches, is detached, reads on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agency.core import json
from agency.domain.update import Update, UpdateFilter
from agency.engine.channel import Dialect, Subscription, Token
from agency.engine.updates import Updates
from tests.integration.engine.house import GUARD_S


def line(update: Update) -> bytes:
    what = update.status if update.type == "status" else update.key
    return json.encode([update.id, update.run_id, update.type, what]) + b"\n"


def token_line(token: Token) -> bytes:
    return json.encode([0, token.run_id, "token", token.text]) + b"\n"


LINES = Dialect(update=line, token=token_line)
EVERYTHING = UpdateFilter()


@dataclass
class Watcher:
    """What somebody sees. ``has_room`` is asked after each piece."""

    subscription: Subscription
    has_room: Callable[[], bool] = lambda: True
    seen: list[tuple[int, str, str, str]] = field(default_factory=list)
    pieces: int = 0
    detached: int = 0
    is_attached: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, piece: bytes) -> bool:
        self.pieces += 1
        self.seen += [tuple(json.decode(one)) for one in piece.splitlines()]
        self._changed.set()
        return self.has_room()

    async def watch(self) -> None:
        while not self.subscription.is_ended:
            async for piece in self.subscription.missed():
                self.take(piece)
            self.is_attached = self.subscription.attach(self.take)
            if self.is_attached:
                await self.subscription.detached()
                self.detached += 1
            await asyncio.sleep(0)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def until_attached(self) -> None:
        async with asyncio.timeout(GUARD_S):
            while not self.is_attached:
                await asyncio.sleep(0.005)

    @property
    def has_end(self) -> bool:
        return ("status", "completed") in self.told

    @property
    def ids(self) -> list[int]:
        return [number for number, *_ in self.seen if number]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(kind, what) for _, _, kind, what in self.seen]


@asynccontextmanager
async def watching(
    hub: Updates,
    run_id: str | None = None,
    *,
    after: int | None = None,
    wanted: UpdateFilter = EVERYTHING,
    dialect: Dialect = LINES,
    has_room: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Watcher]:
    """Watch a run, or all runs, beside the body."""
    if run_id is None:
        subscription = await hub.subscribe(wanted, dialect, after=after)
    else:
        found = await hub.subscribe_run(run_id, wanted, dialect, after=after)
        assert found is not None
        subscription = found
    watcher = Watcher(subscription, has_room)
    task = asyncio.ensure_future(watcher.watch())
    try:
        yield watcher
    finally:
        subscription.close()
        async with asyncio.timeout(GUARD_S):
            await task


async def watch_to_end(hub: Updates, run_id: str, *, after: int | None = None) -> Watcher:
    """Watch a run until its stream has ended."""
    subscription = await hub.subscribe_run(run_id, EVERYTHING, LINES, after=after)
    assert subscription is not None
    watcher = Watcher(subscription)
    async with asyncio.timeout(GUARD_S):
        await watcher.watch()
    subscription.close()
    return watcher
