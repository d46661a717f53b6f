"""The database itself refuses changes of status that the domain does not allow."""

from __future__ import annotations

import itertools
import sqlite3

import pytest

from agency.domain.run import ALLOWED, LIVE, RunStatus, may_become
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import start


async def test_lawful_changes_are_those_of_the_domain(database: sqlite3.Connection) -> None:
    stored = set(database.execute("SELECT old, new FROM run_changes"))

    assert {(old.value, new.value) for old, news in ALLOWED.items() for new in news} == stored


@pytest.mark.parametrize(("old", "new"), list(itertools.product(RunStatus, RunStatus)))
async def test_unlawful_changes_are_refused(
    store: SqliteStore, database: sqlite3.Connection, old: RunStatus, new: RunStatus
) -> None:
    run = await start(store)
    set_status = "UPDATE runs SET status = ?, ended_at = ? WHERE id = ?"
    # Every status is reached lawfully from RUNNING, and that from PENDING.
    path = [RunStatus.RUNNING, old] if old is not RunStatus.PENDING else []
    for status in path:
        database.execute(set_status, (status, None if status in LIVE else 1, run.id))

    change = (new, None if new in LIVE else 1, run.id)
    if old is new or may_become(old, new):
        database.execute(set_status, change)
        now = new
    else:
        with pytest.raises(sqlite3.IntegrityError, match="unlawful"):
            database.execute(set_status, change)
        now = old

    assert {now: 1} == await store.runs.count_by_status()


async def test_live_and_ended_cannot_be_confused(
    store: SqliteStore, database: sqlite3.Connection
) -> None:
    await start(store)

    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        database.execute("UPDATE runs SET status = 'cancelled'")
