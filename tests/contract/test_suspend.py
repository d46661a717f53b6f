"""`RunStore.suspend` beside deliveries, in every order; `RunStore.release`."""

from __future__ import annotations

import asyncio

import pytest

from agency.core.ids import new_id
from agency.domain.entry import EntryKind
from agency.domain.run import RunError, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import Fenced
from agency.ports.store import NOTHING, Store, Writes
from tests.contract.making import (
    BROKE,
    CANCELLED,
    T0,
    answer,
    at,
    claim,
    deliver,
    end,
    hold,
    ids,
    make_run,
    make_step,
    record,
    start_claimed,
    start_suspended,
    status_of,
    suspend,
    wait_for,
    wait_for_event,
    wait_until,
    waits_of,
)


async def test_suspended_run_has_a_snapshot_and_no_owner(store: Store) -> None:
    claimed = await start_claimed(store, name="n")
    await record(store, claimed, entries=[make_step("a")])

    suspension = await store.runs.suspend(
        claimed,
        Writes(entries=[make_step("paid", kind=EntryKind.WAIT)], waits=[wait_for_event("paid")]),
        blocked_on=["paid"],
        snapshot_id="snap",
        reason="event",
        now=at(3),
    )

    detail = await store.runs.get(claimed.run_id)
    snapshot = await store.snapshots.get("snap")
    entries = (await store.journal.load(claimed.number)).entries
    assert ("snap", []) == (suspension.snapshot_id, list(suspension.resolved))
    assert (RunStatus.SUSPENDED, None, "snap") == (
        detail.run.status,
        detail.run.owner,
        detail.snapshot_id,
    )
    assert ["paid"] == [wait.key for wait in detail.waits]
    assert (claimed.run_id, "n", "order", "event", at(3)) == (
        snapshot.run_id,
        snapshot.run_name,
        snapshot.workflow,
        snapshot.reason,
        snapshot.created_at,
    )
    assert (entries[-1].number, False, "suspended") == (
        snapshot.entry_number,
        snapshot.spent,
        snapshot.run_status,
    )
    assert ["paid"] == [wait.key for wait in snapshot.waits]


async def test_delivery_after_the_suspension_wakes_the_run(store: Store) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_for_event("paid"))

    delivery = await deliver(store, claimed.run_id, "paid", 7)

    assert [(claimed.number, claimed.run_id, RunStatus.PENDING)] == [
        (wake.number, wake.run_id, wake.status) for wake in delivery.wakes
    ]
    wait = (await waits_of(store, claimed))["paid"]
    assert (WaitOutcome.ANSWERED, 7, T0) == (wait.outcome, wait.payload, wait.resolved_at)
    assert (await store.snapshots.get(snapshot_id)).spent
    assert (await store.runs.get(claimed.run_id)).snapshot_id is None
    assert claimed.epoch + 1 == (await claim(store, claimed.run_id)).epoch


async def test_delivery_before_the_wait_lets_the_run_go_on(store: Store) -> None:
    claimed = await start_claimed(store)
    early = await deliver(store, claimed.run_id, "paid", 7)

    suspension = await store.runs.suspend(
        claimed,
        Writes(entries=[make_step("a")], waits=[wait_for_event("paid")]),
        blocked_on=["paid"],
        snapshot_id="snap",
        reason="event",
        now=T0,
    )

    assert [] == list(early.wakes)
    assert suspension.snapshot_id is None
    assert [("paid", 7)] == [(wait.key, wait.payload) for wait in suspension.resolved]
    assert RunStatus.RUNNING == await status_of(store, claimed.run_id)
    await record(store, claimed, entries=[make_step("b")])
    assert 2 == (await store.runs.get(claimed.run_id)).steps_executed


async def test_delivery_between_wait_and_suspension_lets_the_run_go_on(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("paid")])
    delivery = await deliver(store, claimed.run_id, "paid", 7)

    suspension = await store.runs.suspend(
        claimed, NOTHING, blocked_on=["paid"], snapshot_id="snap", reason="event", now=T0
    )

    assert [(claimed.run_id, RunStatus.RUNNING)] == [(w.run_id, w.status) for w in delivery.wakes]
    assert ["paid"] == [wait.key for wait in suspension.resolved]


