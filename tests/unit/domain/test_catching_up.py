"""What becomes of firings that nobody came to in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from agency.domain.catching_up import LATE_S, SKIPS_MAX, Plan, make_plan
from agency.domain.firing import due_time, next_time
from agency.domain.schedule import CatchUp, FiringOutcome, Schedule
from tests.unit.domain.schedules import CREATED, make_schedule, make_spec

FIRED, CAUGHT_UP, SKIPPED = (
    FiringOutcome.FIRED,
    FiringOutcome.CAUGHT_UP,
    FiringOutcome.SKIPPED,
)


def at(minutes: float) -> datetime:
    return CREATED + timedelta(minutes=minutes)


def waiting(paused: str | None = None, **spec: Any) -> Schedule:
    """A schedule whose next moment is the first after its creation."""
    schedule = make_schedule(make_spec(**spec), paused=paused)
    next_at = next_time(schedule, after=CREATED)
    assert next_at is not None
    return make_schedule(
        schedule.spec, paused=paused, next_at=next_at, due_at=due_time(schedule, next_at)
    )


def told(plan: Plan) -> list[tuple[float, FiringOutcome]]:
    return [((one.expected_at - CREATED).total_seconds() / 60, one.outcome) for one in plan.firings]


def test_nothing_is_done_before_the_moment() -> None:
    plan = make_plan(waiting(), now=at(0.9))

    assert ([], at(1), at(1)) == (list(plan.firings), plan.next_at, plan.due_at)


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_firing_in_time_is_fired_whatever_the_policy(catch_up: CatchUp) -> None:
    plan = make_plan(waiting(catch_up=catch_up), now=at(1))

    assert [(1, FIRED)] == told(plan)
    assert at(2) == plan.next_at


@pytest.mark.parametrize(
    ("catch_up", "outcomes"),
    [
        (CatchUp.SKIP, [SKIPPED] * 5),
        (CatchUp.ONCE, [SKIPPED] * 4 + [CAUGHT_UP]),
        (CatchUp.ALL, [SKIPPED] * 2 + [CAUGHT_UP] * 3),
    ],
)
def test_policy_decides_about_what_was_missed(
    catch_up: CatchUp, outcomes: list[FiringOutcome]
) -> None:
    schedule = waiting(cron="*/10 * * * *", catch_up=catch_up, catch_up_max=3)

    plan = make_plan(schedule, now=at(55))

    assert list(zip([10, 20, 30, 40, 50], outcomes, strict=True)) == told(plan)
    assert at(60) == plan.next_at


@pytest.mark.parametrize(
    ("catch_up", "outcomes"),
    [
        (CatchUp.SKIP, [SKIPPED, SKIPPED, FIRED]),
        (CatchUp.ONCE, [SKIPPED, SKIPPED, FIRED]),
        (CatchUp.ALL, [SKIPPED, CAUGHT_UP, FIRED]),
    ],
)
def test_newest_of_several_is_still_in_time(
    catch_up: CatchUp, outcomes: list[FiringOutcome]
) -> None:
    schedule = waiting(cron="*/10 * * * *", catch_up=catch_up, catch_up_max=1)

    plan = make_plan(schedule, now=at(30.5))

    assert outcomes == [outcome for _, outcome in told(plan)]


def test_lateness_has_a_bound() -> None:
    schedule = waiting(cron="0 13 * * *", catch_up=CatchUp.SKIP)

    in_time = make_plan(schedule, now=at(60) + timedelta(seconds=LATE_S))
    late = make_plan(schedule, now=at(60) + timedelta(seconds=LATE_S + 1))

    assert [FIRED] == [outcome for _, outcome in told(in_time)]
    assert [SKIPPED] == [outcome for _, outcome in told(late)]


def test_paused_schedule_skips_all_and_says_so() -> None:
    plan = make_plan(waiting("holidays", catch_up=CatchUp.ALL), now=at(3))

    assert [(1, SKIPPED), (2, SKIPPED), (3, SKIPPED)] == told(plan)
    assert {"paused"} == {one.reason for one in plan.firings}
    assert at(4) == plan.next_at


def test_many_missed_ones_share_a_row() -> None:
    plan = make_plan(waiting(catch_up=CatchUp.ONCE), now=at(1000))

    first = plan.firings[0]
    assert SKIPS_MAX + 1 == len(plan.firings)
    assert (at(1), 1000 - SKIPS_MAX) == (first.expected_at, first.firings)
    assert first.through_at is not None
    assert at(1000 - SKIPS_MAX) < first.through_at < plan.firings[1].expected_at
    assert 1000 == sum(one.firings or 0 for one in plan.firings)


def test_too_many_to_count_are_told_as_such() -> None:
    plan = make_plan(waiting(cron="* * * * * *"), now=at(60 * 24 * 365))

    assert plan.firings[0].firings is None
    assert at(60 * 24 * 365) + timedelta(seconds=1) == plan.next_at


def test_jitter_keeps_the_order_and_makes_nobody_late() -> None:
    schedule = waiting(jitter_s=3600.0, catch_up=CatchUp.SKIP)
    seen: list[datetime] = []

    for minute in range(1, 300):
        plan = make_plan(schedule, now=at(minute))
        for planned in plan.firings:
            assert planned.outcome is FIRED
            assert due_time(schedule, planned.expected_at) <= at(minute)
            seen.append(planned.expected_at)
        schedule = make_schedule(schedule.spec, next_at=plan.next_at, due_at=plan.due_at)

    assert [at(i + 1) for i in range(len(seen))] == seen
    assert len(seen) == 298


def test_schedule_that_has_ended_expects_nothing() -> None:
    plan = make_plan(waiting(ends_at=at(1.5)), now=at(1))

    assert [(1, FIRED)] == told(plan)
    assert (None, None) == (plan.next_at, plan.due_at)
    assert Plan(firings=(), next_at=None, due_at=None) == make_plan(make_schedule(), now=at(9))
