"""The availability planner, compared with looking at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agency.engine.modules import load_module
from tests.docs.page import ROOT

PLANNER: ModuleType = load_module(ROOT / "examples/availability_planner.py", "planner_under_test")
MONDAY = datetime(2026, 3, 23, tzinfo=UTC)  # Europe changes its clocks on the Sunday after it
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")

moments = st.integers(0, 8 * 24 * 12).map(lambda n: MONDAY + timedelta(minutes=5 * n))


@st.composite
def periods(draw: st.DrawFn) -> dict[str, str]:
    start = draw(moments)
    length = timedelta(minutes=draw(st.integers(1, 600)))
    return {"start": start.isoformat(), "end": (start + length).isoformat()}


people = st.fixed_dictionaries(
    {
        "name": st.sampled_from(("ann", "bob", "eve")),
        "zone": st.sampled_from(ZONES),
        "begins": st.integers(0, 11).map(lambda hour: f"{hour:02}:00:00"),
        "ends": st.integers(12, 23).map(lambda hour: f"{hour:02}:30:00"),
        "weekdays": st.sets(st.integers(1, 7), min_size=1),
        "busy": st.lists(periods(), max_size=5),
    }
)
wishes = st.fixed_dictionaries(
    {
        "people": st.lists(people, min_size=1, max_size=3),
        "window": st.just(
            {"start": MONDAY.isoformat(), "end": (MONDAY + timedelta(days=8)).isoformat()}
        ),
        "minutes": st.sampled_from((5, 30, 50, 240)),
        "slots": st.integers(1, 8),
    }
)


def is_free(person: Any, moment: datetime) -> bool:
    local = moment.astimezone(ZoneInfo(person.zone))
    return (
        local.isoweekday() in person.weekdays
        and person.begins <= local.time() < person.ends
        and not any(one.start <= moment < one.end for one in person.busy)
    )


def fits(wish: Any, start: datetime) -> bool:
    minutes = [start + timedelta(minutes=n) for n in range(wish.minutes)]
    is_inside = wish.window.start <= start and minutes[-1] < wish.window.end
    return is_inside and all(is_free(one, minute) for one in wish.people for minute in minutes)


@settings(max_examples=60, deadline=None)
@given(wishes)
def test_planned_slots_are_free_for_all_and_apart(asked: dict[str, Any]) -> None:
    wish = PLANNER.Wish.model_validate(asked)

    found = [slot.start for slot in PLANNER.plan(wish)]

    assert all(fits(wish, start) for start in found)
    assert all(start.timestamp() % 900 == 0 for start in found)
    ordered = sorted(found)
    length = timedelta(minutes=wish.minutes)
    assert all(b - a >= length for a, b in pairwise(ordered))
    assert len(found) <= wish.slots


@settings(max_examples=25, deadline=None)
@given(wishes)
def test_no_slot_is_planned_only_if_there_is_none(asked: dict[str, Any]) -> None:
    wish = PLANNER.Wish.model_validate(asked)
    quarters = [MONDAY + timedelta(minutes=15 * n) for n in range(8 * 24 * 4)]

    found = PLANNER.plan(wish)

    assert bool(found) == any(fits(wish, quarter) for quarter in quarters)


def test_best_slot_is_in_the_middle_of_the_common_day() -> None:
    wish = PLANNER.Wish.model_validate(
        {
            "people": [
                {"name": "ann", "zone": "Europe/Berlin"},
                {"name": "bob", "zone": "America/New_York"},
            ],
            "window": {"start": "2026-03-23T00:00:00Z", "end": "2026-03-24T00:00:00Z"},
            "minutes": 60,
            "slots": 1,
        }
    )

    (slot,) = PLANNER.plan(wish)

    # Berlin works until 16:00 UTC, New York, on summer time already, from 13:00 UTC.
    assert datetime(2026, 3, 23, 14, 0, tzinfo=UTC) == slot.start
    assert {"ann": "Mon 15:00", "bob": "Mon 10:00"} == slot.local


def test_change_of_clocks_moves_the_working_day() -> None:
    person = PLANNER.Person(name="ann", zone="Europe/Berlin", weekdays={1, 2, 3, 4, 5, 6, 7})
    window = (MONDAY + timedelta(days=5), MONDAY + timedelta(days=7))

    hours = PLANNER.working_hours(person, window)

    assert [8, 7] == [begin.hour for begin, _ in hours]


@pytest.mark.parametrize(
    "change",
    [
        {"people": []},
        {"people": [{"name": "ann", "zone": "Mars/Olympus"}]},
        {"people": [{"name": "ann", "zone": "../../etc/passwd"}]},
        {"people": [{"name": "ann", "begins": time(17), "ends": time(9)}]},
        {"window": {"start": "2026-03-24T00:00:00Z", "end": "2026-03-23T00:00:00Z"}},
        {"window": {"start": "2026-03-23T00:00:00", "end": "2026-03-24T00:00:00"}},
        {"window": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}},
        {"minutes": 0},
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    wish = {
        "people": [{"name": "ann"}],
        "window": {"start": "2026-03-23T00:00:00Z", "end": "2026-03-24T00:00:00Z"},
    }

    with pytest.raises(ValidationError):
        PLANNER.Wish.model_validate(wish | change)
