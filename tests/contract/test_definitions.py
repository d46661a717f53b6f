"""`DefinitionStore`, and what `SagaStore` adds to the life of a run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.domain.definition import StoredDefinition
from agency.domain.entry import EntryKind
from agency.domain.run import Phase, RunKind, RunStatus
from agency.errors import (
    CompensationNotFailed,
    DefinitionInUse,
    DefinitionNotFound,
    NameTaken,
    RunNotFound,
    TooManyDefinitions,
)
from agency.ports.store import NOTHING, Claim, Store, Writes
from tests.contract.conftest import Opener
from tests.contract.making import (
    BOOT,
    BROKE,
    T0,
    at,
    claim,
    end,
    finish,
    make_step,
    record,
    start,
    start_claimed,
    status_of,
    suspend,
    wait_for_event,
)


def make(version: str, name: str = "order", **more: Any) -> StoredDefinition:
    body = more.pop("body", {"name": name, "v": version})
    return StoredDefinition(
        name=name, version=version, kind=RunKind.SAGA, body=body, created_at=T0, created_by="me"
    )


async def define(store: Store, new: StoredDefinition, **limits: int) -> bool:
    limits = {"names_max": 10, "versions_max": 10, **limits}
    _, is_changed = await store.definitions.define(new, **limits)
    return is_changed


async def versions(store: Store) -> list[tuple[str, bool]]:
    found = await store.definitions.load(after=0, limit=99)
    return [(one.version, one.is_current) for _, one in found]


# --- definitions ---------------------------------------------------------------------------


async def test_definition_is_kept_as_it_was(opener: Opener) -> None:
    new = make("1", body={"long": "x" * 100_000})
    async with opener() as store:
        assert await define(store, new)
    async with opener() as store:
        assert new == await store.definitions.find("order")
        assert None is await store.definitions.find("other")


async def test_same_version_again_changes_nothing(store: Store) -> None:
    assert await define(store, make("1"))
    assert not await define(store, make("1"))
    assert [("1", True)] == await versions(store)


async def test_versions_that_no_run_needs_are_forgotten(store: Store) -> None:
    await define(store, make("1"))
    claimed = await start_claimed(store, kind=RunKind.SAGA, version="1")
    await define(store, make("2"))
    await define(store, make("3"))
    # A run of the last one may be on its way.
    assert [("1", False), ("2", False), ("3", True)] == await versions(store)

    await finish(store, claimed)
    await define(store, make("4"))
    # It has ended and can still be looked at.
    assert [("1", False), ("3", False), ("4", True)] == await versions(store)
    assert await define(store, make("1"))
    assert [("1", True), ("4", False)] == await versions(store)


async def test_long_definition_goes_with_its_last_version(store: Store) -> None:
    for version in ("1", "2", "3"):
        await define(store, make(version, body={"long": version * 100_000}))
    assert 2 == await blobs(store)

    await store.definitions.delete("order", now=T0)

    assert 0 == await blobs(store)


async def blobs(store: Store) -> int:
    return next(one.rows for one in (await store.upkeep.stats()).tables if one.name == "blobs")


async def test_kept_version_is_not_current(store: Store) -> None:
    await store.definitions.keep(make("1"))
    await store.definitions.keep(make("1"))

    assert [("1", False)] == await versions(store)
    assert None is await store.definitions.find("order")
    assert [] == await store.definitions.list(RunKind.SAGA, after=None, limit=9)


async def test_definitions_are_listed_by_name_and_page(store: Store) -> None:
    for name in ("c", "a", "b"):
        await define(store, make("1", name))

    first = await store.definitions.list(RunKind.SAGA, after=None, limit=2)
    rest = await store.definitions.list(RunKind.SAGA, after="b", limit=2)

    assert (["a", "b"], ["c"]) == ([one.name for one in first], [one.name for one in rest])
    assert [] == await store.definitions.list(RunKind.GRAPH, after=None, limit=9)


async def test_limits_refuse_and_keep_nothing(store: Store) -> None:
    await define(store, make("1"), names_max=1)
    with pytest.raises(TooManyDefinitions):
        await define(store, make("1", "other"), names_max=1)
    await start(store, kind=RunKind.SAGA, version="1")
    with pytest.raises(TooManyDefinitions):
        await define(store, make("2"), versions_max=1)

    assert [("1", True)] == await versions(store)


async def test_definition_is_not_deleted_while_a_run_needs_it(store: Store) -> None:
    await define(store, make("1"))
    claimed = await start_claimed(store, kind=RunKind.SAGA, version="1")
    with pytest.raises(DefinitionInUse):
        await store.definitions.delete("order", now=T0)
    await finish(store, claimed, RunStatus.COMPENSATION_FAILED)
    with pytest.raises(DefinitionInUse):
        await store.definitions.delete("order", now=T0)

    await store.sagas.retry_compensation(claimed.run_id, now=T0)
    await finish(store, await claim(store, claimed.run_id), RunStatus.COMPENSATED)
    await store.definitions.delete("order", now=T0)
    assert [] == await versions(store)
    with pytest.raises(DefinitionNotFound):
        await store.definitions.delete("order", now=T0)


async def test_concurrent_definitions_leave_one_current(store: Store) -> None:
    await asyncio.gather(*(define(store, make(str(number))) for number in range(8)))

    assert 1 == sum(is_current for _, is_current in await versions(store))


# --- a run that compensates ----------------------------------------------------------------


async def start_compensating(store: Store, **changes: Any) -> Any:
    claimed = await start_claimed(store, kind=RunKind.SAGA, **changes)
    await record(store, claimed, entries=[make_step("undo.a#1", kind=EntryKind.AT_END)])
    turn = make_step("!compensating#1", {"status": "failed"}, EntryKind.PHASE)
    await record(store, claimed, entries=[turn], phase=Phase.COMPENSATING, cause=BROKE)
    return claimed


async def test_phase_is_recorded_with_its_cause(store: Store) -> None:
    claimed = await start_compensating(store)

    run = (await store.runs.get(claimed.run_id)).run
    assert (Phase.COMPENSATING, BROKE, RunStatus.RUNNING) == (run.phase, run.error, run.status)


@pytest.mark.parametrize("way", ["claimed", "suspended", "pending"])
async def test_run_that_compensates_is_left_to_it(store: Store, way: str) -> None:
    claimed = await start_compensating(store)
    if way == "suspended":
        await suspend(store, claimed, wait_for_event("a"))
    elif way == "pending":
        await store.runs.recover(owner="other", now=T0)
    before = (await store.runs.get(claimed.run_id)).run

    ending = await end(store, claimed.run_id)

    assert ([], [], [], [claimed.run_id]) == (
        list(ending.ended),
        list(ending.asked),
        list(ending.wakes),
        list(ending.compensating),
    )
    assert before == (await store.runs.get(claimed.run_id)).run


async def test_children_of_a_run_that_compensates_are_left_to_it(store: Store) -> None:
    from tests.contract.making import make_run

    parent = await start_claimed(store)
    saga = make_run(kind=RunKind.SAGA)
    await record(store, parent, children=[saga])
    claimed = await claim(store, saga.id)
    await record(store, claimed, entries=[make_step("undo.a#1", kind=EntryKind.AT_END)])
    await record(store, claimed, phase=Phase.COMPENSATING)
    child = make_run()
    await record(store, claimed, children=[child])

    await finish(store, parent)

    assert RunStatus.PENDING is await status_of(store, child.id)
    assert RunStatus.RUNNING is await status_of(store, saga.id)
    # With its own end they are cancelled as any others.
    await finish(store, claimed, RunStatus.COMPENSATED)
    assert RunStatus.CANCELLED is await status_of(store, child.id)


async def test_deadline_does_not_bind_a_compensation(store: Store) -> None:
    claimed = await start_compensating(store, deadline_at=at(1))

    due = await store.runs.fire_due(now=at(2), limit=9)

    assert ([], None) == (list(due.overdue), due.next_at)
    assert claimed.run_id


# --- retrying it ---------------------------------------------------------------------------


async def test_retried_compensation_is_pending_with_its_failures_superseded(store: Store) -> None:
    claimed = await start_compensating(store, name="mine")
    failure = make_step("!end/undo.b#1", {"code": "error"}, EntryKind.FAILURE)
    attempt = make_step("!end/undo.b#1~1", {"code": "error"}, EntryKind.ATTEMPT)
    forward = make_step("c#1", {"code": "error"}, EntryKind.FAILURE)
    await record(store, claimed, entries=[forward, make_step("!end/undo.a#1"), attempt, failure])
    await finish(store, claimed, RunStatus.COMPENSATION_FAILED)

    wake = await store.sagas.retry_compensation(claimed.run_id, now=at(5))

    run = (await store.runs.get(claimed.run_id)).run
    assert (claimed.run_id, RunStatus.PENDING) == (wake.run_id, wake.status)
    assert (RunStatus.PENDING, Phase.COMPENSATING, 2, None) == (
        run.status,
        run.phase,
        run.attempt,
        run.ended_at,
    )
    keys = [entry.key for entry in (await store.journal.load(claimed.number)).entries]
    assert ["undo.a#1", "!compensating#1", "c#1", "!end/undo.a#1"] == keys
    again = await claim(store, claimed.run_id)
    await record(store, again, entries=[failure])


async def test_run_that_never_came_to_compensate_does_so_when_it_is_retried(store: Store) -> None:
    claimed = await start_claimed(store, kind=RunKind.SAGA)
    await record(store, claimed, entries=[make_step("undo.a#1", kind=EntryKind.AT_END)])
    await finish(store, claimed, RunStatus.COMPENSATION_FAILED)

    await store.sagas.retry_compensation(claimed.run_id, now=T0)

    entries = (await store.journal.load(claimed.number)).entries
    assert ["undo.a#1", "!compensating#1"] == [entry.key for entry in entries]
    assert b'"status":"failed"' in entries[1].body
    assert b'"message":"It broke."' in entries[1].body


async def test_only_a_failed_compensation_is_retried(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await store.sagas.retry_compensation("nobody", now=T0)
    claimed = await start_compensating(store)
    with pytest.raises(CompensationNotFailed):
        await store.sagas.retry_compensation(claimed.run_id, now=T0)
    await finish(store, claimed, RunStatus.COMPENSATION_FAILED)

    results = await asyncio.gather(
        *(store.sagas.retry_compensation(claimed.run_id, now=T0) for _ in range(5)),
        return_exceptions=True,
    )

    assert 4 == sum(isinstance(one, CompensationNotFailed) for one in results)


async def test_name_that_is_taken_meanwhile_is_in_the_way(store: Store) -> None:
    claimed = await start_compensating(store, name="mine")
    await finish(store, claimed, RunStatus.COMPENSATION_FAILED)
    other = await start_claimed(store, name="mine")

    with pytest.raises(NameTaken):
        await store.sagas.retry_compensation(claimed.run_id, now=T0)

    await finish(store, other)
    await store.sagas.retry_compensation(claimed.run_id, now=T0)


@pytest.mark.parametrize("hold", [{"session_id": "s"}, {"concurrency_key": "k"}])
async def test_retried_compensation_stands_in_line_again(
    store: Store, hold: dict[str, str]
) -> None:
    claimed = await start_compensating(store, **hold)
    await finish(store, claimed, RunStatus.COMPENSATION_FAILED)
    other = await start_claimed(store, **hold)

    await store.sagas.retry_compensation(claimed.run_id, now=T0)
    last = await start(store, **hold)

    assert [] == await claimed_ids(store)
    await finish(store, other)
    assert [claimed.run_id] == await claimed_ids(store)
    again = (await store.runs.get(claimed.run_id)).run
    await finish(store, Claim(again.number, again.id, again.epoch), RunStatus.COMPENSATED)
    assert [last.id] == await claimed_ids(store)


async def claimed_ids(store: Store) -> list[str]:
    return [run.id for run in (await store.runs.claim(limit=9, owner=BOOT, now=at(5))).runs]


async def test_writes_with_a_phase_are_not_empty() -> None:
    assert NOTHING.is_empty
    assert not Writes(phase=Phase.COMPENSATING).is_empty
