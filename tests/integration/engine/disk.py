"""The disk under a store: held up, so that what is handed in meanwhile is one group, or full."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.house import GUARD_S

_ENOUGH_PAGES = 1 << 30


class HeldDisk:
    """While the body runs, or until `let_go`, nothing is committed; what comes has to wait."""

    def __init__(self, store: SqliteStore) -> None:
        self._writer = store._writer
        self._reached = threading.Event()
        self._go = threading.Event()
        self._task: asyncio.Future[None] | None = None

    async def __aenter__(self) -> HeldDisk:
        self._task = asyncio.ensure_future(self._writer.submit(self._hold))
        async with asyncio.timeout(GUARD_S):
            while not self._reached.is_set():
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            while self._writer._is_gathering:
                await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.let_go()
        assert self._task is not None
        await self._task

    async def until_waiting(self, count: int) -> None:
        """Wait until so many transactions wait for the disk."""
        async with asyncio.timeout(GUARD_S):
            while self._writer._queue.qsize() < count:
                await asyncio.sleep(0)

    def let_go(self) -> None:
        self._go.set()

    def _hold(self, _: Any) -> None:
        self._reached.set()
        assert self._go.wait(GUARD_S)


def block_until_recorded(path: Path, key: str) -> None:
    """Hold up the loop until an entry is durable: what awaits it has not heard of it then."""
    reader = sqlite3.connect(path / "agency.db")
    try:
        until_s = time.monotonic() + GUARD_S
        while not reader.execute("SELECT 1 FROM journal WHERE key = ?", (key,)).fetchone():
            assert time.monotonic() < until_s, f"{key} was not handed to the writer"
    finally:
        reader.close()


async def fill(store: SqliteStore) -> None:
    """Let the database grow no further."""

    def limit(tx: Any) -> None:
        (pages,) = tx._connection.execute("PRAGMA page_count").fetchone()
        tx._connection.execute(f"PRAGMA max_page_count = {pages}")

    await store._writer.submit(limit)


async def empty(store: SqliteStore) -> None:
    """Let the database grow again."""
    await store._writer.submit(
        lambda tx: tx._connection.execute(f"PRAGMA max_page_count = {_ENOUGH_PAGES}").fetchone()
    )
