"""`ScheduleStore`: schedules, and each expected firing once."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from agency.core.ids import derive_id, new_id
from agency.domain.run import LIVE, RunStatus
from agency.domain.schedule import CatchUp, FiringOutcome, Overlap, Schedule, ScheduleSpec
from agency.errors import IdempotencyMismatch, ScheduleNotFound
from agency.ports.schedule import Fired, NewFiring
from agency.ports.store import RunFilter, Store
from tests.contract.conftest import Opener
from tests.contract.making import CANCELLED, T0, at, claim, end, finish, make_run, status_of

FIRED, SKIPPED = FiringOutcome.FIRED, FiringOutcome.SKIPPED


def make_spec(name: str = "nightly", **changes: Any) -> ScheduleSpec:
    return ScheduleSpec(name=name, workflow="order", **{"interval_s": 60.0, **changes})


async def add(store: Store, name: str = "nightly", **changes: Any) -> Schedule:
    schedule = await store.schedules.add(
        make_spec(name, **changes),
        id=new_id(),
        created_by="ann",
        next_at=at(60),
        due_at=at(61),
        now=T0,
    )
    assert schedule is not None
    return schedule


def new_firing(seen: Schedule, expected_at: datetime, **changes: Any) -> NewFiring:
    """A firing with a run, unless it is skipped."""
    values: dict[str, Any] = {"expected_at": expected_at, "outcome": FIRED, **changes}
    if values["outcome"] is not SKIPPED:
        run_id = derive_id(seen.id, str(seen.generation), expected_at.isoformat())
        values["run"] = make_run(id=run_id, schedule=seen.spec.name)
    return NewFiring(**values)


async def fire(
    store: Store, seen: Schedule, *firings: NewFiring, next_at: datetime | None = None
) -> Fired | None:
    firings = firings or (new_firing(seen, seen.next_at or T0),)
    last = firings[-1].through_at or firings[-1].expected_at
    following = next_at or last + timedelta(seconds=60)
    return await store.schedules.fire(
        seen, firings, next_at=following, due_at=following, error=CANCELLED, now=at(61)
    )


async def outcomes(store: Store, name: str = "nightly") -> list[tuple[str, str]]:
    ledger = await store.schedules.firings(name, before=None, limit=500)
    return [(firing.outcome.value, firing.reason) for firing in ledger]


async def all_runs(store: Store) -> list[str]:
    return [run.id for run in await store.runs.list(RunFilter(), before=None, limit=500)]


# --- schedules --------------------------------------------------------------------------------


async def test_schedule_is_read_as_it_was_handed_in(opener: Opener) -> None:
    spec = make_spec(
        input={"a": [1, None, "ä"]},
        anchor_at=at(1.5),
        starts_at=at(2),
        ends_at=at(3),
        zone="Europe/Berlin",
        jitter_s=2.5,
        catch_up=CatchUp.ALL,
        overlap=Overlap.QUEUE,
        queue="slow",
        priority=-3,
        max_attempts=4,
        tags={"team": "blue"},
    )
    async with opener() as store:
        added = await store.schedules.add(
            spec, id="i", created_by="ann", next_at=at(60), due_at=at(61), now=T0
        )

    async with opener() as store:
        schedule = await store.schedules.get("nightly")

    assert added == schedule
    assert (spec, 1, "i", "ann") == (
        schedule.spec,
        schedule.generation,
        schedule.id,
        schedule.created_by,
    )
    assert (at(60), at(61), None, T0) == (
        schedule.next_at,
        schedule.due_at,
        schedule.last_at,
        schedule.created_at,
    )


async def test_name_is_taken_once(store: Store) -> None:
    values: dict[str, Any] = {"created_by": "", "next_at": None, "due_at": None, "now": T0}

    added = await asyncio.gather(
        *(store.schedules.add(make_spec(), id=new_id(), **values) for _ in range(10))
    )

    assert 1 == sum(one is not None for one in added)


async def test_replaced_schedule_has_the_next_generation_and_its_counts(store: Store) -> None:
    await fire(store, await add(store))
    seen = await store.schedules.get("nightly")

    changed = await store.schedules.replace(
        seen, make_spec(interval_s=5.0), next_at=at(65), due_at=at(65), now=at(62)
    )

    assert changed == await store.schedules.get("nightly")
    assert changed is not None
    assert (2, 1, at(65), at(62), T0) == (
        changed.generation,
        changed.fired,
        changed.next_at,
        changed.updated_at,
        changed.created_at,
    )


async def test_schedule_that_has_changed_since_it_was_seen_is_not_replaced(store: Store) -> None:
    seen = await add(store)
    await fire(store, seen)

    again = await store.schedules.replace(seen, make_spec(), next_at=None, due_at=None, now=T0)

    assert again is None
    assert at(120) == (await store.schedules.get("nightly")).next_at


async def test_schedules_are_listed_by_name_in_pages(store: Store) -> None:
    for name in ("c", "a", "b"):
        await add(store, name)
    other = ScheduleSpec(name="d", workflow="other", interval_s=1.0)
    await store.schedules.add(other, id="d", created_by="", next_at=None, due_at=None, now=T0)

    page = await store.schedules.list(workflow=None, after=None, limit=2)
    rest = await store.schedules.list(workflow=None, after="b", limit=9)
    own = await store.schedules.list(workflow="other", after=None, limit=9)

    assert ["a", "b"] == [one.spec.name for one in page]
    assert ["c", "d"] == [one.spec.name for one in rest]
    assert ["d"] == [one.spec.name for one in own]


async def test_deleted_schedule_leaves_its_runs(store: Store) -> None:
    fired = await fire(store, await add(store))
    assert fired is not None

    await store.schedules.delete("nightly")

    with pytest.raises(ScheduleNotFound):
        await store.schedules.get("nightly")
    assert [fired.started[0].id] == await all_runs(store)


@pytest.mark.parametrize("verb", ["get", "delete", "pause", "resume", "firings", "run_now"])
async def test_unknown_schedule_is_not_found(store: Store, verb: str) -> None:
    calls: dict[str, Any] = {
        "get": lambda: store.schedules.get("x"),
        "delete": lambda: store.schedules.delete("x"),
        "pause": lambda: store.schedules.pause("x", reason="", now=T0),
        "resume": lambda: store.schedules.resume("x", now=T0),
        "firings": lambda: store.schedules.firings("x", before=None, limit=1),
        "run_now": lambda: store.schedules.run_now("x", make_run(), error=CANCELLED, now=T0),
    }

    with pytest.raises(ScheduleNotFound):
        await calls[verb]()

    assert [] == await all_runs(store)


async def test_pause_keeps_its_reason_until_it_is_resumed(store: Store) -> None:
    await add(store)
    await store.schedules.pause("nightly", reason="first", now=at(1))

    paused = await store.schedules.pause("nightly", reason="second", now=at(2))
    resumed = await store.schedules.resume("nightly", now=at(3))
    again = await store.schedules.resume("nightly", now=at(4))

    assert ("second", None, None) == (paused.paused, resumed.paused, again.paused)
    assert at(3) == again.updated_at


# --- due --------------------------------------------------------------------------------------


async def test_due_schedules_are_told_with_the_next_moment(store: Store) -> None:
    await add(store, "a")
    await add(store, "b")

    early = await store.schedules.due(now=at(60), limit=9)
    due = await store.schedules.due(now=at(61), limit=9)
    part = await store.schedules.due(now=at(61), limit=1)

    assert ((), at(61)) == (tuple(early.schedules), early.next_at)
    assert (["a", "b"], None) == ([one.spec.name for one in due.schedules], due.next_at)
    assert (["a"], at(61)) == ([one.spec.name for one in part.schedules], part.next_at)


# --- firings ----------------------------------------------------------------------------------


async def test_firing_and_its_run_are_kept_together(opener: Opener) -> None:
    async with opener() as store:
        seen = await add(store)
        fired = await fire(store, seen)

    assert fired is not None
    async with opener() as store:
        schedule = await store.schedules.get("nightly")
        (firing,) = await store.schedules.firings("nightly", before=None, limit=9)
        run = (await store.runs.get(fired.started[0].id)).run

    assert [firing] == list(fired.firings)
    assert (1, at(60), FIRED, run.id) == (
        firing.number,
        firing.expected_at,
        firing.outcome,
        firing.run_id,
    )
    assert ("nightly", RunStatus.PENDING) == (run.schedule, run.status)
    assert (at(120), at(60), 1) == (schedule.next_at, schedule.last_at, schedule.fired)


async def test_moment_is_dealt_with_once_whoever_asks(store: Store) -> None:
    seen = await add(store)

    fired = await asyncio.gather(*(fire(store, seen) for _ in range(20)))

    assert 1 == sum(one is not None for one in fired)
    assert 1 == len(await all_runs(store))
    assert [("fired", "")] == await outcomes(store)


@pytest.mark.parametrize("change", ["pause", "replace", "delete"])
async def test_nothing_is_fired_of_what_was_changed_meanwhile(store: Store, change: str) -> None:
    seen = await add(store)
    if change == "pause":
        await store.schedules.pause("nightly", reason="stop", now=T0)
    elif change == "replace":
        await store.schedules.replace(seen, make_spec(), next_at=at(60), due_at=at(60), now=T0)
    else:
        await store.schedules.delete("nightly")

    assert await fire(store, seen) is None
    assert [] == await all_runs(store)


async def test_skipped_firings_are_recorded_and_counted(store: Store) -> None:
    seen = await add(store)

    await fire(
        store,
        seen,
        new_firing(seen, at(60), outcome=SKIPPED, reason="missed", through_at=at(179), firings=2),
        new_firing(seen, at(180), outcome=SKIPPED, reason="missed"),
        new_firing(seen, at(240), outcome=FiringOutcome.CAUGHT_UP),
    )

    schedule = await store.schedules.get("nightly")
    assert (0, 1, 3) == (schedule.fired, schedule.caught_up, schedule.skipped)
    assert [("caught_up", ""), ("skipped", "missed"), ("skipped", "missed")] == await outcomes(
        store
    )
    assert at(240) == schedule.last_at


async def test_live_run_is_in_the_way_of_the_next(store: Store) -> None:
    seen = await add(store, overlap=Overlap.SKIP)
    first = await fire(store, seen)
    second = await fire(store, await store.schedules.get("nightly"))
    assert first is not None
    assert second is not None
    live = first.started[0].id

    await finish(store, await claim(store, live))
    third = await fire(store, await store.schedules.get("nightly"))

    assert (SKIPPED, "overlap", live) == (
        second.firings[0].outcome,
        second.firings[0].reason,
        second.firings[0].run_id,
    )
    assert third is not None
    assert FIRED is third.firings[0].outcome
    assert (2, 1) == ((await store.schedules.get("nightly")).fired, len(second.firings))


async def test_queued_runs_wait_beside_each_other(store: Store) -> None:
    seen = await add(store, overlap=Overlap.QUEUE)

    await fire(store, seen)
    await fire(store, await store.schedules.get("nightly"))

    assert 2 == len(await all_runs(store))


async def test_earlier_run_is_cancelled_for_the_next(store: Store) -> None:
    seen = await add(store, overlap=Overlap.CANCEL_PREVIOUS)
    first = await fire(store, seen)
    assert first is not None
    pending = first.started[0].id
    second = await fire(store, await store.schedules.get("nightly"))
    assert second is not None
    running = second.started[0].id
    await claim(store, running)

    third = await fire(store, await store.schedules.get("nightly"))

    assert RunStatus.CANCELLED is await status_of(store, pending)
    assert [pending] == list(second.ended[0].ended)
    assert third is not None
    assert [running] == list(third.ended[0].asked)
    assert "cancelled" == (await store.runs.get(running)).run.ending
    assert RunStatus.PENDING is await status_of(store, third.started[0].id)


async def test_ledger_is_bounded_and_its_counts_go_on(store: Store) -> None:
    seen = await add(store)
    total = 0
    for _ in range(21):
        first = seen.next_at or T0
        firings = [
            new_firing(seen, first + timedelta(seconds=i), outcome=SKIPPED, reason="missed")
            for i in range(50)
        ]
        total += len(firings)
        await fire(store, seen, *firings)
        seen = await store.schedules.get("nightly")

    kept: list[int] = []
    before = None
    while page := await store.schedules.firings("nightly", before=before, limit=300):
        kept += [firing.number for firing in page]
        before = page[-1].number

    assert list(range(total, total - 1000, -1)) == kept
    assert total == seen.skipped


# --- by hand ----------------------------------------------------------------------------------


async def test_run_by_hand_is_recorded_beside_the_expected_ones(store: Store) -> None:
    seen = await add(store, overlap=Overlap.SKIP)
    await fire(store, seen)
    await store.schedules.pause("nightly", reason="stop", now=T0)

    fired = await store.schedules.run_now(
        "nightly", make_run(schedule="nightly"), error=CANCELLED, now=at(60)
    )

    schedule = await store.schedules.get("nightly")
    assert [("manual", ""), ("fired", "")] == await outcomes(store)
    assert (1, 1, at(120), at(60)) == (
        schedule.manual,
        schedule.fired,
        schedule.next_at,
        schedule.last_at,
    )
    assert fired.firings[0].run_id == fired.started[0].id


async def test_run_by_hand_is_known_again_by_its_key(store: Store) -> None:
    await add(store)
    keyed = {"idempotency_key": "k", "request_hash": "h", "schedule": "nightly"}
    run_now = store.schedules.run_now

    first = await run_now("nightly", make_run(**keyed), error=CANCELLED, now=T0)
    again = await run_now("nightly", make_run(**keyed), error=CANCELLED, now=at(1))
    with pytest.raises(IdempotencyMismatch):
        await run_now(
            "nightly", make_run(**{**keyed, "request_hash": "x"}), error=CANCELLED, now=at(2)
        )

    assert first.started[0].id == again.started[0].id
    assert [("manual", "")] == await outcomes(store)


async def test_run_by_hand_cancels_the_earlier_one_where_that_is_the_policy(store: Store) -> None:
    seen = await add(store, overlap=Overlap.CANCEL_PREVIOUS)
    first = await fire(store, seen)
    assert first is not None

    by_hand = await store.schedules.run_now(
        "nightly", make_run(schedule="nightly"), error=CANCELLED, now=at(70)
    )

    assert RunStatus.CANCELLED is await status_of(store, first.started[0].id)
    assert await status_of(store, by_hand.started[0].id) in LIVE


async def test_ended_run_of_another_schedule_is_in_nobodys_way(store: Store) -> None:
    other = await fire(store, await add(store, "other"))
    assert other is not None
    await end(store, other.started[0].id)

    fired = await fire(store, await add(store))

    assert fired is not None
    assert 1 == len(fired.started)
