"""The writer: groups, faults, cancelling, closing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.domain.run import Run
from agency.errors import Fenced, JournalKeyTaken, ShuttingDown, StoreBroken
from agency.ports.store import RunFilter
from agency.storage.sqlite import upkeep
from agency.storage.sqlite.statements import load_record_statements, load_statements
from agency.storage.sqlite.store import SqliteStore
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import Writer
from tests.contract.making import (
    finish,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    status_of,
    wait_for_event,
)
from tests.unit.storage.conftest import Opener

GUARD_S = 5


class Gate:
    """Keeps the writer busy until it is opened, so that what is handed in meanwhile is a group."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._event = threading.Event()
        self._reached = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def _wait(self, _: Transaction) -> None:
        self._reached.set()
        assert self._event.wait(GUARD_S)

    async def __aenter__(self) -> Gate:
        self._task = asyncio.ensure_future(self._store._writer.submit(self._wait))
        while not self._reached.is_set():
            await asyncio.sleep(0)
        return self

    def open(self) -> None:
        self._event.set()

    async def __aexit__(self, *_: object) -> None:
        self.open()
        assert self._task is not None
        await self._task


def commits(store: SqliteStore) -> list[str]:
    """Statements that begin or end a transaction, as they are run from now on."""
    seen: list[str] = []
    inserts = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "INSERT INTO JOURNAL")

    def trace(sql: str) -> None:
        if sql.upper().startswith(inserts):
            seen.append(sql.split(maxsplit=1)[0].upper())

    store._writer._connection.set_trace_callback(trace)
    return seen


