"""Whether a database is sound: looked through table by table, on a connection of its own.

Each table with its indexes is one read, so that the write-ahead log can be copied in between.
Source: https://sqlite.org/pragma.html#pragma_integrity_check. Of a single table it leaves out the
list of free pages, which holds nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

from agency.core.clock import monotonic_s
from agency.ports.upkeep import CheckResult
from agency.storage.sqlite import faults
from agency.storage.sqlite.statements import load_statements

_FAULTS_MAX = 100
"""Faults that are told: where there are more, nobody reads on."""
_STEPS = 10_000
"""Steps of the database between two looks at the clock: about a millisecond."""


async def check(path: Path, *, timeout_s: float) -> CheckResult:
    """Look through all tables, ``timeout_s`` in all; what there is no time for is told."""
    loop = asyncio.get_running_loop()
    is_over = threading.Event()
    # A thread of its own: it may be at it for minutes, and readers are for short reads.
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-check")
    try:
        return await loop.run_in_executor(pool, partial(_check, path, timeout_s, is_over))
    finally:
        is_over.set()
        pool.shutdown(wait=False)


def _check(path: Path, timeout_s: float, is_over: threading.Event) -> CheckResult:
    started_s = monotonic_s()
    until_s = started_s + timeout_s
    address = f"file:{quote(str(path))}?mode=ro"
    found: list[str] = []
    checked: list[str] = []
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.set_progress_handler(lambda: is_over.is_set() or monotonic_s() > until_s, _STEPS)
        left = [name for (name,) in connection.execute(load_statements()["list_tables"])]
        while left and monotonic_s() < until_s and not is_over.is_set():
            try:
                found += _check_table(connection, left[0])
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                    break
                if not faults.is_fatal(error):
                    raise
                found.append(f"{left[0]}: {error}")
            checked.append(left.pop(0))
    return CheckResult(
        faults=found[:_FAULTS_MAX],
        checked=checked,
        unchecked=left,
        elapsed_s=monotonic_s() - started_s,
    )


def _check_table(connection: sqlite3.Connection, name: str) -> list[str]:
    # The name is one of the schema's own.
    quoted = name.replace('"', '""')
    rows = connection.execute(f'PRAGMA integrity_check("{quoted}")').fetchall()
    said = [text for (text,) in rows if text != "ok"]
    return [f"{name}: {text}" for text in said]
