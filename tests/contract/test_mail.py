"""`MailStore`: events, answers, resources."""

from __future__ import annotations

import asyncio

import pytest

from agency.core.ids import new_id
from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import RunEnded, RunNotFound, SnapshotSpent, WaitNotFound, WaitTaken
from agency.ports.store import Store
from tests.contract.making import (
    T0,
    answer,
    at,
    claim,
    deliver,
    end,
    finish,
    hold,
    ids,
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


async def test_event_of_one_id_is_delivered_once(store: Store) -> None:
    run = await start(store)
    first = await store.mail.deliver(run.id, event_id="e", name="n", payload=1, now=T0)
    second = await store.mail.deliver(run.id, event_id="e", name="n", payload=2, now=at(1))

    (event,) = await store.mail.events(run.id, limit=10)

    assert "e" == first.event_id == second.event_id
    assert ("e", run.id, "n", 1, T0, False) == (
        event.id,
        event.run_id,
        event.name,
        event.payload,
        event.created_at,
        event.taken,
    )


async def test_event_of_one_id_sent_at_once_is_delivered_once(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("a", "n"), wait_for_event("b", "n"))

    await asyncio.gather(
        *(
            store.mail.deliver(claimed.run_id, event_id="e", name="n", payload=1, now=T0)
            for _ in range(10)
        )
    )

    outcomes = [wait.outcome for wait in (await waits_of(store, claimed)).values()]
    assert [WaitOutcome.ANSWERED, None] == outcomes


async def test_one_event_id_for_two_runs_is_two_events(store: Store) -> None:
    runs = [await start(store), await start(store)]

    for run in runs:
        await store.mail.deliver(run.id, event_id="e", name="n", payload=1, now=T0)

    assert [1, 1] == [len(await store.mail.events(run.id, limit=9)) for run in runs]


async def test_two_events_answer_two_waits_oldest_first(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("a", "n"), wait_for_event("b", "n"))

    await deliver(store, claimed.run_id, "n", 1)
    await deliver(store, claimed.run_id, "n", 2)

    waits = await waits_of(store, claimed)
    assert [1, 2] == [waits["a"].payload, waits["b"].payload]


async def test_second_event_for_one_wait_is_kept(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("a", "n"))

    first = await deliver(store, claimed.run_id, "n", 1)
    second = await deliver(store, claimed.run_id, "n", 2)

    assert ([claimed.run_id], []) == (ids(first.wakes), ids(second.wakes))
    events = await store.mail.events(claimed.run_id, limit=10)
    assert [(1, True), (2, False)] == [(event.payload, event.taken) for event in events]
    claimed = await claim(store, claimed.run_id)
    (taken,) = await record(store, claimed, waits=[wait_for_event("b", "n")])
    assert 2 == taken.payload


async def test_many_events_at_once_answer_each_wait_once(store: Store) -> None:
    waits = [wait_for_event(f"w{i}", "n") for i in range(20)]
    claimed, _ = await start_suspended(store, *waits)

    await asyncio.gather(*(deliver(store, claimed.run_id, "n", i) for i in range(30)))

    payloads = [wait.payload for wait in (await waits_of(store, claimed)).values()]
    assert 20 == len(set(payloads))
    untaken = [e for e in await store.mail.events(claimed.run_id, limit=99) if not e.taken]
    assert 10 == len(untaken)


async def test_event_of_another_name_wakes_nobody(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("a", "n"))

    assert [] == list((await deliver(store, claimed.run_id, "m")).wakes)
    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)


async def test_event_does_not_answer_waits_of_other_kinds(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for("n", WaitKind.INPUT))

    assert [] == list((await deliver(store, claimed.run_id, "n")).wakes)


async def test_event_to_an_ended_or_unknown_run_is_refused(store: Store) -> None:
    claimed = await start_claimed(store)
    sent = await deliver(store, claimed.run_id, "n")
    await finish(store, claimed)

    with pytest.raises(RunEnded):
        await deliver(store, claimed.run_id, "n")
    with pytest.raises(RunNotFound):
        await deliver(store, new_id(), "n")
    again = await store.mail.deliver(
        claimed.run_id, event_id=sent.event_id, name="n", payload=None, now=T0
    )
    assert [] == list(again.wakes)


async def test_newest_events_are_read_oldest_first(store: Store) -> None:
    run = await start(store)
    for i in range(5):
        await deliver(store, run.id, "n", i)

    assert [3, 4] == [event.payload for event in await store.mail.events(run.id, limit=2)]
    with pytest.raises(RunNotFound):
        await store.mail.events(new_id(), limit=2)


