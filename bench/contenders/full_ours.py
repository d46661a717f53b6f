"""Agency's engine over a database that is full of runs that have ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from agency.core.ids import derive_id
from bench.contenders import ours
from bench.tracing import traced

STEPS_EACH = 2
_DAY_US = 86_400_000_000
_BEGIN_US = 1_767_225_600_000_000
"""The first run was accepted at the beginning of 2026."""


async def work(
    folder: str,
    finished: int,
    elsewhere: int,
    runs: int,
    steps: int,
    size: int,
    is_traced: bool = False,
) -> dict[str, Any]:
    """Do the workload of ``ours.work`` beside so many runs that have ended.

    Args:
        folder: Where the databases are made.
        finished: Runs that have ended, in the database that is worked on.
        elsewhere: The same in another that is not looked at again, so that all contenders come to
            the measurement from as much work: a process that has been busy is measured cheaper.
        runs: As in ``ours.work``.
        steps: As in ``ours.work``.
        size: As in ``ours.work``.
        is_traced: Count ``statements`` and ``instructions`` too, which costs time.
    """
    aside = Path(folder) / "elsewhere"
    aside.mkdir()
    for place, count in ((aside, elsewhere), (Path(folder), finished)):
        async with ours.open_runs(str(place)):
            pass  # makes the schema
        _fill(place / ours.DATABASE, count)
    if not is_traced:
        return await ours.work(folder, runs=runs, steps=steps, size=size)
    with traced() as counts:
        return await ours.work(folder, runs=runs, steps=steps, size=size, also=counts)


def _fill(path: Path, finished: int) -> None:
    """Put in what runs of two steps leave, without doing them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # How it came in does not count, and takes a quarter of the time so.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO runs (status, epoch, blocked, priority, available_at, attempt,"
            " max_attempts, crashes, ran_alone, has_at_end, generation, steps, created_at, id,"
            " workflow, version, kind, phase, queue, correlation_id, principal, seed, input,"
            " output, ended_at)"
            " VALUES ('completed', 1, 0, 0, ?1, 1, 1, 0, 0, 0, 0, 2, ?1, ?2, 'bench-steps', '1',"
            " 'function', 'forward', 'default', '', 'local', '7', ?3, ?3, ?1 + 1000)",
            _runs(finished),
        )
        connection.execute(
            "WITH RECURSIVE step (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < ?)"
            " INSERT INTO journal (run, epoch, kind, at, key, body)"
            " SELECT runs.number, 1, 1, runs.created_at, 'work#' || step.n, x'2261626322'"
            "   FROM runs CROSS JOIN step WHERE runs.status = 'completed'",
            (STEPS_EACH,),
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _runs(finished: int) -> Iterator[tuple[int, str, bytes]]:
    for number in range(finished):
        yield _BEGIN_US + number * _DAY_US // 10_000, derive_id("full", str(number)), b'{"n":1}'
