"""`RunStore.recover`, `fire_due` and `strays`: what makes runs go on by themselves."""

from __future__ import annotations

import pytest

from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import Fenced
from agency.ports.store import NOTHING, Claim, Recovery, Store
from tests.contract.conftest import Opener
from tests.contract.making import (
    T0,
    at,
    claim,
    end,
    finish,
    hold,
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
    wait_until,
    waits_of,
)


async def test_runs_of_a_dead_daemon_are_claimed_again(opener: Opener) -> None:
    async with opener() as store:
        claimed = await start_claimed(store)
        await record(store, claimed, entries=[make_step("a"), make_step("b")])
        suspended, snapshot_id = await start_suspended(store, wait_for_event("x"))

    async with opener() as store:
        recovery = await store.runs.recover(owner="boot-2", now=T0)
        again = await claim(store, claimed.run_id, owner="boot-2")

        assert (1, [], []) == (
            recovery.requeued,
            list(recovery.suspects),
            list(recovery.quarantined),
        )
        assert 2 == again.epoch
        assert 2 == (await store.runs.get(claimed.run_id)).steps_executed
        assert snapshot_id == (await store.runs.get(suspended.run_id)).snapshot_id
        with pytest.raises(Fenced):
            await record(store, claimed, entries=[make_step("late")])


async def test_own_claims_are_left_alone(store: Store) -> None:
    claimed = await start_claimed(store)

    recovery = await store.runs.recover(owner="boot-1", now=T0)

    assert 0 == recovery.requeued
    assert RunStatus.RUNNING == await status_of(store, claimed.run_id)


async def crash(store: Store, run_id: str, boot: int, *, alone: bool = True) -> Recovery:
    await claim(store, run_id, owner=f"boot-{boot}")
    if not alone:
        await start_claimed(store)
    return await store.runs.recover(owner=f"boot-{boot + 1}", now=T0)


async def test_run_that_crashes_alone_a_third_time_is_quarantined(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    await suspend(store, parent, wait_for("c", WaitKind.CHILD, target=child.id))

    first = await crash(store, child.id, 1)
    second = await crash(store, child.id, 2)
    third = await crash(store, child.id, 3)

    assert ([], [child.id], []) == (
        list(first.suspects),
        list(second.suspects),
        list(third.suspects),
    )
    assert [child.id] == list(third.quarantined)
    run = (await store.runs.get(child.id)).run
    assert (RunStatus.DEAD_LETTER, "crash", 3) == (
        run.status,
        run.error.code if run.error else None,
        run.crashes,
    )
    assert "dead_letter" == (await waits_of(store, parent))["c"].payload["status"]
    assert RunStatus.PENDING == await status_of(store, parent.run_id)


async def test_children_of_a_quarantined_run_are_cancelled(store: Store) -> None:
    parent = await start_claimed(store)
    pending, suspended = make_run(), make_run()
    await record(store, parent, children=[pending, suspended])
    await suspend(store, await claim(store, suspended.id), wait_for_event("x"))
    await store.runs.recover(owner="boot-2", now=T0)
    for boot in (2, 3):
        recovery = await crash(store, parent.run_id, boot)

    assert [parent.run_id] == list(recovery.quarantined)
    statuses = [await status_of(store, one.id) for one in (pending, suspended)]
    assert [RunStatus.CANCELLED] * 2 == statuses


async def test_suspect_beside_others_is_not_quarantined(store: Store) -> None:
    run = await start(store)
    await crash(store, run.id, 1)
    await crash(store, run.id, 2)

    third = await crash(store, run.id, 3, alone=False)

    assert run.id in third.suspects
    assert RunStatus.PENDING == await status_of(store, run.id)
    fourth = await crash(store, run.id, 4)
    assert [run.id] == list(fourth.quarantined)


async def test_suspect_claimed_beside_others_is_not_alone(store: Store) -> None:
    run = await start(store)
    await crash(store, run.id, 1)
    await crash(store, run.id, 2)
    await start_claimed(store)

    third = await crash(store, run.id, 3)

    assert [] == list(third.quarantined)


async def test_recorded_entry_forgives_crashes(store: Store) -> None:
    run = await start(store)
    await crash(store, run.id, 1)
    await crash(store, run.id, 2)
    claimed = await claim(store, run.id, owner="boot-3")
    await record(store, claimed, entries=[make_step("a")])

    recovery = await store.runs.recover(owner="boot-4", now=T0)

    assert ([], []) == (list(recovery.suspects), list(recovery.quarantined))
    assert 0 == (await store.runs.get(run.id)).run.crashes


async def test_entry_of_an_earlier_claim_forgives_nothing(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("a")])
    await store.runs.recover(owner="boot-2", now=T0)

    await crash(store, claimed.run_id, 2)

    assert 1 == (await store.runs.get(claimed.run_id)).run.crashes


