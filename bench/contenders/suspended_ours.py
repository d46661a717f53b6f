"""A database with very many suspended runs: some by the engine, the rest copied from those."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from agency.domain.run import RunStatus
from bench import flows
from bench.contenders import ours

_HOUR_MS = 3_600_000
_TRIGGER = "run_update_started"
"""Makes the first entry of a run's journal, which is copied as well."""


async def fill(folder: str, runs: int, real: int) -> dict[str, Any]:
    """Suspend ``real`` runs, half on timers and half on events, and copy them up to ``runs``.

    Returns:
        ``real_bytes`` and ``bytes``: size of the closed database with the real ones, with all.
        ``ids``: some of those that wait for an event, spread over all.
    """
    assert runs % real == 0
    path = Path(folder) / ours.DATABASE
    async with ours.open_runs(folder):
        pass  # makes the schema
    empty = path.stat().st_size
    async with ours.open_runs(folder, flows.nap, linger_s=0.0) as verbs:
        names = ["bench-wait", "bench-nap"] * (real // 2)
        for begin in range(0, real, 500):
            ids = await asyncio.gather(
                *(ours._start(verbs, name, None) for name in names[begin : begin + 500])
            )
            async with asyncio.timeout(ours.GUARD_S):
                for run_id in ids:
                    while (await verbs.get(run_id)).run.status is not RunStatus.SUSPENDED:
                        await asyncio.sleep(0.005)
    real_bytes = path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _copy(connection, runs // real - 1)
        found = connection.execute(
            "SELECT id FROM runs WHERE workflow = 'bench-wait' AND number % 97 = 0 ORDER BY number"
        ).fetchall()
        (count,) = connection.execute(
            "SELECT sum(runs) FROM run_counts WHERE status = 'suspended'"
        ).fetchone()
        assert count == runs, count
    ids = [row[0] for row in found]
    return {
        "elapsed_s": 1.0,
        "real_bytes": real_bytes - empty,
        "bytes": path.stat().st_size - empty,
        "ids": ids[:: max(1, len(ids) // 500)],
    }


def _copy(connection: sqlite3.Connection, times: int) -> None:
    """Copy all runs, with what belongs to them, so many times."""
    connection.create_function("later", 2, _later, deterministic=True)
    for pragma in ("synchronous = OFF", "cache_size = -400000", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    (trigger,) = connection.execute(
        "SELECT sql FROM sqlite_master WHERE name = ?", (_TRIGGER,)
    ).fetchone()
    connection.execute("BEGIN")
    connection.execute(f"DROP TRIGGER {_TRIGGER}")
    last = {
        table: connection.execute(f"SELECT max({column}) FROM {table}").fetchone()[0]
        for table, column in _NUMBERS.items()
    }
    copies = [_statement(connection, table) for table in _NUMBERS]
    for time in range(1, times + 1):
        steps = {f"{table}_step": last[table] * time for table in _NUMBERS}
        bounds = {f"{table}_last": last[table] for table in _NUMBERS}
        for statement in copies:
            connection.execute(statement, {**steps, **bounds, "time": time})
    connection.execute(trigger)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_NUMBERS: Mapping[str, str] = {
    "runs": "number",
    "journal": "id",
    "waits": "id",
    "snapshots": "number",
}
"""What a suspended run has, by table, and the columns that number it."""

_CHANGED: Mapping[tuple[str, str], str] = {
    ("runs", "number"): "number + :runs_step",
    ("runs", "id"): "later(id, :time)",
    ("runs", "snapshot_id"): "later(snapshot_id, :time)",
    ("journal", "id"): "id + :journal_step",
    ("journal", "run"): "run + :runs_step",
    ("journal", "key"): (
        "CASE WHEN key GLOB '!![1-9]*' THEN '!!' || (substr(key, 3) + :journal_step) ELSE key END"
    ),
    ("waits", "id"): "id + :waits_step",
    ("waits", "run"): "run + :runs_step",
    ("waits", "due_at"): "due_at + :time * 1000000",
    ("snapshots", "number"): "number + :snapshots_step",
    ("snapshots", "id"): "later(id, :time)",
    ("snapshots", "run"): "run + :runs_step",
    ("snapshots", "entry_number"): "entry_number + :journal_step",
}


def _statement(connection: sqlite3.Connection, table: str) -> str:
    columns: Sequence[str] = [
        row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()
    ]
    values = ", ".join(_CHANGED.get((table, column), column) for column in columns)
    number = _NUMBERS[table]
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"
        f" SELECT {values} FROM {table} WHERE {number} <= :{table}_last ORDER BY {number}"
    )


def _later(text: str | None, hours: int) -> str | None:
    """Move the moment in a UUIDv7: ids go on rising, and stay apart. Source: RFC 9562, 5.7."""
    return None if text is None else str(UUID(int=UUID(text).int + (hours * _HOUR_MS << 80)))
