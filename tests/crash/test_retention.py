"""Daemons are killed while they delete what has expired: nothing is half gone, nor too much."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.crash.daemons import GUARD_S, Daemon, Place
from tests.crash.driver import RUNS, until
from tests.crash.shim import Shim, read_count
from tests.crash.story import all_of
from tests.crash.test_stops import kill, start, stops_in

EXPIRED = 12
KEPT = 3
STEPS = 4
SAMPLE = 6
RETENTION = {
    "AGENCY_RETENTION__INTERVAL_S": "1",
    "AGENCY_RETENTION__COMPLETED_RUNS_MAX": str(KEPT),
    "AGENCY_RETENTION__BATCH_RUNS": "2",
    "AGENCY_RETENTION__BATCH_ROWS": "3",
    "AGENCY_RETENTION__PAUSE_S": "0",
}
"""Batches so small that a run does not fit into one: there are many places to be killed at."""

Point = tuple[int, Any]


async def test_retention_killed_at_sampled_commits_goes_on(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_retention(tmp_path, library, seed, sample=SAMPLE)


@pytest.mark.soak
async def test_retention_killed_at_every_commit_goes_on(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_retention(tmp_path, library, seed, sample=None)


async def _kill_retention(tmp_path: Path, library: Path, seed: int, *, sample: int | None) -> None:
    live, newest = await _fill(tmp_path / "full")

    async def tell(point: Point) -> bool:
        number, when = point
        folder = tmp_path / f"{number}-{when}"
        async with _full_place(tmp_path, folder) as place:
            shim = Shim(library=library, database=place.database, kill_sync=number, kill_when=when)
            daemon = await place.spawn(shim)
            was_killed = not daemon.url or await _until_killed_or_clean(daemon)
            daemon.kill()
            await daemon.wait_ended()
            _check_whole(place.database, live)
            await _check_end(place, live, newest)
            return was_killed

    points = await _points(tmp_path, library, seed, sample)
    assert await all_of(tell, points) >= len(points) // 2


async def _fill(folder: Path) -> tuple[str, list[str]]:
    """Make runs that will have expired, some that are kept, and one that lives; give the latter."""
    async with stops_in(folder) as place:
        daemon = await place.start()
        live = await start(daemon, "stops-asking", 1)
        await until(daemon, live, lambda run: run["status"] == "suspended")
        ended = []
        for _ in range(EXPIRED + KEPT):
            body = {"workflow": "stops-nowhere", "input": STEPS}
            ended.append((await daemon.post(RUNS, body))["id"])
            await until(daemon, ended[-1])
        daemon.stop()
        assert await daemon.wait_ended() == 0
    return live, ended[-KEPT:]


def _full_place(tmp_path: Path, folder: Path) -> Any:
    folder.mkdir(parents=True)
    shutil.copytree(tmp_path / "full/var", folder / "var")
    return stops_in(folder, **RETENTION)


async def _points(tmp_path: Path, library: Path, seed: int, sample: int | None) -> list[Point]:
    """Count the commits from the start on until all is deleted, and choose some of them."""
    async with _full_place(tmp_path, tmp_path / "whole") as place:
        count = place.folder / "syncs"
        shim = Shim(library=library, database=place.database, count=count)
        daemon = await place.start(shim)
        before = read_count(count)
        await _until_clean(daemon)
        syncs = range(before + 1, read_count(count) + 1)
    points = [(number, when) for number in syncs for when in ("before", "after")]
    return random.Random(seed).sample(points, min(sample, len(points))) if sample else points


async def _until_clean(daemon: Daemon) -> None:
    """Wait until what has expired is deleted."""
    async with asyncio.timeout(GUARD_S):
        # Nobody is told of what is deleted: its log is all that can be watched.
        while not any(line["message"] == "retention has deleted" for line in daemon.messages()):
            await asyncio.sleep(0.02)


async def _until_killed_or_clean(daemon: Daemon) -> bool:
    """Wait for whatever comes first; True if it was killed."""
    clean = asyncio.ensure_future(_until_clean(daemon))
    ended = asyncio.ensure_future(daemon.ended.wait())
    await asyncio.wait({clean, ended}, return_when=asyncio.FIRST_COMPLETED)
    clean.cancel()
    ended.cancel()
    return daemon.ended.is_set() and daemon.process.wait() == -9


def _check_whole(database: Path, live: str) -> None:
    """Check that the database is sound, that no run has lost a part, and that the live one is."""
    with closing(sqlite3.connect(database)) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()
        steps = connection.execute(
            "SELECT runs.id, runs.status, count(journal.key) FROM runs LEFT JOIN journal"
            " ON journal.run = runs.number AND journal.kind = 1 GROUP BY runs.id"
        ).fetchall()
        lost = connection.execute(
            "SELECT run FROM journal WHERE run NOT IN (SELECT number FROM runs)"
            " AND run NOT IN (SELECT run FROM leftovers)"
        ).fetchall()
        kept = connection.execute("SELECT status, runs FROM run_counts WHERE runs > 0").fetchall()
    assert [] == lost, "what is left of a journal would never be deleted"
    assert {(live, "suspended", 1)} <= set(steps)
    others = [count for run_id, _, count in steps if run_id != live]
    assert len(others) >= KEPT
    assert {STEPS + 1} == set(others), "a run has lost a part of its journal"
    assert {"suspended": 1, "completed": len(others)} == dict(kept)


async def _check_end(place: Place, live: str, newest: list[str]) -> None:
    """Let another daemon delete the rest, and see that all else is there and works."""
    daemon = await place.start()
    await _until_clean_or_was(daemon, newest)
    page = await daemon.get(f"{RUNS}?status=completed&limit=100")
    assert sorted(newest) == sorted(run["id"] for run in page["runs"])
    for run_id in newest:
        found = await daemon.get(f"{RUNS}/{run_id}/steps?limit=100")
        assert STEPS + 1 == sum(entry["kind"] == "step" for entry in found["steps"])
    await daemon.post(f"{RUNS}/{live}/resume", {"input": "yes"})
    run = await until(daemon, live)
    assert [1, "yes", 2] == run["output"]
    left = await kill(place, daemon)
    assert live in left.runs


async def _until_clean_or_was(daemon: Daemon, newest: list[str]) -> None:
    """Wait until only the newest are left; the daemon before may have deleted all the others."""
    async with asyncio.timeout(GUARD_S):
        while True:
            page = await daemon.get(f"{RUNS}?status=completed&limit=100")
            if len(page["runs"]) <= len(newest):
                return
            await asyncio.sleep(0.05)