async def test_suspension_forgives_crashes(store: Store) -> None:
    run = await start(store)
    await crash(store, run.id, 1)

    await suspend(store, await claim(store, run.id, owner="boot-2"), wait_for_event("a"))

    assert 0 == (await store.runs.get(run.id)).run.crashes


async def test_due_waits_fire_and_wake_their_runs(store: Store) -> None:
    timer, _ = await start_suspended(store, wait_until("t", 10))
    event, _ = await start_suspended(store, wait_for_event("e", due_at=at(5)))
    later, _ = await start_suspended(store, wait_until("t", 11))

    early = await store.runs.fire_due(now=at(4), limit=9)
    due = await store.runs.fire_due(now=at(10), limit=9)

    assert ([], at(5)) == (list(early.wakes), early.next_at)
    assert [event.run_id, timer.run_id] == ids(due.wakes)
    assert [RunStatus.PENDING] * 2 == [wake.status for wake in due.wakes]
    assert at(11) == due.next_at
    assert WaitOutcome.FIRED is (await waits_of(store, timer))["t"].outcome
    assert WaitOutcome.TIMED_OUT is (await waits_of(store, event))["e"].outcome
    assert RunStatus.SUSPENDED == await status_of(store, later.run_id)


async def test_nothing_is_scheduled_at_first(store: Store) -> None:
    due = await store.runs.fire_due(now=T0, limit=9)

    assert ([], [], None) == (list(due.wakes), list(due.overdue), due.next_at)


async def test_due_waits_of_a_claimed_run_tell_it(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_until("a", 1), wait_until("b", 2)])

    due = await store.runs.fire_due(now=at(2), limit=9)

    assert [RunStatus.RUNNING] == [wake.status for wake in due.wakes]


async def test_more_than_the_limit_is_due_again_at_once(store: Store) -> None:
    for _ in range(3):
        await start_suspended(store, wait_until("t", 1))

    first = await store.runs.fire_due(now=at(2), limit=2)
    second = await store.runs.fire_due(now=at(2), limit=2)

    assert (2, at(2)) == (len(first.wakes), first.next_at)
    assert (1, None) == (len(second.wakes), second.next_at)


async def test_next_moment_counts_runs_that_were_put_off_and_deadlines(store: Store) -> None:
    await start(store, created_at=at(5))
    await start(store, available_at=at(30), priority=5)
    await start(store, available_at=at(20), priority=-5)
    moments = [(await store.runs.fire_due(now=T0, limit=9)).next_at]
    await start(store, deadline_at=at(15))
    moments.append((await store.runs.fire_due(now=T0, limit=9)).next_at)
    await start_claimed(store, session_id="s")
    await start(store, session_id="s", available_at=at(10))
    moments.append((await store.runs.fire_due(now=T0, limit=9)).next_at)

    assert [at(20), at(15), at(10)] == moments
    assert at(30) == (await store.runs.fire_due(now=at(20), limit=9)).next_at


async def test_overdue_runs_are_told_until_their_end_is_asked_for(store: Store) -> None:
    claimed = await start_claimed(store, deadline_at=at(5))
    pending = await start(store, deadline_at=at(4))
    await start(store, deadline_at=at(9))

    due = await store.runs.fire_due(now=at(5), limit=9)
    for run_id in due.overdue:
        await end(store, run_id, RunStatus.TIMED_OUT)
    after = await store.runs.fire_due(now=at(5), limit=9)

    assert [pending.id, claimed.run_id] == list(due.overdue)
    assert ([], at(9)) == (list(after.overdue), after.next_at)


async def test_strays_are_suspended_on_nothing_or_claimed(store: Store) -> None:
    """Whoever asks knows which of its own claims it works on, and the store does not."""
    good, _ = await start_suspended(store, wait_for_event("a"))
    held = await start(store)
    await hold(store, held.id)
    stray = await start_claimed(store)
    await store.runs.suspend(
        stray, NOTHING, blocked_on=["never opened"], snapshot_id="s", reason="none", now=T0
    )
    foreign = await start_claimed(store)
    run = await start(store)
    own = await claim(store, run.id, owner="boot-2")

    strays = await store.runs.strays(owner="boot-2")

    assert sorted([stray.run_id, foreign.run_id, own.run_id]) == sorted(strays)
    assert {good.run_id, held.id}.isdisjoint(strays)


async def test_finished_runs_are_not_recovered(store: Store) -> None:
    claimed = await start_claimed(store)
    await finish(store, claimed)

    assert 0 == (await store.runs.recover(owner="boot-2", now=T0)).requeued


async def test_lone_claim_of_a_healthy_run_quarantines_nothing(store: Store) -> None:
    claimed: Claim = await start_claimed(store)

    recovery = await store.runs.recover(owner="boot-2", now=T0)

    assert [] == list(recovery.quarantined)
    assert 1 == (await store.runs.get(claimed.run_id)).run.crashes
