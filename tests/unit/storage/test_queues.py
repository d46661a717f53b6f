"""Queues inside SQLite: what a claim looks at, and how older databases come over."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agency.core.clock import SystemClock
from agency.core.limits import AGEING_S
from agency.domain.queue import QueueLimits
from agency.domain.run import RunStatus
from agency.storage.sqlite import claims, migrations
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import BOOT, T0, at, end, ids, make_run, start
from tests.unit.storage.conftest import Opener


async def looks_of_a_claim(store: SqliteStore) -> int:
    """Instructions of SQLite's machine that a claim takes which hands out one run."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 0

    def counted(tx: object) -> int:
        connection = tx._connection  # type: ignore[attr-defined]
        connection.set_progress_handler(look, 1)
        try:
            found = claims.claim(tx, limit=64, owner=BOOT, now=0)  # type: ignore[arg-type]
        finally:
            connection.set_progress_handler(None, 0)
        return len(found.rows)

    assert 1 == await store._writer.submit(counted)
    return looks


@pytest.mark.parametrize("obstacle", ["full", "paused", "rate", "workflow", "blocked"])
async def test_what_cannot_be_claimed_costs_a_look_however_much_it_is(
    store: SqliteStore, obstacle: str
) -> None:
    limits = QueueLimits(
        name="mail",
        concurrency=1 if obstacle == "full" else None,
        rate=1 if obstacle == "rate" else None,
        rate_period_s=1e6,
    )
    workflows = {"order": 1} if obstacle == "workflow" else {}
    await store.queues.configure([limits], workflows=workflows, now=at(-1e9))
    key = "k" if obstacle == "blocked" else None

    async def fill(runs: int) -> None:
        await store.runs.start_many(
            [make_run(queue="mail", concurrency_key=key) for _ in range(runs)]
        )

    await fill(10)
    await store.runs.claim(limit=1, owner=BOOT, now=at(-1e9))
    if obstacle == "paused":
        await store.queues.pause("mail", now=T0)
    # Later than all of those, so that it is found behind them.
    await start(store, workflow="other", created_at=at(9))
    few = await looks_of_a_claim(store)
    await fill(3000)
    await start(store, workflow="other", created_at=at(9))

    many = await looks_of_a_claim(store)

    assert many < few * 1.5


async def test_ageing_in_the_schema_is_the_limit(database: sqlite3.Connection) -> None:
    (sql,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'runs'").fetchone()

    assert f"priority * {AGEING_S * 1_000_000:.0f}" in sql


async def test_older_database_comes_over_with_its_sessions_and_counts(
    opener: Opener, path: Path
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        known = migrations.load_migrations()[:2]
        migrations.apply(connection, path, clock=SystemClock(), backups_max=1, known=known)
        add = """
            INSERT INTO runs (
                   id, status, epoch, session_blocked, priority, available_at, not_before,
                   attempt, max_attempts, crashes, ran_alone, has_at_end, generation, steps,
                   created_at, session_id, session_place, workflow, version, kind, phase, queue,
                   correlation_id, principal, seed, input, ended_at, idempotency_key)
            VALUES (?, ?, 0, ?, ?, 1, ?, 1, 1, 0, 0, 0, 0, 0, 1, ?, ?, 'order', '1', 'function',
                    'forward', 'default', '', 'local', '7', x'7b7d', ?, ?)"""
        for row in (
            ("old", "completed", 0, 0, None, "s", 1, 5, "k"),
            ("first", "pending", 0, 0, None, "s", 2, None, None),
            ("second", "pending", 1, 9, None, "s", 3, None, None),
            ("child", "pending", 0, 1, None, "s", None, None, None),
            ("late", "pending", 0, 0, 1 << 60, None, None, None, None),
        ):
            connection.execute(add, row)

    async with opener() as store:
        counts = await store.runs.count_by_status()
        claimed = await store.runs.claim(limit=9, owner=BOOT, now=T0)
        ending = await end(store, "late")
        run = await start(store, session_id="s")
        again = await store.runs.start(make_run(idempotency_key="k", principal="local"))
        place = (await store.runs.get(run.id)).behind

    assert {RunStatus.COMPLETED: 1, RunStatus.PENDING: 4} == counts
    assert ["child", "first"] == ids(claimed)
    assert ["late"] == list(ending.ended)
    assert ("first", "old") == (place, again.run.id)