async def test_held_run_records_what_arrives_and_is_not_woken(store: Store) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_for_event("a"), wait_until("t", 5))
    await hold(store, claimed.run_id)

    delivery = await deliver(store, claimed.run_id, "a", 1)
    due = await store.runs.fire_due(now=at(5), limit=9)

    assert ([], []) == (list(delivery.wakes), list(due.wakes))
    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)
    assert snapshot_id == (await store.runs.get(claimed.run_id)).snapshot_id
    lifted = await answer(store, claimed.run_id, "!operator#1")
    assert [RunStatus.PENDING] == [wake.status for wake in lifted]
    waits = await waits_of(store, claimed)
    assert [1, WaitOutcome.FIRED] == [waits["a"].payload, waits["t"].outcome]


async def test_lifting_a_hold_wakes_whatever_else_is_waited_for(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("a"))
    await hold(store, claimed.run_id)

    wakes = await answer(store, claimed.run_id, "!operator#1")

    detail = await store.runs.get(claimed.run_id)
    assert [claimed.run_id] == ids(wakes)
    assert (RunStatus.PENDING, None, ["a"]) == (
        detail.run.status,
        detail.run.hold,
        [wait.key for wait in detail.waits],
    )


async def test_answer_resolves_a_wait_and_wakes_the_run(store: Store) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_for("ask", WaitKind.INPUT))

    wakes = await answer(store, claimed.run_id, "ask", {"a": 1}, snapshot_id=snapshot_id)

    assert [RunStatus.PENDING] == [wake.status for wake in wakes]
    wait = (await waits_of(store, claimed))["ask"]
    assert (WaitOutcome.ANSWERED, {"a": 1}) == (wait.outcome, wait.payload)


async def test_answer_ends_a_timer_now(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_until("t", 999))

    await answer(store, claimed.run_id, "t", outcome=WaitOutcome.FIRED)

    assert WaitOutcome.FIRED is (await waits_of(store, claimed))["t"].outcome


async def test_answer_to_a_claimed_run_tells_it(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_for("ask", WaitKind.INPUT)])

    wakes = await answer(store, claimed.run_id, "ask", 1)

    assert [RunStatus.RUNNING] == [wake.status for wake in wakes]


async def test_second_answer_is_refused(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for("ask", WaitKind.INPUT))

    results = await asyncio.gather(
        *(answer(store, claimed.run_id, "ask", i) for i in range(10)), return_exceptions=True
    )

    assert 9 == sum(isinstance(result, WaitTaken) for result in results)


async def test_answer_to_what_never_was_is_refused(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for("ask", WaitKind.INPUT))

    with pytest.raises(WaitNotFound) as refused:
        await answer(store, claimed.run_id, "other")
    with pytest.raises(RunNotFound):
        await answer(store, new_id(), "ask")
    await end(store, claimed.run_id)
    with pytest.raises(RunEnded):
        await answer(store, claimed.run_id, "ask")

    assert ["ask"] == refused.value.open_waits


async def test_answer_to_a_spent_snapshot_is_refused(store: Store) -> None:
    claimed, first = await start_suspended(store, wait_for("a", WaitKind.INPUT))
    await answer(store, claimed.run_id, "a", snapshot_id=first)
    with pytest.raises(SnapshotSpent) as running:
        await answer(store, claimed.run_id, "a", snapshot_id=first)
    again = await claim(store, claimed.run_id)
    second = await suspend(store, again, wait_for("b", WaitKind.INPUT))

    with pytest.raises(SnapshotSpent) as suspended:
        await answer(store, claimed.run_id, "b", snapshot_id=first)

    assert (None, second) == (running.value.newest, suspended.value.newest)
    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)


async def test_runs_that_wait_for_a_resource_wake_in_order_and_portions(store: Store) -> None:
    claims = [
        (await start_suspended(store, wait_for("m", WaitKind.RESOURCE, target="ollama")))[0]
        for _ in range(3)
    ]
    await start_suspended(store, wait_for("m", WaitKind.RESOURCE, target="other"))

    known = await store.mail.resources()
    first = await store.mail.wake_waiting_for("ollama", limit=2, now=T0)
    second = await store.mail.wake_waiting_for("ollama", limit=2, now=T0)

    assert ["ollama", "other"] == list(known)
    assert ids(claims[:2]) == ids(first)
    assert ids(claims[2:]) == ids(second)
    assert ["other"] == list(await store.mail.resources())
    wait = (await waits_of(store, claims[0]))["m"]
    assert (WaitOutcome.ANSWERED, None) == (wait.outcome, wait.payload)


async def test_no_resource_is_waited_for_at_first(store: Store) -> None:
    assert [] == list(await store.mail.resources())
