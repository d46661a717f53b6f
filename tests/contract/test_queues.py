"""Queues: order, limits, pauses, sizes."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from agency.core.limits import AGEING_S
from agency.domain.queue import QueueLimits
from agency.domain.run import RunStatus
from agency.errors import IdempotencyMismatch, NameTaken, QueueFull, QueueNotFound
from agency.ports.store import NOTHING, Claim, Started, Store, Writes
from tests.contract.conftest import Opener
from tests.contract.making import (
    BOOT,
    BROKE,
    T0,
    at,
    claim,
    deliver,
    end,
    finish,
    ids,
    make_run,
    start,
    start_claimed,
    start_suspended,
    suspend,
    wait_for_event,
)


async def limit(
    store: Store, *limits: QueueLimits, workflows: dict[str, int] | None = None
) -> None:
    await store.queues.configure(limits, workflows=workflows or {}, now=T0)


async def take(store: Store, limit: int = 100, now: datetime = T0) -> list[str]:
    """Ids of what is claimed, in their order."""
    return ids(await store.runs.claim(limit=limit, owner=BOOT, now=now))


async def end_claimed(store: Store, run_id: str) -> None:
    run = (await store.runs.get(run_id)).run
    await finish(store, Claim(run.number, run.id, run.epoch))


# --- order ---------------------------------------------------------------------------------


async def test_point_of_priority_counts_as_much_as_its_span_of_waiting(store: Store) -> None:
    old = await start(store)
    sooner = await start(store, priority=1, available_at=at(AGEING_S - 1))
    later = await start(store, priority=1, available_at=at(AGEING_S + 1))

    assert [sooner.id, old.id, later.id] == await take(store, now=at(2 * AGEING_S))


async def test_runs_of_all_queues_and_workflows_are_claimed_in_one_order(store: Store) -> None:
    wanted = [
        await start(store, queue=queue, workflow=workflow, created_at=at(second))
        for second, (queue, workflow) in enumerate(
            [("b", "x"), ("a", "y"), ("a", "x"), ("c", "x"), ("b", "y"), ("a", "y"), ("b", "x")]
        )
    ]

    assert ids(wanted[:5]) == await take(store, 5)
    assert ids(wanted[5:]) == await take(store, 5)


async def test_many_that_were_put_off_come_due_together(store: Store) -> None:
    outcomes = await store.runs.start_many([make_run(available_at=at(9)) for _ in range(1201)])
    assert not [one for one in outcomes if not isinstance(one, Started)]

    assert at(9) == (await store.runs.fire_due(now=T0, limit=500)).next_at
    first = await store.runs.fire_due(now=at(9), limit=500)
    assert at(9) == first.next_at
    claimed: list[str] = []
    while found := await take(store, 64, at(9)):
        claimed += found
        await store.runs.fire_due(now=at(9), limit=500)

    assert 1201 == len(set(claimed))


async def test_claim_that_cannot_see_to_all_that_came_due_asks_for_another_look(
    store: Store,
) -> None:
    await limit(store, QueueLimits(name="first"))
    await store.queues.pause("first", now=T0)
    await store.runs.start_many([make_run(available_at=at(1), queue="first") for _ in range(600)])
    other = await start(store, available_at=at(2))

    claimed = await store.runs.claim(limit=9, owner=BOOT, now=at(3))
    assert claimed.next_at is not None
    assert claimed.next_at <= at(3)

    assert [other.id] == await take(store, now=at(3))


# --- concurrency ---------------------------------------------------------------------------


async def test_queue_hands_out_no_more_than_it_may(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", concurrency=2))
    mail = [await start(store, queue="mail") for _ in range(4)]
    others = [await start(store) for _ in range(3)]

    assert ids([*mail[:2], *others]) == await take(store)
    assert [] == await take(store)
    await end_claimed(store, mail[0].id)
    assert [mail[2].id] == await take(store)


async def test_suspended_run_gives_its_place_in_the_queue_away(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", concurrency=1))
    first = await start_claimed(store, queue="mail")
    second = await start(store, queue="mail")

    await suspend(store, first, wait_for_event("a"))

    assert [second.id] == await take(store)
    await deliver(store, first.run_id, "a")
    assert [] == await take(store)
    await end_claimed(store, second.id)
    assert [first.run_id] == await take(store)


async def test_limit_holds_for_a_claim_of_one_as_well(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", concurrency=1))
    await start_claimed(store, queue="mail")
    second = await start(store, queue="mail")

    assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=T0, only=second.id))


async def test_workflow_is_limited_in_all_queues_together(store: Store) -> None:
    await limit(store, workflows={"scan": 2})
    scans = [await start(store, workflow="scan", queue=queue) for queue in ("a", "b", "a", "b")]
    other = await start(store, workflow="other", queue="a")

    assert ids([*scans[:2], other]) == await take(store)
    await end_claimed(store, scans[1].id)
    assert [scans[2].id] == await take(store)


async def test_limit_is_never_passed_by_claims_at_once(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", concurrency=7), workflows={"order": 5})
    await store.runs.start_many([make_run(queue="mail") for _ in range(60)])

    batches = await asyncio.gather(
        *(store.runs.claim(limit=3, owner=f"boot-{i}", now=T0) for i in range(20))
    )

    assert 5 == sum(len(batch) for batch in batches)


async def test_places_are_free_again_after_a_crash(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", concurrency=1), workflows={"order": 1})
    first = await start_claimed(store, queue="mail")

    await store.runs.recover(owner="boot-2", now=T0)

    assert [first.run_id] == ids(await store.runs.claim(limit=9, owner="boot-2", now=T0))


# --- rate ----------------------------------------------------------------------------------


async def test_rate_hands_out_a_bucket_and_then_as_it_fills(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", rate=3, rate_period_s=60))
    runs = [await start(store, queue="mail") for _ in range(9)]

    first = await store.runs.claim(limit=100, owner=BOOT, now=T0)
    assert ids(runs[:3]) == ids(first)
    assert first.next_at is not None
    assert at(20) <= first.next_at < at(20.001)
    assert [] == await take(store, now=at(19.9))
    assert [runs[3].id] == await take(store, now=first.next_at)
    assert ids(runs[4:6]) == await take(store, now=at(61))


async def test_bucket_does_not_overflow(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", rate=2, rate_period_s=1))
    runs = [await start(store, queue="mail") for _ in range(5)]

    assert ids(runs[:2]) == await take(store, now=at(3600))


async def test_rate_below_one_hands_out_one_at_a_time(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", rate=0.5, rate_period_s=1))
    runs = [await start(store, queue="mail") for _ in range(3)]

    assert [runs[0].id] == await take(store)
    assert [] == await take(store, now=at(1.9))
    assert [runs[1].id] == await take(store, now=at(2.1))


async def test_rate_counts_retries_and_resumptions(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", rate=2, rate_period_s=60))
    first = await start_claimed(store, queue="mail", max_attempts=2)
    await store.runs.release(first, NOTHING, available_at=T0, failed=BROKE, now=T0)

    assert [first.run_id] == await take(store)
    await start(store, queue="mail")
    assert [] == await take(store)


async def test_clock_that_is_set_back_stops_no_bucket(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", rate=1, rate_period_s=60))
    runs = [await start(store, queue="mail") for _ in range(3)]
    assert [runs[0].id] == await take(store, now=at(10))

    assert [] == await take(store, now=at(-3600))
    again = await store.runs.claim(limit=9, owner=BOOT, now=at(-3595))

    assert [] == ids(again)
    assert again.next_at is not None
    assert at(-3541) < again.next_at < at(-3539)
    assert [runs[1].id] == await take(store, now=again.next_at)


async def test_bucket_is_as_empty_after_a_restart(opener: Opener) -> None:
    limits = QueueLimits(name="mail", rate=2, rate_period_s=60)
    async with opener() as store:
        await limit(store, limits)
        for _ in range(4):
            await start(store, queue="mail")
        assert 2 == len(await take(store))

    async with opener() as store:
        await store.queues.configure([limits], workflows={}, now=at(1))
        assert [] == await take(store, now=at(2))
        assert 1 == len(await take(store, now=at(31)))


async def test_nobody_is_asked_to_look_again_when_no_rate_holds_anything_up(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", rate=1, rate_period_s=60, concurrency=1))
    first = await start(store, queue="mail")

    claimed = await store.runs.claim(limit=9, owner=BOOT, now=T0)
    assert ([first.id], None) == (ids(claimed), claimed.next_at)
    await start(store, queue="mail")
    # It is the other limit that is in the way, and the end of a run lifts that.
    assert (await store.runs.claim(limit=9, owner=BOOT, now=T0)).next_at is None


# --- pauses --------------------------------------------------------------------------------


async def test_paused_queue_hands_out_nothing_also_after_a_restart(opener: Opener) -> None:
    async with opener() as store:
        run = await start(store, queue="mail")
        other = await start(store)
        await store.queues.pause("mail", now=T0)
        await store.queues.pause("mail", now=at(5))
        assert [other.id] == await take(store)

    async with opener() as store:
        await limit(store, QueueLimits(name="mail"))
        assert [] == await take(store)
        assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=T0, only=run.id))
        assert T0 == (await store.queues.get("mail")).paused_at
        await store.queues.resume("mail")
        await store.queues.resume("mail")
        assert [run.id] == await take(store)
        assert not (await store.queues.get("mail")).is_paused


@pytest.mark.parametrize("verb", ["get", "resume", "pause"])
async def test_queue_that_nobody_has_made_is_not_found(store: Store, verb: str) -> None:
    more = {"now": T0} if verb == "pause" else {}
    with pytest.raises(QueueNotFound) as refused:
        await getattr(store.queues, verb)("mail", **more)

    assert "mail" == refused.value.queue


# --- sizes ---------------------------------------------------------------------------------


async def test_full_queue_refuses_new_runs_until_one_is_taken(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", size_max=2))
    await start(store, queue="mail", available_at=at(99))
    await start(store, queue="mail")

    with pytest.raises(QueueFull) as refused:
        await start(store, queue="mail")
    assert ("mail", 2) == (refused.value.queue, refused.value.size_max)
    await start(store)  # another queue has room
    await take(store)
    await start(store, queue="mail")


async def test_run_that_is_known_is_found_though_the_queue_is_full(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", size_max=1))
    first = await store.runs.start(make_run(queue="mail", idempotency_key="k", request_hash="h"))

    again = await store.runs.start(make_run(queue="mail", idempotency_key="k", request_hash="h"))

    assert (first.run.id, False) == (again.run.id, again.is_new)
    with pytest.raises(IdempotencyMismatch):
        await store.runs.start(make_run(queue="mail", idempotency_key="k", request_hash="other"))


async def test_children_and_successors_are_never_refused(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", size_max=1))
    parent = await start_claimed(store, queue="mail")
    await start(store, queue="mail")
    child = make_run(queue="mail")

    await store.runs.record(parent, Writes(children=[child]), now=T0)
    successor = make_run(queue="mail")
    await finish(store, parent, successor=successor)

    assert RunStatus.PENDING == (await store.runs.get(child.id)).run.status
    assert RunStatus.PENDING == (await store.runs.get(successor.id)).run.status


# --- what is told --------------------------------------------------------------------------


async def test_queues_are_listed_by_name_with_their_limits_and_counts(store: Store) -> None:
    mail = QueueLimits(name="mail", concurrency=3, rate=2.5, rate_period_s=0.5, size_max=9)
    await limit(store, mail, QueueLimits(name="a"))
    await start_suspended(store, wait_for_event("a"), queue="mail")
    await start_claimed(store, queue="mail")
    await start(store, queue="mail", workflow="other")
    await start(store, queue="mail")
    done = await start_claimed(store, queue="zoo")
    await finish(store, done)

    listed = await store.queues.list(after=None, limit=9)

    assert ["a", "mail", "zoo"] == [one.name for one in listed]
    assert mail == listed[1].limits
    assert {RunStatus.SUSPENDED: 1, RunStatus.RUNNING: 1, RunStatus.PENDING: 2} == listed[1].runs
    assert {RunStatus.COMPLETED: 1} == listed[2].runs
    assert 0 == listed[0].count(RunStatus.PENDING)
    assert ["mail"] == [one.name for one in await store.queues.list(after="a", limit=1)]
    assert listed[1] == await store.queues.get("mail")


async def test_counts_by_status_are_those_of_all_queues(store: Store) -> None:
    for queue in ("a", "b", "a"):
        await start(store, queue=queue)
    await start_claimed(store, queue="c", workflow="other")

    assert {RunStatus.PENDING: 3, RunStatus.RUNNING: 1} == await store.runs.count_by_status()


async def test_limits_that_are_not_named_any_more_are_lifted(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", concurrency=1, size_max=1), workflows={"x": 1})
    await limit(store, QueueLimits(name="gone"), QueueLimits(name="held"))
    await start(store, queue="mail")
    await store.queues.pause("held", now=T0)

    await limit(store)

    names = [one.name for one in await store.queues.list(after=None, limit=9)]
    assert ["held", "mail"] == names  # what is not needed any more is forgotten
    await store.runs.start_many([make_run(queue="mail", workflow="x") for _ in range(3)])
    assert 4 == len(await take(store))


# --- bulk ----------------------------------------------------------------------------------


async def test_each_of_many_stands_for_itself(store: Store) -> None:
    await limit(store, QueueLimits(name="mail", size_max=1))
    await start(store, name="taken")
    known = await store.runs.start(make_run(idempotency_key="k", request_hash="h"))
    big = {"text": "x" * 9000}

    outcomes = await store.runs.start_many(
        [
            make_run(input=big, name="taken"),
            make_run(input=big),
            make_run(idempotency_key="k", request_hash="h"),
            make_run(idempotency_key="k", request_hash="other"),
            make_run(queue="mail", session_id="s"),
            make_run(queue="mail"),
            make_run(idempotency_key="new", request_hash="h"),
            make_run(idempotency_key="new", request_hash="h"),
        ]
    )

    kinds = [
        type(one) if not isinstance(one, Started) else (one.is_new, one.run.id == known.run.id)
        for one in outcomes
    ]
    assert [
        NameTaken,
        (True, False),
        (False, True),
        IdempotencyMismatch,
        (True, False),
        QueueFull,
        (True, False),
        (False, False),
    ] == kinds
    started = [one.run for one in outcomes if isinstance(one, Started)]
    assert started[-1].id == started[-2].id
    assert big == (await store.runs.get(started[0].id)).run.input
    assert started[0] == (await store.runs.get(started[0].id)).run
    assert 5 == (await store.runs.count_by_status())[RunStatus.PENDING]


async def test_nothing_at_all_may_be_started_in_bulk(store: Store) -> None:
    assert [] == list(await store.runs.start_many([]))


async def test_two_thousand_keys_that_come_twice_at_once_start_one_run_each(store: Store) -> None:
    async def request(i: int) -> Started:
        return await store.runs.start(make_run(idempotency_key=f"k{i}", request_hash=f"h{i}"))

    started = await asyncio.gather(
        *(request(i) for i in range(2000)), *(request(i) for i in range(2000))
    )

    assert 2000 == len({one.run.id for one in started})
    assert 2000 == sum(one.is_new for one in started)
    assert all(started[i].run.id == started[2000 + i].run.id for i in range(2000))
    assert {RunStatus.PENDING: 2000} == await store.runs.count_by_status()


async def test_each_principal_has_keys_of_its_own(store: Store) -> None:
    mine = await store.runs.start(make_run(idempotency_key="k", request_hash="1", principal="a"))
    yours = await store.runs.start(make_run(idempotency_key="k", request_hash="2", principal="b"))

    assert (True, True) == (mine.is_new, yours.is_new)
    again = await store.runs.start(make_run(idempotency_key="k", request_hash="2", principal="b"))
    assert yours.run.id == again.run.id


# --- concurrency keys ----------------------------------------------------------------------


async def test_runs_with_one_key_are_worked_off_one_at_a_time_in_their_order(
    store: Store,
) -> None:
    first = await start(store, concurrency_key="k")
    second = await start(store, concurrency_key="k", priority=9)
    third = await start(store, concurrency_key="k")
    other = await start(store, concurrency_key="other")

    assert [first.id, other.id] == await take(store)
    assert first.id == (await store.runs.get(second.id)).behind
    assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=T0, only=second.id))
    await end(store, second.id)
    run = (await store.runs.get(first.id)).run
    wakes = await finish(store, Claim(run.number, run.id, run.epoch))
    assert [third.id] == ids(wakes)
    assert [third.id] == await take(store)


async def test_key_is_held_until_the_end_also_while_suspended(store: Store) -> None:
    first, _ = await start_suspended(store, wait_for_event("a"), concurrency_key="k")
    second = await start(store, concurrency_key="k")

    assert [] == await take(store)
    ending = await end(store, first.run_id)

    assert [second.id] == ids(ending.wakes)
    assert [second.id] == await take(store)


async def test_key_is_held_over_retries_and_crashes(store: Store) -> None:
    first = await start_claimed(store, concurrency_key="k", max_attempts=3)
    await start(store, concurrency_key="k")

    await store.runs.release(first, NOTHING, available_at=at(60), failed=BROKE, now=T0)
    assert [] == await take(store)
    await claim(store, first.run_id, now=at(60))
    await store.runs.recover(owner="boot-2", now=at(61))

    again = await store.runs.claim(limit=9, owner="boot-2", now=at(61))
    assert [first.run_id] == ids(again)


async def test_run_needs_its_session_and_its_key(store: Store) -> None:
    session = await start_claimed(store, session_id="s")
    key = await start_claimed(store, concurrency_key="k")
    both = await start(store, session_id="s", concurrency_key="k")
    behind = await start(store, concurrency_key="k")

    assert [] == await finish(store, key)
    assert [] == await take(store)
    assert session.run_id == (await store.runs.get(both.id)).behind
    assert [both.id] == ids(await finish(store, session))
    assert [both.id] == await take(store)
    assert both.id == (await store.runs.get(behind.id)).behind


async def test_child_does_not_wait_for_what_its_ancestors_have(store: Store) -> None:
    top = await start_claimed(store, concurrency_key="k", session_id="s")
    behind = await start(store, concurrency_key="k")
    child = make_run(concurrency_key="k", session_id="s")
    await store.runs.record(top, Writes(children=[child]), now=T0)
    below = await claim(store, child.id)
    grandchild = make_run(concurrency_key="k")
    await store.runs.record(below, Writes(children=[grandchild]), now=T0)

    assert [grandchild.id] == await take(store)
    await end_claimed(store, grandchild.id)
    assert [] == await finish(store, below)
    assert [] == await take(store)
    assert [behind.id] == ids(await finish(store, top))


async def test_child_waits_for_a_key_that_a_stranger_has(store: Store) -> None:
    stranger = await start_claimed(store, concurrency_key="k")
    parent = await start_claimed(store, concurrency_key="mine")
    child = make_run(concurrency_key="k")
    await store.runs.record(parent, Writes(children=[child]), now=T0)

    assert [] == await take(store)
    assert [child.id] == ids(await finish(store, stranger))


async def test_successor_takes_the_key_over(store: Store) -> None:
    first = await start_claimed(store, concurrency_key="k")
    second = await start(store, concurrency_key="k")
    successor = make_run()

    await finish(store, first, successor=successor)

    assert [successor.id] == await take(store)
    assert "k" == (await store.runs.get(successor.id)).run.concurrency_key
    await end_claimed(store, successor.id)
    assert [second.id] == await take(store)
