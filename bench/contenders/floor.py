"""Yardsticks on bare sqlite3, with none of an engine's duties: what the machine allows.

``bare`` is a loop of BEGIN, INSERT, COMMIT in one thread. ``floor`` hands each insert to one
writer thread that takes all that waits, commits once and wakes the loop once.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from pathlib import Path
from typing import Any

from bench.meter import Meter

_SCHEMA = """
CREATE TABLE journal (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, key TEXT NOT NULL,
                      body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX journal_key ON journal (run, key);
"""
_INSERT = "INSERT INTO journal (run, key, body) VALUES (?, ?, ?)"
_BATCH_MAX = 128

Row = tuple[int, str, bytes]


def _connect(folder: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        Path(folder) / "floor.db", isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA)
    return connection


def bare(folder: str, steps: int, size: int) -> dict[str, Any]:
    """Commit each row by itself, in the only thread."""
    connection = _connect(folder)
    body = b"x" * size

    def insert(run: int, number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_INSERT, (run, f"work#{number}", body))
        connection.execute("COMMIT")

    for number in range(20):
        insert(0, number)
    meter = Meter()
    for number in range(steps):
        insert(1, number)
    return meter.stop()


class _Writer:
    """The thread with the connection. It ends at None."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Row, asyncio.Future[None]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def insert(self, row: Row) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((row, future))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        waiting, connection = self._queue, self._connection
        while True:
            batch = [waiting.get()]
            for _ in range(min(waiting.qsize(), _BATCH_MAX - 1)):
                batch.append(waiting.get_nowait())
            work = [member for member in batch if member is not None]
            if work:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, [row for row, _ in work])
                connection.execute("COMMIT")
                self._loop.call_soon_threadsafe(_answer, [future for _, future in work])
            if len(work) < len(batch):
                return


def _answer(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


async def group(folder: str, runs: int, steps: int, size: int) -> dict[str, Any]:
    """Let coroutines commit in groups through one writer thread."""
    writer = _Writer(_connect(folder))
    body = b"x" * size

    async def work(run: int, count: int) -> None:
        for number in range(count):
            await writer.insert((run, f"work#{number}", body))

    try:
        await work(0, 20)
        meter = Meter()
        await asyncio.gather(*(work(run, steps) for run in range(1, runs + 1)))
        return meter.stop()
    finally:
        writer.close()
