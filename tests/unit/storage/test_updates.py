"""How updates come into the journal, and that their numbers never come twice."""

from __future__ import annotations

import re
import sqlite3

import pytest

from agency.domain.entry import WATCHED_ONLY, EntryKind
from agency.domain.update import TYPES, UNSEEN, UpdateType
from agency.storage.sqlite.migrations import load_migrations, split
from agency.storage.sqlite.statements import load_statements
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import start, start_claimed


def test_every_kind_of_entry_is_seen_or_known_not_to_be() -> None:
    assert set(EntryKind) == set(TYPES) | UNSEEN
    assert set(UpdateType) == set(TYPES.values())


def test_every_change_of_status_tells_its_moment() -> None:
    """The update of it would else have the moment of the change before."""
    changes = {
        name: sql
        for name, sql in load_statements().items()
        if re.match(r"(WITH .*)?UPDATE runs\b", sql, re.DOTALL)
        and re.search(r"SET[^;]*?\b(status|progress) = ", sql.partition("WHERE")[0])
    }

    assert len(changes) > 8
    tells = re.compile(r"changed_at = (:now|wanted\.now)")
    assert [] == [name for name, sql in changes.items() if not tells.search(sql)]


def test_statements_that_leave_updates_out_name_their_kinds() -> None:
    shown = ", ".join(str(int(kind)) for kind in sorted(WATCHED_ONLY))

    for name in ("load_journal", "count_steps"):
        assert f"kind NOT IN ({shown})" in load_statements()[name]


async def test_numbers_rise_also_when_all_runs_are_deleted(
    store: SqliteStore, database: sqlite3.Connection
) -> None:
    await start(store)
    await start_claimed(store)
    newest = await store.updates.newest()

    database.execute("DELETE FROM journal")
    database.execute("DELETE FROM runs")

    assert [(newest,)] == database.execute("SELECT id FROM journal").fetchall()
    await start(store)
    assert newest + 1 == await store.updates.newest()
    database.execute("DELETE FROM journal WHERE id <= ?", (newest,))
    assert [(newest + 1,)] == database.execute("SELECT id FROM journal").fetchall()


async def test_unlawful_change_leaves_no_update(
    store: SqliteStore, database: sqlite3.Connection
) -> None:
    run = await start(store)

    with pytest.raises(sqlite3.IntegrityError):
        database.execute("UPDATE runs SET status = 'completed', ended_at = 1")

    assert 1 == len((await store.updates.of_run(run.id, after=0, limit=9)).updates)


def test_runs_from_before_get_their_status() -> None:
    known = load_migrations()
    number = next(one.number for one in known if one.name == "updates")
    database = sqlite3.connect(":memory:", isolation_level=None)
    for migration in known[: number - 1]:
        for statement in split(migration.text):
            database.execute(statement)
    columns = {
        row[1]: 1 if "INT" in row[2] else "x"
        for row in database.execute("PRAGMA table_info(runs)")
        if row[3] or row[1] == "number"
    }
    columns |= {"status": "completed", "ended_at": 7}
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    database.execute(f"INSERT INTO runs ({names}) VALUES ({places})", list(columns.values()))

    for statement in split(known[number - 1].text):
        database.execute(statement)

    assert [(1, 10, 7, b'{"status":"completed"}')] == database.execute(
        "SELECT run, kind, at, body FROM journal"
    ).fetchall()
    database.close()
