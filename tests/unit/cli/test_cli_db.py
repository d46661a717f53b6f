"""`agency db`, asking a played daemon and on the file of a stopped one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.storage.sqlite.store import open_store
from tests.unit.cli.playing import Agency, Ended, PlayedDaemon, Reply, run_agency

PATH = "/api/v1/db"
STATS: dict[str, Any] = {
    "path": "/data/agency.db",
    "size_bytes": 3 << 20,
    "log_bytes": 100,
    "free_bytes": 5 << 30,
    "page_bytes": 4096,
    "blocked_s": 0.0,
    "runs": {"pending": 1, "completed": 3},
    "tables": [
        {"name": "runs", "rows": 4, "exact": True},
        {"name": "journal", "rows": 100_000, "exact": False},
    ],
    "oldest_at": "2026-01-01T00:00:00.000000Z",
    "oldest_live_at": None,
}


def sound(**members: Any) -> dict[str, Any]:
    return {
        "sound": True,
        "faults": [],
        "checked": ["runs"],
        "unchecked": [],
        "elapsed_s": 0.1,
        **members,
    }


def stopped(tmp_path: Path, *arguments: str) -> Ended:
    """The command line where no daemon is."""
    config = tmp_path / "config.toml"
    config.write_text('[server]\nport = 1\n[llm]\nprovider = "rehearsal"\n')
    return run_agency(["db", *arguments], tmp_path)


def test_stats_are_written_for_people(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{PATH}/stats", Reply(STATS))

    ended = agency("db", "stats")

    assert [
        "database:    /data/agency.db",
        "size:        3.0 MiB",
        "free in it:  5.0 GiB",
        "log:         100 B",
        "runs:        3 completed, 1 pending",
        "oldest:      2026-01-01T00:00:00.000000Z",
        "oldest live: none",
        "runs:        4 rows",
        "journal:     at least 100000 rows",
    ] == ended.out.splitlines()


def test_reader_in_the_way_is_warned_of(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{PATH}/stats", Reply({**STATS, "blocked_s": 61.0}))

    assert "for 61 s" in agency("db", "stats").err


def test_check_ends_by_what_it_has_found(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on(
        "POST",
        f"{PATH}/check",
        Reply(sound()),
        Reply(sound(sound=False, faults=["runs: row 1 missing from index"])),
        Reply(sound(sound=False, unchecked=["journal"])),
    )

    well, damaged, hasty = (agency("db", "check", "--timeout", "90s") for _ in range(3))

    assert [0, 1, 1] == [well.code, damaged.code, hasty.code]
    assert {"timeout_s": 90.0} == daemon.seen[0].body
    assert "row 1 missing" in damaged.out
    assert "no time for journal" in hasty.err


def test_bound_of_the_check_is_checked(agency: Agency, daemon: PlayedDaemon) -> None:
    assert [2, 2] == [agency("db", "check", "--timeout", text).code for text in ("0", "1h")]
    assert [] == daemon.seen


def test_vacuum_and_prune_say_what_they_did(agency: Agency, daemon: PlayedDaemon) -> None:
    pruned = {
        "runs": 7,
        "kept": 1,
        "rows": 90,
        "snapshots": 2,
        "sessions": 3,
        "bytes": 2048,
        "elapsed_s": 1.5,
    }
    daemon.on("POST", f"{PATH}/vacuum", Reply({"bytes": 1 << 20, "free_bytes": 0}))
    daemon.on("POST", f"{PATH}/prune", Reply(pruned))

    vacuumed = agency("db", "vacuum")
    told = agency("db", "prune")

    assert "1.0 MiB were given back; 0 B in it are free still.\n" == vacuumed.err
    assert "7 runs, 2 snapshots and 3 sessions were deleted; 2.0 KiB were given back" in told.err
    assert pruned == agency("db", "prune", "--json").json


def test_file_of_a_stopped_daemon_is_looked_into(tmp_path: Path) -> None:
    missing = stopped(tmp_path, "stats")
    asyncio.run(make(tmp_path / "var" / "agency.db"))

    stats = stopped(tmp_path, "stats", "--json")
    checked = stopped(tmp_path, "check")
    given = stopped(tmp_path, "vacuum", "--json")
    pruned = stopped(tmp_path, "prune", "--json")

    assert 3 == missing.code
    assert "There is no database" in missing.err
    assert (0, {}) == (stats.code, stats.json["runs"])
    assert (0, 0, 0) == (checked.code, given.code, pruned.code)
    assert "sound" in checked.err


def test_damaged_file_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "var" / "agency.db"
    asyncio.run(make(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO tokens (name, prefix, secret_hash, created_at)"
                           " VALUES ('a', 'b', 'c', 1)")  # fmt: skip
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'tokens_live_name'"
        ).fetchone()
    with path.open("r+b") as file:
        # An index that has lost its row: its page is made an empty one.
        file.seek((root - 1) * 4096)
        file.write(bytes([10, 0, 0, 0, 0, 16, 0, 0]))

    ended = stopped(tmp_path, "check")

    assert 1 == ended.code
    assert "tokens" in ended.out
    assert "damaged" in ended.err


def test_database_of_a_live_daemon_is_left_alone(tmp_path: Path) -> None:
    async def look() -> Ended:
        path = tmp_path / "var" / "agency.db"
        settings = StoreSettings(free_bytes_min=0)
        async with open_store(path, settings=settings, clock=SystemClock()):
            return await asyncio.to_thread(stopped, tmp_path, "stats")

    ended = asyncio.run(look())

    assert 8 == ended.code
    assert "is in use" in ended.err


async def make(path: Path) -> None:
    """Make a database as a daemon leaves it."""
    settings = StoreSettings(free_bytes_min=0)
    async with open_store(path, settings=settings, clock=SystemClock()):
        return
