"""`TopicStore`: one takes a queued event, all take a broadcast, nothing is lost in between."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from agency.core.limits import TOPIC_BATCH_ROWS_MAX
from agency.domain.run import RunStatus
from agency.domain.topic import NewTopicEvent, TopicMode
from agency.domain.wait import NewWait, WaitOutcome
from agency.errors import TopicFull, TopicNotFound
from agency.ports.store import Claim, Store, Wake
from agency.ports.topic import Published, TopicLimits
from tests.contract.conftest import Opener
from tests.contract.making import (
    T0,
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
    wait_for_event,
    waits_of,
)

LIMITS = TopicLimits(events_max=1000, bytes_max=1 << 20)
_numbers = itertools.count(1)


def wait_at(key: str, topic: str = "t", name: str = "n", where: Any = None, **more: Any) -> NewWait:
    """A wait for an event of a topic."""
    show = None if where is None else {"where": where}
    return wait_for_event(key, name, target=topic, show=show, **more)


async def publish(
    store: Store,
    payload: Any = None,
    *,
    topic: str = "t",
    now_s: float = 0,
    keep_s: float = 100,
    limits: TopicLimits = LIMITS,
    **more: Any,
) -> Published:
    plain = NewTopicEvent(
        id=f"event-{next(_numbers)}",
        name="n",
        payload=payload,
        mode=TopicMode.QUEUE,
        created_at=at(now_s),
        expires_at=at(now_s + keep_s),
    )
    return await store.topics.publish(topic, replace(plain, **more), limits=limits, now=at(now_s))


async def broadcast(store: Store, payload: Any = None, **more: Any) -> Published:
    return await publish(store, payload, mode=TopicMode.BROADCAST, **more)


async def spread(store: Store, *, limit: int = 50, now_s: float = 0) -> list[Wake]:
    """Hand on all that is spreading."""
    wakes: list[Wake] = []
    for _ in range(1000):
        step = await store.topics.spread(limit=limit, now=at(now_s))
        wakes += step.wakes
        if step.is_done:
            return wakes
    raise AssertionError("it spreads for ever")


async def open_waits(store: Store, claimed: Claim, *waits: NewWait) -> list[Any]:
    """Open waits of a claimed run; payloads of those that were answered at once."""
    return [wait.payload for wait in await record(store, claimed, waits=waits)]


async def payloads(store: Store, claimed: Claim) -> dict[str, Any]:
    """What the answered waits of a run have."""
    waits = await waits_of(store, claimed)
    return {
        key: wait.payload for key, wait in waits.items() if wait.outcome is WaitOutcome.ANSWERED
    }


async def kept(store: Store, topic: str = "t") -> int:
    return (await store.topics.get(topic)).events


# --- queue ---------------------------------------------------------------------------------


async def test_event_is_taken_by_the_oldest_wait(store: Store) -> None:
    first, _ = await start_suspended(store, wait_at("a"))
    second, _ = await start_suspended(store, wait_at("a"))

    published = await publish(store, 1)

    assert [first.run_id] == ids(published.wakes)
    assert ({"a": 1}, {}) == (await payloads(store, first), await payloads(store, second))
    assert RunStatus.PENDING is await status_of(store, first.run_id)
    assert RunStatus.SUSPENDED is await status_of(store, second.run_id)
    assert 0 == await kept(store)


async def test_event_that_comes_first_is_kept_for_one_wait(store: Store) -> None:
    published = await publish(store, 1)
    claimed = await start_claimed(store)

    assert [] == list(published.wakes)
    assert 1 == await kept(store)
    assert [1] == await open_waits(store, claimed, wait_at("a"))
    assert [] == await open_waits(store, claimed, wait_at("b"))
    assert 0 == await kept(store)


async def test_kept_events_are_taken_in_their_order(store: Store) -> None:
    for i in range(3):
        await publish(store, i)
    claimed = await start_claimed(store)

    assert [0, 1, 2] == await open_waits(store, claimed, *(wait_at(str(i)) for i in range(3)))


async def test_other_topics_and_names_are_left_alone(store: Store) -> None:
    claimed, _ = await start_suspended(
        store, wait_at("a", topic="u"), wait_at("b", name="m"), wait_for_event("c", "n")
    )

    assert [] == list((await publish(store, 1)).wakes)
    await deliver(store, claimed.run_id, "n", 2)

    assert {"c": 2} == await payloads(store, claimed)


async def test_event_to_the_run_is_not_taken_by_a_wait_for_a_topic(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_at("a"))

    delivery = await deliver(store, claimed.run_id, "n", 1)

    assert [] == list(delivery.wakes)


async def test_filter_chooses_among_waits(store: Store) -> None:
    eu, _ = await start_suspended(store, wait_at("a", where={"region": "eu"}))
    us, _ = await start_suspended(store, wait_at("a", where={"region": "us"}))

    await publish(store, {"region": "us"})
    await publish(store, {"region": "asia"})

    assert ({}, {"a": {"region": "us"}}) == (await payloads(store, eu), await payloads(store, us))
    assert 1 == await kept(store)


async def test_filter_chooses_among_kept_events(store: Store) -> None:
    for i in range(250):
        await publish(store, {"i": i})
    claimed = await start_claimed(store)

    assert [{"i": 240}] == await open_waits(store, claimed, wait_at("a", where={"i": {"ge": 240}}))
    assert [{"i": 0}] == await open_waits(store, claimed, wait_at("b"))
    assert [] == await open_waits(store, claimed, wait_at("c", where={"i": 240}))


async def test_two_events_at_once_reach_two_waits(store: Store) -> None:
    runs = [(await start_suspended(store, wait_at("a")))[0] for _ in range(10)]

    await asyncio.gather(*(publish(store, i) for i in range(15)))

    found = [await payloads(store, claimed) for claimed in runs]
    assert 10 == len({one["a"] for one in found})
    assert 5 == await kept(store)


async def test_waiting_and_publishing_at_once_never_miss_each_other(store: Store) -> None:
    claims = [await start_claimed(store) for _ in range(20)]

    await asyncio.gather(
        *itertools.chain.from_iterable(
            (record(store, claimed, waits=[wait_at("a")]), publish(store, i))
            for i, claimed in enumerate(claims)
        )
    )

    found = [await payloads(store, claimed) for claimed in claims]
    assert set(range(20)) == {one["a"] for one in found}
    assert 0 == await kept(store)


async def test_one_id_counts_once(store: Store) -> None:
    first = await publish(store, 1, id="e")
    claimed = await start_claimed(store)
    assert [1] == await open_waits(store, claimed, wait_at("a"))

    second = await publish(store, 2, id="e")
    other = await publish(store, 3, id="e", topic="u")

    assert (True, False, True) == (first.is_new, second.is_new, other.is_new)
    assert [] == await open_waits(store, claimed, wait_at("b"))


async def test_one_id_at_once_counts_once(store: Store) -> None:
    results = await asyncio.gather(*(publish(store, i, id="e") for i in range(10)))

    assert 1 == sum(result.is_new for result in results)
    assert 1 == await kept(store)


async def test_claimed_run_is_told_and_a_held_one_is_not_woken(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_at("a")])
    held, _ = await start_suspended(store, wait_at("a"))
    await hold(store, held.run_id)

    assert [RunStatus.RUNNING] == [wake.status for wake in (await publish(store, 1)).wakes]
    assert [] == list((await publish(store, 2)).wakes)
    assert {"a": 2} == await payloads(store, held)


async def test_suspension_finds_the_event_that_came_before_it(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_at("a")])
    await publish(store, 1)

    suspension = await store.runs.suspend(
        claimed,
        writes(),
        blocked_on=["a"],
        snapshot_id="s",
        reason="event",
        now=T0,
    )

    assert (None, [1]) == (suspension.snapshot_id, [wait.payload for wait in suspension.resolved])


def writes() -> Any:
    from agency.ports.store import NOTHING

    return NOTHING


async def test_ended_run_takes_nothing(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_at("a"))
    await end(store, claimed.run_id)

    assert [] == list((await publish(store, 1)).wakes)
    assert 1 == await kept(store)


async def test_timed_out_wait_takes_nothing(store: Store) -> None:
    await start_suspended(store, wait_at("a", due_at=at(1)))
    await store.runs.fire_due(now=at(1), limit=9)

    assert [] == list((await publish(store, 1, now_s=2)).wakes)


async def test_event_of_a_lost_branch_goes_to_another_run(store: Store) -> None:
    claimed = await start_claimed(store)
    await publish(store, {"large": "x" * 100_000})
    await record(store, claimed, waits=[wait_at("a")])
    other, _ = await start_suspended(store, wait_at("a"))

    await record(store, claimed, closed_waits=["a"])

    assert (1, True) == (await kept(store), await store.topics.has_spreading())
    assert [other.run_id] == ids(await spread(store))
    assert {"a": {"large": "x" * 100_000}} == await payloads(store, other)
    assert 0 == await kept(store)


async def test_event_of_a_lost_branch_is_kept_when_nobody_waits(store: Store) -> None:
    claimed = await start_claimed(store)
    await publish(store, 1)
    await record(store, claimed, waits=[wait_at("a"), wait_at("open")])
    await record(store, claimed, closed_waits=["a", "open"])

    assert [] == await spread(store)

    assert [1] == await open_waits(store, claimed, wait_at("b"))


# --- broadcasts ----------------------------------------------------------------------------


async def test_broadcast_is_taken_by_all_that_it_fits(store: Store) -> None:
    runs = [(await start_suspended(store, wait_at("a")))[0] for _ in range(3)]
    other, _ = await start_suspended(store, wait_at("a", where={"x": 1}))

    published = await broadcast(store, {"x": 2})

    assert [claimed.run_id for claimed in runs] == ids(published.wakes)
    assert {} == await payloads(store, other)


async def test_several_waits_of_one_run_take_the_same_broadcast(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_at("a"), wait_at("b"))

    published = await broadcast(store, 1)

    assert {"a": 1, "b": 1} == await payloads(store, claimed)
    assert [claimed.run_id] == ids(published.wakes)


async def test_broadcast_is_kept_for_runs_that_were_started_before(store: Store) -> None:
    early = await start_claimed(store)
    await broadcast(store, 1)
    late = await start_claimed(store)

    assert [1] == await open_waits(store, early, wait_at("a"))
    assert [] == await open_waits(store, late, wait_at("a"))


async def test_run_reads_broadcasts_in_order_and_each_once(store: Store) -> None:
    claimed = await start_claimed(store)
    for i in range(3):
        await broadcast(store, i)

    found = [await open_waits(store, claimed, wait_at(f"w{i}")) for i in range(3)]
    assert [[0], [1], [2]] == found
    assert [] == await open_waits(store, claimed, wait_at("w3"))
    await broadcast(store, 3)

    assert 3 == (await payloads(store, claimed))["w3"]
    assert [] == await open_waits(store, claimed, wait_at("w4"))


async def test_each_filter_of_a_run_reads_by_itself(store: Store) -> None:
    claimed = await start_claimed(store)
    for region in ("us", "eu", "us"):
        await broadcast(store, {"region": region})

    assert [{"region": "eu"}] == await open_waits(
        store, claimed, wait_at("a", where={"region": "eu"})
    )
    us = {"region": "us"}
    assert [us] == await open_waits(store, claimed, wait_at("b", where=us))
    assert [us] == await open_waits(store, claimed, wait_at("c", where=us))
    assert [] == await open_waits(store, claimed, wait_at("d", where=us))


async def test_queued_events_and_broadcasts_of_a_topic_come_in_their_order(store: Store) -> None:
    claimed = await start_claimed(store)
    await publish(store, 0)
    await broadcast(store, 1)
    await publish(store, 2)

    found = [await open_waits(store, claimed, wait_at(f"w{i}")) for i in range(3)]

    assert [[0], [1], [2]] == found


async def test_broadcast_of_a_lost_branch_can_be_taken_again(store: Store) -> None:
    claimed = await start_claimed(store)
    await broadcast(store, 1)
    await record(store, claimed, waits=[wait_at("a")])

    await record(store, claimed, closed_waits=["a"])

    assert [1] == await open_waits(store, claimed, wait_at("b"))


async def test_broadcast_is_not_given_back_once_the_run_has_read_on(store: Store) -> None:
    claimed = await start_claimed(store)
    for i in range(2):
        await broadcast(store, i)
    await record(store, claimed, waits=[wait_at("a")])
    await record(store, claimed, waits=[wait_at("b")])

    await record(store, claimed, closed_waits=["a"])

    assert [] == await open_waits(store, claimed, wait_at("c"))


# --- many waits ----------------------------------------------------------------------------

MANY = TOPIC_BATCH_ROWS_MAX * 2 + 10


async def start_many(store: Store, number: int = MANY, where: Any = None) -> list[Claim]:
    found = await asyncio.gather(
        *(start_suspended(store, wait_at("a", where=where)) for _ in range(number))
    )
    return sorted((claimed for claimed, _ in found), key=lambda claimed: claimed.number)


async def test_broadcast_to_many_goes_on_in_batches(store: Store) -> None:
    runs = await start_many(store)

    published = await broadcast(store, 1)
    rest = await spread(store)

    assert published.is_spreading
    assert TOPIC_BATCH_ROWS_MAX == len(published.wakes)
    assert {claimed.run_id for claimed in runs} == {*ids(published.wakes), *ids(rest)}
    assert not await store.topics.has_spreading()


async def test_later_events_of_a_topic_do_not_overtake(store: Store) -> None:
    runs = await start_many(store)
    await broadcast(store, "first")
    second = await broadcast(store, "second")
    third = await publish(store, "third")

    assert (True, True) == (second.is_spreading, third.is_spreading)
    await spread(store)

    found = [(await payloads(store, claimed))["a"] for claimed in runs]
    assert ["first"] * MANY == found
    again = await claim(store, runs[-1].run_id)
    assert ["second"] == await open_waits(store, again, wait_at("b"))
    assert ["third"] == await open_waits(store, again, wait_at("c"))


async def test_wait_that_is_opened_while_a_broadcast_spreads_takes_it(store: Store) -> None:
    claimed = await start_claimed(store)
    await start_many(store)
    await broadcast(store, 1)

    assert [1] == await open_waits(store, claimed, wait_at("a"))

    await spread(store)
    assert [] == await open_waits(store, claimed, wait_at("b"))


async def test_queued_event_looks_through_many_waits_in_batches(store: Store) -> None:
    await start_many(store, where={"never": True})
    fitting, _ = await start_suspended(store, wait_at("a", where={"x": 1}))
    late = await start_claimed(store)

    published = await publish(store, {"x": 1})

    assert ([], True) == (list(published.wakes), published.is_spreading)
    # The oldest wait that it fits has it, not the one that happens to be opened meanwhile.
    assert [] == await open_waits(store, late, wait_at("a"))
    assert [fitting.run_id] == ids(await spread(store))
    assert {} == await payloads(store, late)


async def test_queued_event_that_fits_nobody_is_kept_after_all_were_looked_at(
    store: Store,
) -> None:
    await start_many(store, where={"never": True})
    await publish(store, 1)
    await spread(store)

    claimed = await start_claimed(store)

    assert [1] == await open_waits(store, claimed, wait_at("a"))


async def test_broadcast_that_was_cut_off_reaches_everybody_after_a_restart(
    opener: Opener,
) -> None:
    async with opener() as store:
        runs = await start_many(store, 1000)
        published = await broadcast(store, 1)
        await store.topics.spread(limit=300, now=T0)
        assert published.is_spreading

    async with opener() as store:
        assert await store.topics.has_spreading()
        await spread(store, limit=200)

        assert not await store.topics.has_spreading()
        for claimed in runs:
            assert {"a": 1} == await payloads(store, claimed)
            assert RunStatus.PENDING is await status_of(store, claimed.run_id)


# --- limits and time -----------------------------------------------------------------------


async def test_expired_event_is_not_taken_and_is_dropped(store: Store) -> None:
    await publish(store, 1, keep_s=10)
    await broadcast(store, 2, keep_s=10)
    claimed = await start_claimed(store)

    late = wait_at("a")
    resolved = await store.runs.record(claimed, replace(writes(), waits=[late]), now=at(10))

    assert [] == list(resolved)
    assert 0 == await store.topics.drop_expired(limit=9, now=at(9))
    assert [1, 1, 0] == [await store.topics.drop_expired(limit=1, now=at(10)) for _ in range(3)]
    assert (0, 1) == ((await store.topics.get("t")).events, (await store.topics.get("t")).waits)
    assert not await store.topics.has_events()


async def test_topic_that_nothing_is_left_of_is_gone(store: Store) -> None:
    await publish(store, 1, keep_s=10)
    assert await store.topics.has_events()

    await store.topics.drop_expired(limit=9, now=at(10))

    with pytest.raises(TopicNotFound):
        await store.topics.get("t")
    assert [] == list(await store.topics.list(after=None, limit=9))


async def test_long_payload_goes_with_the_last_that_has_it(store: Store) -> None:
    long = "x" * 100_000
    await publish(store, long, keep_s=10)
    await broadcast(store, long, keep_s=10)
    claimed = await start_claimed(store)
    await open_waits(store, claimed, wait_at("a"))
    assert 1 == await blobs(store)

    await store.topics.drop_expired(limit=9, now=at(10))

    assert 1 == await blobs(store)
    assert {"a": long} == await payloads(store, claimed)
    await publish(store, f"{long}y", keep_s=10)
    assert 2 == await blobs(store)
    await store.topics.drop_expired(limit=9, now=at(10))
    assert 1 == await blobs(store)


async def blobs(store: Store) -> int:
    return next(one.rows for one in (await store.upkeep.stats()).tables if one.name == "blobs")


async def test_expired_event_that_is_given_back_reaches_nobody(store: Store) -> None:
    claimed = await start_claimed(store)
    await publish(store, 1, keep_s=10)
    await record(store, claimed, waits=[wait_at("a")])
    other, _ = await start_suspended(store, wait_at("a"))
    await record(store, claimed, closed_waits=["a"])

    assert [] == await spread(store, now_s=10)

    assert {} == await payloads(store, other)
    assert 1 == await store.topics.drop_expired(limit=9, now=at(10))


async def test_broadcast_that_expires_while_it_spreads_still_reaches_who_waited(
    store: Store,
) -> None:
    runs = await start_many(store)
    await broadcast(store, 1, keep_s=10)

    assert 0 == await store.topics.drop_expired(limit=9, now=at(11))
    await spread(store, now_s=11)

    assert {"a": 1} == await payloads(store, runs[-1])
    assert 1 == await store.topics.drop_expired(limit=9, now=at(11))


@pytest.mark.parametrize(
    "limits",
    [TopicLimits(events_max=2, bytes_max=1 << 20), TopicLimits(events_max=99, bytes_max=12)],
)
async def test_full_topic_refuses_what_it_would_have_to_keep(
    store: Store, limits: TopicLimits
) -> None:
    for i in range(2):
        await publish(store, f"abc{i}", limits=limits)

    with pytest.raises(TopicFull):
        await publish(store, "abc2", limits=limits)
    with pytest.raises(TopicFull):
        await broadcast(store, "abc2", limits=limits)

    assert 2 == await kept(store)
    claimed = await start_claimed(store)
    assert ["abc0"] == await open_waits(store, claimed, wait_at("a"))
    assert (await publish(store, "abc2", limits=limits)).is_new


async def test_full_topic_takes_what_somebody_waits_for(store: Store) -> None:
    limits = TopicLimits(events_max=1, bytes_max=1 << 20)
    await publish(store, 0, limits=limits)
    waiting, _ = await start_suspended(store, wait_at("a", where={"x": 1}))

    published = await publish(store, {"x": 1}, limits=limits)

    assert [waiting.run_id] == ids(published.wakes)


async def test_refused_broadcast_reaches_nobody(store: Store) -> None:
    limits = TopicLimits(events_max=1, bytes_max=1 << 20)
    await publish(store, 0, name="other", limits=limits)
    waiting, _ = await start_suspended(store, wait_at("a"))

    with pytest.raises(TopicFull):
        await broadcast(store, 1, limits=limits)

    assert {} == await payloads(store, waiting)
    assert RunStatus.SUSPENDED is await status_of(store, waiting.run_id)


async def test_topics_are_listed_by_name_with_what_they_hold(store: Store) -> None:
    await publish(store, "abc", topic="b")
    await start_suspended(
        store, wait_at("x", topic="a"), wait_at("y", topic="a"), wait_at("z", "b", "m")
    )

    found = await store.topics.list(after=None, limit=9)

    assert [("a", 0, 0, 2), ("b", 1, 5, 1)] == [
        (topic.name, topic.events, topic.size_bytes, topic.waits) for topic in found
    ]
    assert ["a"] == [topic.name for topic in await store.topics.list(after=None, limit=1)]
    assert ["b"] == [topic.name for topic in await store.topics.list(after="a", limit=9)]
    with pytest.raises(TopicNotFound):
        await store.topics.get("c")


async def test_events_of_a_topic_are_listed_newest_first(store: Store) -> None:
    for i in range(3):
        await publish(store, i, id=str(i), keep_s=10 + i)
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_at("a")])

    found = await store.topics.events("t", before=None, limit=9, now=T0)

    assert [("2", 2, False), ("1", 1, False), ("0", None, True)] == [
        (event.id, event.payload, event.is_taken) for event in found
    ]
    assert ("t", "n", TopicMode.QUEUE, T0, at(12), False) == (
        found[0].topic,
        found[0].name,
        found[0].mode,
        found[0].created_at,
        found[0].expires_at,
        found[0].is_spreading,
    )
    page = await store.topics.events("t", before=found[1].number, limit=9, now=T0)
    assert ["0"] == [event.id for event in page]
    assert ["2"] == [e.id for e in await store.topics.events("t", before=None, limit=9, now=at(11))]


# --- filters on events to a run ------------------------------------------------------------


async def test_event_to_a_run_is_kept_until_a_wait_that_it_fits(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("a", "n", show={"where": {"x": 1}}))

    unfit = await deliver(store, claimed.run_id, "n", {"x": 2})
    fit = await deliver(store, claimed.run_id, "n", {"x": 1})

    assert ([], [claimed.run_id]) == (ids(unfit.wakes), ids(fit.wakes))
    claimed = await claim(store, claimed.run_id)
    assert [] == await open_waits(
        store, claimed, wait_for_event("b", "n", show={"where": {"x": 3}})
    )
    assert [{"x": 2}] == await open_waits(store, claimed, wait_for_event("c", "n"))


async def test_event_to_a_run_passes_over_waits_that_it_does_not_fit(store: Store) -> None:
    waits = [wait_for_event(f"w{i}", "n", show={"where": {"i": i}}) for i in range(150)]
    claimed, _ = await start_suspended(store, *waits)

    await deliver(store, claimed.run_id, "n", {"i": 149})

    assert {"w149": {"i": 149}} == await payloads(store, claimed)


async def test_event_that_a_run_gives_back_goes_to_a_wait_that_it_fits(store: Store) -> None:
    claimed = await start_claimed(store)
    await deliver(store, claimed.run_id, "n", {"x": 1})
    await record(store, claimed, waits=[wait_for_event("a", "n")])
    await record(
        store,
        claimed,
        waits=[
            wait_for_event("b", "n", show={"where": {"x": 2}}),
            wait_for_event("c", "n", show={"where": {"x": 1}}),
        ],
    )

    resolved = await record(store, claimed, closed_waits=["a"])

    assert ["c"] == [wait.key for wait in resolved]


async def test_finished_run_leaves_its_topic_to_others(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, waits=[wait_at("a")])
    await finish(store, claimed)
    run = await start(store)
    other = await claim(store, run.id)
    assert await suspend(store, other, wait_at("a")) is not None

    assert [other.run_id] == ids((await publish(store, 1)).wakes)
