"""The gate: how an engine is cut off from its store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agency.domain.run import RunStatus
from agency.errors import ShuttingDown
from agency.ports.store import NOTHING, Claim, RunFilter
from agency.storage.sqlite.store import SqliteStore
from agency.testing import MovedClock, open_temporary_store
from agency.testing.gate import Cut, Gate
from tests.contract.making import make_run

CLOCK = MovedClock()


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    async with open_temporary_store(CLOCK) as opened:
        yield opened


async def claimed(gate: Gate) -> Claim:
    await gate.runs.start(make_run())
    (run,) = await gate.runs.claim(limit=1, owner="boot-1", now=CLOCK.now())
    return Claim(run.number, run.id, run.epoch)


async def finish(gate: Gate, claim: Claim) -> None:
    await gate.runs.finish(
        claim, NOTHING, status=RunStatus.COMPLETED, output=1, error=None, now=CLOCK.now()
    )


@pytest.mark.parametrize(("when", "is_done"), [("before", False), ("after", True)])
async def test_nobody_is_told_of_the_transaction_of_the_cut(
    store: SqliteStore, when: str, is_done: bool
) -> None:
    gate = Gate(store, Cut(1, "before" if when == "before" else "after"))
    claim = await claimed(gate)

    with pytest.raises(ShuttingDown):
        await finish(gate, claim)

    assert gate.cut.is_set()
    status = (await store.runs.get(claim.run_id)).run.status
    assert is_done == (status is RunStatus.COMPLETED)


async def test_nothing_is_answered_after_the_cut(store: SqliteStore) -> None:
    gate = Gate(store)
    claim = await claimed(gate)

    gate.close()

    with pytest.raises(ShuttingDown):
        await finish(gate, claim)
    with pytest.raises(asyncio.CancelledError):
        await gate.runs.list(RunFilter(), before=None, limit=1)
    assert RunStatus.RUNNING is (await store.runs.get(claim.run_id)).run.status


async def test_answer_that_comes_after_the_cut_is_lost(store: SqliteStore) -> None:
    gate = Gate(store)
    claim = await claimed(gate)
    finishing = asyncio.ensure_future(finish(gate, claim))
    await asyncio.sleep(0)

    gate.close()

    with pytest.raises(ShuttingDown):
        await finishing
    assert RunStatus.COMPLETED is (await store.runs.get(claim.run_id)).run.status


async def test_look_may_cut_before_a_transaction(store: SqliteStore) -> None:
    seen = []

    async def look(write: object) -> bool:
        seen.append(write)
        return True

    gate = Gate(store, look=look)
    claim = await claimed(gate)

    with pytest.raises(ShuttingDown):
        await finish(gate, claim)
    assert ["runs.finish"] == [write.what for write in gate.writes]
    assert seen == gate.writes