@pytest.mark.parametrize("turn", range(8))
async def test_delivery_at_the_same_time_is_never_lost(store: Store, turn: int) -> None:
    claims = [await start_claimed(store) for _ in range(16)]

    async def suspend_one(i: int) -> str | None:
        return await suspend(store, claims[i], wait_for_event("paid"))

    async def deliver_one(i: int) -> bool:
        return bool((await deliver(store, claims[i].run_id, "paid", i)).wakes)

    calls = []
    for i in range(16):
        pair = [suspend_one(i), deliver_one(i)]
        calls += pair if (i + turn) % 2 else pair[::-1]
    await asyncio.gather(*calls)

    for i, claimed in enumerate(claims):
        assert i == (await waits_of(store, claimed))["paid"].payload
        assert await status_of(store, claimed.run_id) in {RunStatus.RUNNING, RunStatus.PENDING}


async def test_only_the_waits_it_is_blocked_on_let_a_run_go_on(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("old")])
    await deliver(store, claimed.run_id, "old")

    assert await suspend(store, claimed, wait_for_event("paid")) is not None


async def test_closed_wait_lets_a_run_go_on(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for_event("a")])

    suspension = await store.runs.suspend(
        claimed,
        Writes(closed_waits=["a"]),
        blocked_on=["a"],
        snapshot_id="s",
        reason="x",
        now=T0,
    )

    assert [WaitOutcome.CANCELLED] == [wait.outcome for wait in suspension.resolved]


async def test_old_claim_cannot_suspend_or_release(store: Store) -> None:
    old = await start_claimed(store)
    await store.runs.recover(owner="boot-2", now=T0)
    await claim(store, old.run_id, owner="boot-2")

    with pytest.raises(Fenced):
        await suspend(store, old, wait_for_event("x"))
    with pytest.raises(Fenced):
        await store.runs.release(old, NOTHING, available_at=T0, now=T0)

    assert RunStatus.RUNNING == await status_of(store, old.run_id)


async def test_held_run_is_suspended_though_it_could_go_on(store: Store) -> None:
    claimed = await start_claimed(store)
    await deliver(store, claimed.run_id, "paid")
    await hold(store, claimed.run_id)

    snapshot_id = await suspend(store, claimed, wait_for_event("paid"))

    detail = await store.runs.get(claimed.run_id)
    assert snapshot_id is not None
    assert RunStatus.SUSPENDED == detail.run.status
    assert [("!operator#1", WaitKind.OPERATOR, "look")] == [
        (wait.key, wait.kind, wait.name) for wait in detail.waits
    ]


async def test_run_that_is_blocked_on_nothing_goes_on_once_its_hold_is_lifted(store: Store) -> None:
    """Whoever has stopped it for the hold has not yet heard that it was lifted."""
    claimed = await start_claimed(store)
    await hold(store, claimed.run_id)
    error = RunError(code="cancelled", message="Cancelled.")
    await store.runs.end(claimed.run_id, status=RunStatus.CANCELLED, error=error, now=T0)

    suspension = await store.runs.suspend(
        claimed, NOTHING, blocked_on=[], snapshot_id=new_id(), reason="operator", now=T0
    )

    assert (None, []) == (suspension.snapshot_id, list(suspension.resolved))
    assert "running" == (await store.runs.get(claimed.run_id)).run.status


async def test_each_hold_has_its_own_wait(store: Store) -> None:
    claimed = await start_claimed(store)
    keys = []

    for _ in range(3):
        await hold(store, claimed.run_id)
        await store.runs.suspend(
            claimed, NOTHING, blocked_on=[], snapshot_id=new_id(), reason="operator", now=T0
        )
        (wait,) = (await store.runs.get(claimed.run_id)).waits
        keys.append(wait.key)
        await answer(store, claimed.run_id, wait.key)
        claimed = await claim(store, claimed.run_id)

    assert ["!operator#1", "!operator#2", "!operator#3"] == keys


async def test_two_timers_are_resolved_in_order(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_until("late", 9), wait_until("early", 5))

    await store.runs.fire_due(now=at(10), limit=9)

    waits = await waits_of(store, claimed)
    assert waits["early"].resolved_number < waits["late"].resolved_number


