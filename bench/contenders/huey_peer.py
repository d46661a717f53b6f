"""Huey on SQLite as it is shipped (WAL, FULL). It deletes a task before it runs: at most once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.consumer import Consumer

from bench.meter import Meter

GUARD_S = 200.0


def _open(folder: str) -> Any:
    path = Path(folder) / "huey.db"
    huey = SqliteHuey(filename=str(path))
    with closing(sqlite3.connect(path)) as connection:
        # What a connection that sets nothing has is what Huey's have.
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    return huey


def process(folder: str, runs: int, workers: int) -> dict[str, Any]:
    """Work off so many tasks by so many threads."""
    huey = _open(folder)
    all_done = threading.Event()
    lock = threading.Lock()
    done = 0

    @huey.task()  # type: ignore[untyped-decorator]
    def noop() -> None:
        nonlocal done
        with lock:
            done += 1
            if done == runs:
                all_done.set()

    for _ in range(runs):
        noop()
    consumer = Consumer(huey, workers=workers, periodic=False)
    meter = Meter()
    consumer.start()
    assert all_done.wait(GUARD_S), done
    answer = meter.stop()
    consumer.stop(graceful=True)
    assert huey.storage.queue_size() == 0
    return answer


def enqueue(folder: str, runs: int, at_once: int) -> dict[str, Any]:
    """Put in one by one, by so many threads beside each other."""
    huey = _open(folder)

    @huey.task()  # type: ignore[untyped-decorator]
    def noop() -> None:
        """Do nothing."""

    noop()
    if at_once == 1:
        meter = Meter()
        for _ in range(runs):
            noop()
        return meter.stop()
    return _beside(runs, at_once, noop)


def _beside(runs: int, at_once: int, put: Callable[[], Any]) -> dict[str, Any]:
    numbers = iter(range(runs))
    lock = threading.Lock()

    def call() -> None:
        while True:
            with lock:
                if next(numbers, None) is None:
                    return
            put()

    threads = [threading.Thread(target=call) for _ in range(at_once)]
    meter = Meter()
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + GUARD_S
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
        assert not thread.is_alive()
    return meter.stop()
