"""`RunStore.finish`: parents, sessions, successors."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from agency.domain.entry import EntryKind
from agency.domain.run import ENDED, LIVE, RunError, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import Fenced
from agency.ports.store import NOTHING, Claim, Store, Writes
from tests.contract.making import (
    BOOT,
    BROKE,
    T0,
    at,
    claim,
    deliver,
    finish,
    ids,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    status_of,
    suspend,
    wait_for,
    wait_for_event,
    waits_of,
)


@pytest.mark.parametrize("status", sorted(ENDED))
async def test_run_ends_with_what_it_has(store: Store, status: RunStatus) -> None:
    claimed = await start_claimed(store)

    wakes = await store.runs.finish(
        claimed,
        Writes(entries=[make_step("last")], waits=[wait_for_event("open")]),
        status=status,
        output={"n": 1},
        error=BROKE,
        now=at(9),
    )

    detail = await store.runs.get(claimed.run_id)
    assert [] == list(wakes)
    assert (status, {"n": 1}, BROKE, at(9), None) == (
        detail.run.status,
        detail.run.output,
        detail.run.error,
        detail.run.ended_at,
        detail.run.owner,
    )
    assert (1, []) == (detail.steps_executed, list(detail.waits))
    assert WaitOutcome.CANCELLED is (await waits_of(store, claimed))["open"].outcome
    assert {status: 1} == await store.runs.count_by_status()


@pytest.mark.parametrize("status", sorted(LIVE))
async def test_run_cannot_end_alive(store: Store, status: RunStatus) -> None:
    claimed = await start_claimed(store)

    with pytest.raises(ValueError, match="cannot end"):
        await finish(store, claimed, status)

    assert RunStatus.RUNNING == await status_of(store, claimed.run_id)


async def test_old_claim_cannot_finish(store: Store) -> None:
    old = await start_claimed(store)
    await store.runs.recover(owner="boot-2", now=T0)
    new = await claim(store, old.run_id, owner="boot-2")

    with pytest.raises(Fenced):
        await finish(store, old, output="old")
    await finish(store, new, output="new")
    with pytest.raises(Fenced):
        await finish(store, new, output="again")

    assert "new" == (await store.runs.get(old.run_id)).run.output


async def start_family(store: Store) -> tuple[Claim, Claim]:
    """A claimed parent with a claimed child that it does not wait for yet."""
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    return parent, await claim(store, child.id)


async def test_end_of_a_child_wakes_its_suspended_parent(store: Store) -> None:
    parent, child = await start_family(store)
    await suspend(store, parent, wait_for("c", WaitKind.CHILD, target=child.run_id))

    wakes = await finish(store, child, RunStatus.FAILED, {"partly": True})

    assert [(parent.run_id, RunStatus.PENDING)] == [(w.run_id, w.status) for w in wakes]
    payload = (await waits_of(store, parent))["c"].payload
    assert ("failed", {"partly": True}) == (payload["status"], payload["output"])
    assert (BROKE.code, BROKE.message, BROKE.details) == (
        payload["error"]["code"],
        payload["error"]["message"],
        payload["error"]["details"],
    )


async def test_end_of_a_child_before_the_wait_lets_the_parent_go_on(store: Store) -> None:
    parent, child = await start_family(store)
    early = await finish(store, child, output="x" * 100_000)

    snapshot_id = await suspend(store, parent, wait_for("c", WaitKind.CHILD, target=child.run_id))

    assert ([], None) == (early, snapshot_id)
    assert "x" * 100_000 == (await waits_of(store, parent))["c"].payload["output"]


async def test_end_of_a_child_tells_its_claimed_parent(store: Store) -> None:
    parent, child = await start_family(store)
    await record(store, parent, waits=[wait_for("c", WaitKind.CHILD, target=child.run_id)])

    wakes = await finish(store, child)

    assert [(parent.run_id, RunStatus.RUNNING)] == [(w.run_id, w.status) for w in wakes]


async def test_end_of_a_child_at_the_same_time_is_never_lost(store: Store) -> None:
    families = [await start_family(store) for _ in range(20)]

    calls = []
    for i, (parent, child) in enumerate(families):
        pair = [
            suspend(store, parent, wait_for("c", WaitKind.CHILD, target=child.run_id)),
            finish(store, child, output=i),
        ]
        calls += pair if i % 2 else pair[::-1]
    await asyncio.gather(*calls)

    for i, (parent, _) in enumerate(families):
        assert i == (await waits_of(store, parent))["c"].payload["output"]
        assert await status_of(store, parent.run_id) in {RunStatus.RUNNING, RunStatus.PENDING}


async def test_successor_takes_over_name_session_parent_and_wait(store: Store) -> None:
    parent = await start_claimed(store)
    first = make_run(name="loop", session_id="s")
    await record(store, parent, children=[first])
    queued = await start(store, session_id="s")
    await suspend(store, parent, wait_for("c", WaitKind.CHILD, target=first.id))
    second = make_run(input={"n": 2})

    wakes = await finish(store, await claim(store, first.id), successor=second)

    run = (await store.runs.get(second.id)).run
    assert ("loop", "s", parent.run_id, {"n": 2}) == (
        run.name,
        run.session_id,
        run.parent_id,
        run.input,
    )
    assert [second.id] == ids(wakes)
    assert RunStatus.SUSPENDED == await status_of(store, parent.run_id)
    assert second.id == (await store.runs.get(queued.id)).behind

    last = await finish(store, await claim(store, second.id), output="end")

    assert sorted([parent.run_id, queued.id]) == sorted(ids(last))
    assert "end" == (await waits_of(store, parent))["c"].payload["output"]


@dataclass(frozen=True)
class Brood:
    """Children of one claimed parent, one in each state, and what belongs to them."""

    parent: Claim
    pending: str
    suspended: Claim
    running: Claim
    grandchild: Claim
    with_work: Claim
    """Suspended, with work registered for its end."""
    undecided: Claim
    """Suspended, with a decision to be made."""


async def start_brood(store: Store) -> Brood:
    parent = await start_claimed(store)
    children = [make_run() for _ in range(5)]
    await record(store, parent, children=children)
    suspended, running, with_work, undecided = [
        await claim(store, child.id) for child in children[1:]
    ]
    grandchild = make_run()
    await record(store, suspended, children=[grandchild])
    grandchild_claim = await claim(store, grandchild.id)
    await suspend(store, suspended, wait_for_event("a"))
    await record(store, with_work, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await suspend(store, with_work, wait_for_event("a"))
    await suspend(store, undecided, wait_for("d", WaitKind.DECISION))
    return Brood(parent, children[0].id, suspended, running, grandchild_claim, with_work, undecided)


async def endings_of(store: Store, *run_ids: str) -> list[tuple[RunStatus, str | None]]:
    runs = [(await store.runs.get(run_id)).run for run_id in run_ids]
    return [(run.status, run.ending) for run in runs]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.TIMED_OUT])
async def test_no_child_outlives_its_parent(store: Store, status: RunStatus) -> None:
    brood = await start_brood(store)
    stranger = await start(store)

    wakes = await finish(store, brood.parent, status)

    ended = {brood.pending, brood.suspended.run_id}
    claimed = {brood.running.run_id, brood.grandchild.run_id}
    assert {
        **{run_id: RunStatus.CANCELLED for run_id in ended},
        **{run_id: RunStatus.RUNNING for run_id in claimed},
        brood.with_work.run_id: RunStatus.PENDING,
    } == {wake.run_id: wake.status for wake in wakes}
    assert [(RunStatus.CANCELLED, None)] * 2 == await endings_of(store, *ended)
    assert [(RunStatus.RUNNING, "cancelled")] * 2 == await endings_of(store, *claimed)
    assert [(RunStatus.PENDING, "cancelled"), (RunStatus.SUSPENDED, "cancelled")] == (
        await endings_of(store, brood.with_work.run_id, brood.undecided.run_id)
    )
    error = (await store.runs.get(brood.pending)).run.error
    assert error is not None
    assert "cancelled" == error.code
    assert RunStatus.PENDING == await status_of(store, stranger.id)


async def test_child_that_ends_after_its_parent_answers_nobody(store: Store) -> None:
    parent, child = await start_family(store)
    await record(store, parent, waits=[wait_for("c", WaitKind.CHILD, target=child.run_id)])
    await finish(store, parent)

    assert [] == await finish(store, child, RunStatus.CANCELLED)
    assert WaitOutcome.CANCELLED is (await waits_of(store, parent))["c"].outcome


async def test_child_of_the_last_commit_is_cancelled_with_it(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()

    wakes = await store.runs.finish(
        parent,
        Writes(children=[child]),
        status=RunStatus.COMPLETED,
        output=None,
        error=None,
        now=T0,
    )

    assert [(child.id, RunStatus.CANCELLED)] == [(wake.run_id, wake.status) for wake in wakes]


async def test_child_that_is_cancelled_gives_its_session_to_the_next(store: Store) -> None:
    parent = await start_claimed(store)
    await record(store, parent, children=[make_run(session_id="s")])
    queued = await start(store, session_id="s")

    wakes = await finish(store, parent)

    assert queued.id in ids(wakes)


async def test_live_children_go_to_the_successor(store: Store) -> None:
    parent, child = await start_family(store)
    done = make_run()
    await record(store, parent, children=[done])
    await finish(store, await claim(store, done.id))
    successor = make_run()

    await finish(store, parent, successor=successor)

    assert [(RunStatus.RUNNING, None)] == await endings_of(store, child.run_id)
    assert successor.id == (await store.runs.get(child.run_id)).run.parent_id
    assert parent.run_id == (await store.runs.get(done.id)).run.parent_id
    wakes = await finish(store, await claim(store, successor.id))
    assert [(child.run_id, RunStatus.RUNNING)] == [(wake.run_id, wake.status) for wake in wakes]


async def test_successor_of_a_run_that_was_to_end_ends(store: Store) -> None:
    parent = await start_claimed(store)
    successor = make_run()
    wish = RunError(code="cancelled", message="Enough.")
    await store.runs.end(parent.run_id, status=RunStatus.CANCELLED, error=wish, now=at(1))

    wakes = await finish(store, parent, successor=successor)

    assert [(successor.id, RunStatus.CANCELLED)] == [(one.run_id, one.status) for one in wakes]
    assert RunStatus.CANCELLED is (await store.runs.get(successor.id)).run.status


async def test_successor_of_a_fenced_run_is_not_started(store: Store) -> None:
    old = await start_claimed(store)
    await finish(store, old)
    successor = make_run()

    with pytest.raises(Fenced):
        await finish(store, old, successor=successor)

    assert {RunStatus.COMPLETED: 1} == await store.runs.count_by_status()


async def test_ended_run_gives_back_no_events_and_answers_nobody_else(store: Store) -> None:
    other, _ = await start_suspended(store, wait_for_event("a"))
    claimed = await start_claimed(store)
    await deliver(store, claimed.run_id, "a")

    assert [] == await finish(store, claimed)
    assert RunStatus.SUSPENDED == await status_of(store, other.run_id)
    assert [] == list(await store.runs.claim(limit=9, owner=BOOT, now=T0))
    with pytest.raises(Fenced):
        await store.runs.release(claimed, NOTHING, available_at=T0, now=T0)