async def test_end_under_the_same_claim_ends_the_suspended_run(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    claimed = await claim(store, child.id)
    assert await suspend(store, parent, wait_for("c", WaitKind.CHILD, target=child.id))
    ending = await end(store, child.id)

    suspension = await store.runs.suspend(
        claimed,
        Writes(waits=[wait_for_event("never")]),
        blocked_on=["never"],
        snapshot_id="s",
        reason="event",
        now=T0,
    )

    run = (await store.runs.get(child.id)).run
    assert ([child.id], RunStatus.CANCELLED, "cancelled") == (
        list(ending.asked),
        run.status,
        run.error.code if run.error else None,
    )
    assert [parent.run_id] == ids(suspension.wakes)
    assert RunStatus.PENDING == await status_of(store, parent.run_id)


async def test_end_under_the_same_claim_wakes_a_run_with_work_for_its_end(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await end(store, claimed.run_id)

    suspension = await store.runs.suspend(
        claimed,
        Writes(waits=[wait_for_event("never")]),
        blocked_on=["never"],
        snapshot_id="s",
        reason="event",
        now=T0,
    )
    again = await claim(store, claimed.run_id)
    still = await suspend(store, again, wait_for("model", WaitKind.RESOURCE, target="ollama"))

    assert [RunStatus.PENDING] == [wake.status for wake in suspension.wakes]
    assert still is not None
    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)


async def test_end_under_the_same_claim_wakes_a_run_with_an_effect_in_doubt(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("charge#1!1", kind=EntryKind.INTENT)])
    await end(store, claimed.run_id)

    await suspend(store, claimed, wait_for_event("never"))

    assert RunStatus.PENDING == await status_of(store, claimed.run_id)


@pytest.mark.parametrize("way", ["at once", "work", "decision"])
async def test_end_under_the_same_claim_reaches_the_children_of_the_suspension(
    store: Store, way: str
) -> None:
    claimed = await start_claimed(store)
    if way == "work":
        await record(store, claimed, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await end(store, claimed.run_id)
    child = make_run()
    wait = wait_for("c", WaitKind.CHILD, target=child.id)
    if way == "decision":
        wait = wait_for("c", WaitKind.DECISION)

    suspension = await store.runs.suspend(
        claimed,
        Writes(children=[child], waits=[wait]),
        blocked_on=["c"],
        snapshot_id="s",
        reason="child",
        now=T0,
    )

    status = {
        "at once": RunStatus.CANCELLED,
        "work": RunStatus.PENDING,
        "decision": RunStatus.SUSPENDED,
    }[way]
    told = [(child.id, RunStatus.CANCELLED)]
    if way == "work":
        told.append((claimed.run_id, RunStatus.PENDING))
    assert told == [(wake.run_id, wake.status) for wake in suspension.wakes]
    assert status == await status_of(store, claimed.run_id)
    assert RunStatus.CANCELLED == await status_of(store, child.id)


async def test_end_under_the_same_claim_waits_for_a_decision(store: Store) -> None:
    claimed = await start_claimed(store)
    await end(store, claimed.run_id)

    await suspend(store, claimed, wait_for("d", WaitKind.DECISION))

    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)
    assert [claimed.run_id] == ids(await answer(store, claimed.run_id, "d", "done"))
    assert "cancelled" == (await store.runs.get(claimed.run_id)).run.ending


async def test_released_run_is_pending_again_at_its_time(store: Store) -> None:
    claimed = await start_claimed(store)

    await store.runs.release(claimed, Writes(entries=[make_step("a")]), available_at=at(30), now=T0)

    run = (await store.runs.get(claimed.run_id)).run
    assert (RunStatus.PENDING, at(30), 1, None) == (
        run.status,
        run.available_at,
        run.attempt,
        run.owner,
    )
    assert [] == list(await store.runs.claim(limit=1, owner="b", now=at(29)))
    assert 1 == len((await store.journal.load(claimed.number)).entries)


@pytest.mark.parametrize("failed", [None, BROKE])
async def test_released_run_whose_end_is_wanted_is_claimed_at_once(
    store: Store, failed: RunError | None
) -> None:
    claimed = await start_claimed(store, max_attempts=3)
    await record(store, claimed, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await end(store, claimed.run_id)

    await store.runs.release(claimed, NOTHING, available_at=at(60), failed=failed, now=at(1))

    (run,) = await store.runs.claim(limit=1, owner="b", now=at(1))
    assert (at(1), "cancelled", CANCELLED) == (run.available_at, run.ending, run.error)


async def test_failed_release_raises_the_attempt_and_keeps_the_error(store: Store) -> None:
    claimed = await start_claimed(store, max_attempts=3)

    await store.runs.release(claimed, NOTHING, available_at=T0, failed=BROKE, now=T0)

    run = (await store.runs.get(claimed.run_id)).run
    assert (2, BROKE) == (run.attempt, run.error)
