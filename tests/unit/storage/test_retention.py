"""Retention knows every table, and survives a kill in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from agency.domain.retention import Bound
from agency.domain.run import RunStatus
from agency.storage.sqlite.statements import load_statements
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import start_suspended, wait_for_event
from tests.unit.storage.conftest import Opener

HANDLED = {"waits", "events", "snapshots", "messages", "workspace_versions"}
"""Tables whose rows are deleted, or let go, before the run that they name."""

CHILD = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from agency.config.schema import Retention as Settings, Store
from agency.core.clock import SystemClock
from agency.engine.retention import Retention
from agency.storage.sqlite.store import open_store

async def main() -> None:
    clock = SystemClock()
    settings = Store(free_bytes_min=0)
    async with open_store(Path({path!r}), settings=settings, clock=clock) as store:
        print("open", flush=True)
        wanted = Settings(completed_age_s=1e-6, batch_runs=7, batch_rows=40, pause_s=0)
        await Retention(store=store.upkeep, clock=clock, settings=wanted).make_pass()
        print("done", flush=True)

asyncio.run(main())
"""


async def test_every_table_that_names_runs_is_dealt_with(database: sqlite3.Connection) -> None:
    """A new table with runs in it must be deleted from in ``retention``, or cascade."""
    named = set()
    for (table,) in database.execute(load_statements()["list_tables"]).fetchall():
        for row in database.execute(f"PRAGMA foreign_key_list({table})"):
            _, _, target, _, _, _, on_delete, _ = row
            if target in {"runs", "waits"} and on_delete != "CASCADE" and table != "runs":
                named.add(table)

    # A run that has ended stands in no line.
    assert HANDLED | {"holds"} == named


async def test_every_column_that_may_name_a_blob_is_looked_into(
    database: sqlite3.Connection,
) -> None:
    """A blob is deleted when nothing refers to it, and that is looked up by index."""
    columns = set()
    for (table,) in database.execute(load_statements()["list_tables"]).fetchall():
        for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})"):
            if kind == "ANY":
                columns.add((table, column))
    statement = load_statements()["delete_lonely_blob"]

    for table, column in columns:
        clause = f"FROM {table} WHERE {column} = :hash AND typeof({column}) = 'text'"
        assert clause in statement, (table, column)
    plan = database.execute(f"EXPLAIN QUERY PLAN {statement}", {"hash": "x"}).fetchall()
    assert len(columns) == sum(f"{table}_blob" in step or "_blob (" in step for *_, step in plan)


def fill(path: Path, runs: int) -> None:
    """Put ended runs with children, journals and shared bodies into a database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO blobs VALUES ('shared', zeroblob(70000))")
        for i in range(runs):
            parent = None if i % 4 == 0 else f"run-{i - i % 4}"
            cursor = connection.execute(
                "INSERT INTO runs (status, epoch, blocked, priority, available_at, attempt,"
                " max_attempts, crashes, ran_alone, has_at_end, generation, steps, created_at, id,"
                " workflow, version, kind, phase, queue, parent_id, correlation_id, principal,"
                " seed, input, ended_at)"
                " VALUES ('completed', 1, 0, 0, ?, 1, 1, 0, 0, 0, 0, 0, ?, ?,"
                " 'w', '1', 'function', 'forward', 'default', ?, '', '', '1', ?, ?)",
                (i, i, f"run-{i}", parent, b"null", i + 1),
            )
            number = cursor.lastrowid
            for j in range(i % 30):
                body: Any = "shared" if j == 5 else b"1"
                connection.execute(
                    "INSERT INTO journal (run, epoch, kind, at, key, body)"
                    " VALUES (?, 1, 1, ?, ?, ?)",
                    (number, i, f"step-{j}#1", body),
                )
            connection.execute(
                "INSERT INTO waits (run, key, kind, name, target, opened_at, outcome, resolved_at,"
                " resolved_number) VALUES (?, 'w', 'event', 'w', '', 1, 'answered', 1, ?)",
                (number, i + 1),
            )
            connection.execute(
                "INSERT INTO events (id, run, name, created_at, taken_by, payload)"
                " VALUES ('e', ?, 'w', 1, (SELECT max(id) FROM waits), ?)",
                (number, b"1"),
            )
        connection.execute("COMMIT")


def look(path: Path) -> dict[str, Any]:
    """What is consistent in a database, whatever it holds."""
    with closing(sqlite3.connect(path)) as connection:

        def one(sql: str) -> Any:
            return connection.execute(sql).fetchone()[0]

        return {
            "integrity": one("PRAGMA integrity_check"),
            "foreign": connection.execute("PRAGMA foreign_key_check").fetchall(),
            "runs": one("SELECT count(*) FROM runs"),
            "counted": one("SELECT coalesce(sum(runs), 0) FROM run_counts"),
            # Of a run that is gone a journal may be left, but only if that is known.
            "lost": one(
                "SELECT count(*) FROM journal WHERE run NOT IN (SELECT number FROM runs)"
                " AND run NOT IN (SELECT run FROM leftovers)"
            ),
            "holes": one(
                "SELECT count(*) FROM journal WHERE typeof(body) = 'text'"
                " AND body NOT IN (SELECT hash FROM blobs)"
            ),
            "halves": one(
                "SELECT count(*) FROM runs WHERE (number - 1) % 30 > 0 AND number NOT IN"
                " (SELECT run FROM journal WHERE kind = 1)"
            ),
        }


SOUND = {"integrity": "ok", "foreign": [], "lost": 0, "holes": 0, "halves": 0}


async def test_kill_in_the_middle_of_a_pass_leaves_whole_runs(
    opener: Opener, path: Path, seed: int
) -> None:
    async with opener():
        pass
    fill(path, 1200)
    source = random.Random(seed)
    code = CHILD.format(root=str(Path(__file__).parents[3]), path=str(path))
    left = 1200

    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert "open\n" == process.stdout.readline()
            await asyncio.sleep(source.uniform(0, 0.15))  # where the kill falls is the test
            os.kill(process.pid, signal.SIGKILL)
        found = look(path)
        assert SOUND.items() <= found.items(), json.dumps(found)
        assert found["runs"] == found["counted"] <= left
        left = found["runs"]

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    found = look(path)
    assert "open\ndone\n" == done.stdout
    assert SOUND.items() <= found.items()
    # The run with the newest wait stays, and so does what it is a child of.
    assert found["runs"] <= 4


async def test_blob_is_deleted_with_the_last_that_refers_to_it(
    store: SqliteStore, database: sqlite3.Connection, path: Path
) -> None:
    fill(path, 8)
    database.execute("UPDATE runs SET input = 'shared' WHERE id = 'run-4'")
    everything = {RunStatus.COMPLETED: Bound(through=1 << 40)}
    await store.upkeep.retire([1], everything, rows_max=1000)
    (between,) = database.execute("SELECT count(*) FROM blobs").fetchone()
    database.execute("DELETE FROM journal WHERE typeof(body) = 'text'")
    await start_suspended(store, wait_for_event("newest"))
    await store.upkeep.retire([5], everything, rows_max=1000)
    (after,) = database.execute("SELECT count(*) FROM blobs").fetchone()

    assert (1, 0) == (between, after)