async def test_what_waits_is_one_commit(store: SqliteStore) -> None:
    claims = [await start_claimed(store) for _ in range(20)]
    async with Gate(store):
        seen = commits(store)
        calls: list[Any] = [record(store, one, entries=[make_step("s")]) for one in claims]
        calls += [store.runs.start(make_run()) for _ in range(5)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # handed over at the end of the turn in which it was handed in
    await asyncio.gather(*tasks)

    # The gate's own commit, then one for all: one insert for twenty entries.
    assert ["COMMIT", "BEGIN", "INSERT", "SAVEPOINT", "COMMIT"] == seen


async def test_neighbours_of_what_raises_are_carried_out_once(store: SqliteStore) -> None:
    done: list[str] = []

    def fail(_: Transaction) -> None:
        raise ValueError

    async with Gate(store):
        calls: list[Any] = [
            store._writer.submit(lambda _: done.append("before")),
            store._writer.submit(fail),
            store._writer.submit(lambda _: done.append("after")),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results[1], ValueError)
    assert ["before", "after"] == done


async def test_group_of_entries_alone_is_one_statement(store: SqliteStore) -> None:
    claims = [await start_claimed(store) for _ in range(50)]
    async with Gate(store):
        seen = commits(store)
        tasks = [
            asyncio.ensure_future(record(store, one, entries=[make_step("s")])) for one in claims
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    assert ["COMMIT", "INSERT"] == seen


def keys_in_order(store: SqliteStore) -> list[str]:
    rows = store._writer._connection.execute(
        "SELECT key FROM journal WHERE key NOT GLOB '!!*' ORDER BY id"
    ).fetchall()
    return [key for (key,) in rows]


async def test_group_is_carried_out_in_the_order_of_arrival(store: SqliteStore) -> None:
    """Whatever the sorts of its transactions, and whoever's they are."""
    one, other = await start_claimed(store), await start_claimed(store)
    async with Gate(store):
        seen = commits(store)
        calls: list[Any] = [
            record(store, one, entries=[make_step("a")]),
            record(store, other, entries=[make_step("b")]),
            record(store, one, entries=[make_step("c")], progress=1, has_progress=True),
            record(store, one, entries=[make_step("d")]),
            record(store, other, entries=[make_step("e")], waits=[wait_for_event("w")]),
            record(store, other, entries=[make_step("f")]),
            record(store, one, entries=[make_step("g")]),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # handed over at the end of the turn in which it was handed in
    await asyncio.gather(*tasks)

    assert list("abcdefg") == keys_in_order(store)
    # Still one commit, and what follows one another is still one statement.
    operation = ["SAVEPOINT", "INSERT"]
    segments = ["INSERT", *operation, "INSERT", *operation, "INSERT"]
    assert ["COMMIT", "BEGIN", *segments, "COMMIT"] == seen


async def test_order_of_arrival_holds_when_a_group_is_undone(store: SqliteStore) -> None:
    claimed, failing = await start_claimed(store), await start_claimed(store)
    await record(store, failing, entries=[make_step("taken")])
    async with Gate(store):
        calls: list[Any] = [
            record(store, claimed, entries=[make_step("a")], progress=1, has_progress=True),
            record(store, claimed, entries=[make_step("b")]),
            record(store, failing, entries=[make_step("taken")]),
            record(store, claimed, entries=[make_step("c")], progress=2, has_progress=True),
            record(store, claimed, entries=[make_step("d")]),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results[2], JournalKeyTaken)
    assert ["taken", *"abcd"] == keys_in_order(store)


async def test_order_of_arrival_holds_from_wave_to_wave(store: SqliteStore) -> None:
    claimed = await start_claimed(store)
    wanted: list[str] = []

    def hand_in(key: str) -> asyncio.Future[Any]:
        wanted.append(key)
        more = {"progress": key, "has_progress": True} if len(wanted) % 3 == 0 else {}
        return asyncio.ensure_future(record(store, claimed, entries=[make_step(key)], **more))

    async def go_on(branch: int) -> None:
        for i in range(20):
            # Handed in by tasks of their own, whose turns are in the order of their making.
            await hand_in(f"{branch}.{i}")

    await asyncio.gather(*(go_on(branch) for branch in range(7)))

    assert wanted == keys_in_order(store)


async def test_nothing_is_recorded_after_an_end_that_was_handed_in_before(
    store: SqliteStore,
) -> None:
    claimed = await start_claimed(store)
    async with Gate(store):
        tasks = [
            asyncio.ensure_future(finish(store, claimed)),
            asyncio.ensure_future(record(store, claimed, entries=[make_step("late")])),
        ]
        await asyncio.sleep(0)
    _, late = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(late, Fenced)
    assert [] == keys_in_order(store)


async def test_lone_record_is_one_statement(store: SqliteStore) -> None:
    claimed = await start_claimed(store)
    seen = commits(store)

    await record(store, claimed, entries=[make_step("s")])

    assert ["INSERT"] == seen


async def test_group_with_every_kind_of_fault_answers_each(store: SqliteStore) -> None:
    claims = [await start_claimed(store) for _ in range(4)]
    await finish(store, claims[1])
    await record(store, claims[2], entries=[make_step("s")])

    def fail(tx: Transaction) -> None:
        tx.change("add_session", ("left behind", 0))
        raise ValueError("a bug")

    async with Gate(store):
        calls: list[Any] = [record(store, one, entries=[make_step("s")]) for one in claims]
        calls += [store._writer.submit(fail), store.runs.start(make_run(id="run"))]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    kinds = [type(result) for result in results]
    assert [list, Fenced, JournalKeyTaken, list, ValueError] == kinds[:5]
    await store.runs.get("run")
    rows = await store._writer.submit(
        lambda tx: tx._connection.execute("SELECT count(*) FROM sessions").fetchone()
    )
    assert (0,) == rows
    assert 1 == (await store.runs.get(claims[0].run_id)).steps_executed
    assert 1 == (await store.runs.get(claims[2].run_id)).steps_executed


async def test_group_larger_than_one_statement_is_kept(store: SqliteStore) -> None:
    claims = [await start_claimed(store) for _ in range(40)]
    entries = [make_step(f"s{i}") for i in range(9)]
    async with Gate(store):
        tasks = [asyncio.ensure_future(record(store, one, entries=entries)) for one in claims]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    for one in claims:
        assert 9 == len((await store.journal.load(one.number)).entries)


async def test_cancelled_caller_does_not_undo_its_transaction(store: SqliteStore) -> None:
    claimed = await start_claimed(store)
    async with Gate(store):
        tasks = [
            asyncio.ensure_future(record(store, claimed, entries=[make_step("a")])),
            asyncio.ensure_future(store.runs.start(make_run(id="run"))),
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
    await record(store, claimed, entries=[make_step("b")])

    entries = (await store.journal.load(claimed.number)).entries
    assert ["a", "b"] == [entry.key for entry in entries]
    await store.runs.get("run")


async def test_closing_carries_out_what_was_handed_in(opener: Opener) -> None:
    async with opener() as store:
        tasks = [asyncio.ensure_future(store.runs.start(make_run())) for _ in range(300)]
        await asyncio.sleep(0)
    assert 300 == sum(one.is_new for one in await asyncio.gather(*tasks))

    async with opener() as store:
        assert 300 == len(await store.runs.list(RunFilter(), before=None, limit=1000))


async def test_closed_store_refuses(opener: Opener) -> None:
    async with opener() as store:
        claimed = await start_claimed(store)

    with pytest.raises(ShuttingDown):
        await start(store)
    with pytest.raises(ShuttingDown):
        await record(store, claimed, entries=[make_step("a")])
    with pytest.raises(ShuttingDown):
        await status_of(store, claimed.run_id)
    assert not await store.check(timeout_s=1)


async def test_error_while_opening_is_raised_and_lets_go(opener: Opener, path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        async with opener():
            pass
    path.rmdir()

    async with opener() as store:
        await start(store)


def test_loop_that_ends_early_is_no_fault(path: Path) -> None:
    """Answers to a loop that was closed are dropped; the transaction is kept."""
    path.parent.mkdir()
    connect = partial(upkeep.connect, path, settings=StoreSettings(), clock=SystemClock())
    gate = threading.Event()

    def work(tx: Transaction) -> None:
        assert gate.wait(GUARD_S)
        tx.change("add_session", ("kept", 0))

    async def hand_in() -> Writer:
        writer = Writer(connect, on_broken=lambda: None)
        await writer.open()
        task = asyncio.ensure_future(writer.submit(work))
        await asyncio.sleep(0)
        task.cancel()
        closing = asyncio.ensure_future(writer.close())
        await asyncio.sleep(0)
        closing.cancel()
        return writer

    writer = asyncio.run(hand_in())
    gate.set()
    writer._thread.join(GUARD_S)

    assert not writer._thread.is_alive()
    with closing(sqlite3.connect(path)) as database:
        assert [("kept",)] == database.execute("SELECT id FROM sessions").fetchall()


async def test_busy_database_is_waited_for(
    store: SqliteStore, database: sqlite3.Connection
) -> None:
    await store._writer.submit(lambda tx: tx._connection.execute("PRAGMA busy_timeout = 10"))
    claimed = await start_claimed(store)
    database.execute("BEGIN IMMEDIATE")
    tasks = [
        asyncio.ensure_future(start(store)),
        asyncio.ensure_future(record(store, claimed, entries=[make_step("a")])),
    ]

    is_alive = await store.check(timeout_s=0.2)
    database.execute("ROLLBACK")
    await asyncio.gather(*tasks)

    assert not is_alive
    assert await store.check(timeout_s=GUARD_S)


async def test_error_that_nobody_thought_of_is_answered(store: SqliteStore) -> None:
    claimed = await start_claimed(store)
    statements, store._writer._record_statements = store._writer._record_statements, {}

    with pytest.raises(KeyError):
        await record(store, claimed, entries=[make_step("a")])

    store._writer._record_statements = statements
    await record(store, claimed, entries=[make_step("a")])


async def test_fault_of_the_disk_breaks_the_store(store: SqliteStore) -> None:
    claimed = await start_claimed(store)

    def fail(_: Transaction) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
        raise error

    async with Gate(store):
        tasks = [
            asyncio.ensure_future(start(store)),
            asyncio.ensure_future(store._writer.submit(fail)),
            asyncio.ensure_future(record(store, claimed, entries=[make_step("a")])),
        ]
        await asyncio.sleep(0)
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(GUARD_S):
        await store.broken.wait()

    # One by one: what came before the fault was kept, nothing after it is tried.
    assert isinstance(first, Run)
    assert (StoreBroken, StoreBroken) == (type(second), type(third))
    with pytest.raises(StoreBroken):
        await start(store)
    with pytest.raises(StoreBroken):
        await record(store, claimed, entries=[make_step("a")])
    assert not await store.check(timeout_s=GUARD_S)


def test_free_pages_are_given_back(path: Path) -> None:
    path.parent.mkdir()
    with closing(upkeep.connect(path, settings=StoreSettings(), clock=SystemClock())) as connection:
        for i in range(8):
            keep = load_statements()["keep_blob"]
            connection.execute(keep, (str(i), bytes(1_000_000)))
        connection.execute("DELETE FROM blobs")
        upkeep.tidy(connection)
        before = path.stat().st_size

        while not upkeep.tidy(connection):
            pass

        # Up to 4 MiB of free pages are kept for use again.
        assert path.stat().st_size <= before - 3_000_000


async def test_statement_cache_holds_all_statements() -> None:
    assert len(load_statements()) + len(load_record_statements()) < 512
