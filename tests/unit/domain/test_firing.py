"""When schedules fire: over zones, over both changes of the clocks, and in pieces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.domain import firing
from agency.domain.firing import (
    MISSED_MAX,
    MOMENT_MAX,
    check_timing,
    due_time,
    expected_times,
    load_zone,
    newest_times,
    next_time,
)
from tests.unit.domain.schedules import CREATED, make_schedule, make_spec

MINUTE = timedelta(minutes=1)

CHANGES = {
    # Clocks go on and back by an hour, by half an hour, at midnight, and by a whole day.
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-10-03T15:30", "2026-04-04T15:00"),
    "Africa/Cairo": ("2026-04-23T22:00", "2026-10-29T21:00"),
    "Pacific/Apia": ("2011-12-30T10:00", "2011-04-02T14:00"),
    "Africa/Casablanca": ("2026-03-22T02:00", "2026-02-15T02:00"),
    "UTC": ("2026-03-29T01:00", "2026-10-25T01:00"),
}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(after: str, until: str, **spec: Any) -> list[str]:
    """The moments of a span, as its own zone's clocks show them."""
    schedule = make_schedule(make_spec(**spec))
    found = expected_times(schedule, after=utc(after), until=utc(until), limit=1000)
    zone = load_zone(schedule.spec.zone)
    return [moment.astimezone(zone).strftime("%d %H:%M%z") for moment in found]


# --- both changes, as people meet them --------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", ["29 03:00+0200"]),
        ("America/New_York", "2026-03-08", ["08 03:00-0400"]),
    ],
)
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 30 2 * * *", "0,30 2 * * *", "30 2,3 * * *"])
def test_time_that_is_missing_is_fired_once_after_the_gap(
    zone: str, day: str, expected: list[str], cron: str
) -> None:
    found = times(f"{day}T00:00", f"{day}T12:00", cron=cron, zone=zone)

    assert expected[0] == found[0]
    later = {"30 2,3 * * *": [expected[0].replace("03:00", "03:30")]}
    assert later.get(cron, []) == found[1:]


@pytest.mark.parametrize(
    ("zone", "day", "cron", "expected"),
    [
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", ["25 02:30+0200"]),
        ("Europe/Berlin", "2026-10-25", "*/10 30 2 * * *", ["25 02:30+0200"] * 6),
        ("America/New_York", "2026-11-01", "30 1 * * *", ["01 01:30-0400"]),
    ],
)
def test_time_that_comes_twice_is_fired_the_first_time(
    zone: str, day: str, cron: str, expected: list[str]
) -> None:
    assert expected == times(f"{day}T00:00", f"{day}T12:00", cron=cron, zone=zone)


def test_every_so_often_goes_by_the_time_that_passes() -> None:
    spring = times(
        "2026-03-28T23:59", "2026-03-29T02:00", cron="*/30 * * * *", zone="Europe/Berlin"
    )
    autumn = times("2026-10-24T23:59", "2026-10-25T02:00", cron="30 * * * *", zone="Europe/Berlin")

    assert ["29 01:00+0100", "29 01:30+0100", "29 03:00+0200", "29 03:30+0200"] == spring[:4]
    assert ["25 02:30+0200", "25 02:30+0100"] == autumn


def test_a_start_between_the_two_hours_fires_nothing_of_the_first() -> None:
    second = "2026-10-25T01:15"  # 02:15 for the second time

    found = times(second, "2026-10-26T12:00", cron="30 2 * * *", zone="Europe/Berlin")

    assert ["26 02:30+0100"] == found


# --- against a walk through every minute ------------------------------------------------------


def by_minutes(cron: str, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """All moments of a span by looking at each minute, with the rule written out."""
    minute, hour, *_ = cron.split()
    is_timed = not (minute.startswith("*") or hour.startswith("*"))
    found = []
    moment = after + MINUTE
    while moment <= until:
        local = moment.astimezone(zone)
        wall = local.replace(tzinfo=None, fold=0)
        before = (moment - MINUTE).astimezone(zone)
        missing = []
        if local.utcoffset() > before.utcoffset():  # type: ignore[operator]
            gone = before.replace(tzinfo=None) + MINUTE
            while gone < wall:
                missing.append(gone)
                gone += MINUTE
        if is_timed:
            is_meant = (is_match(cron, wall) and local.fold == 0) or any(
                is_match(cron, one) for one in missing
            )
        else:
            is_meant = is_match(cron, wall)
        if is_meant:
            found.append(moment)
        moment += MINUTE
    return found


def is_match(cron: str, wall: datetime) -> bool:
    return next(CronSim(cron, wall - timedelta(seconds=1)), None) == wall


FIELD_MINUTE = st.sampled_from(["*", "*/7", "0", "30", "15,45", "*/30", "59"])
FIELD_HOUR = st.sampled_from(["*", "0", "1", "2", "2,3", "1-3", "*/2", "23"])
CRONS = st.builds("{} {} * * {}".format, FIELD_MINUTE, FIELD_HOUR, st.sampled_from(["*", "SUN"]))
PLACES = st.sampled_from([(zone, at) for zone, moments in CHANGES.items() for at in moments])


@settings(max_examples=150, deadline=None)
@given(CRONS, PLACES, st.integers(-20 * 60, 5 * 60))
def test_no_moment_is_lost_or_doubled_around_a_change(
    cron: str, place: tuple[str, str], shift: int
) -> None:
    zone, change = place
    after = utc(change) + timedelta(minutes=shift)
    until = after + timedelta(hours=20)

    found = expected_times(
        make_schedule(make_spec(cron=cron, zone=zone)), after=after, until=until, limit=10_000
    )

    assert by_minutes(cron, load_zone(zone), after, until) == list(found)


@settings(max_examples=150, deadline=None)
@given(CRONS, PLACES, st.lists(st.integers(0, 40 * 3600), max_size=6))
def test_pieces_of_a_span_have_the_moments_of_the_whole(
    cron: str, place: tuple[str, str], cuts: list[int]
) -> None:
    zone, change = place
    schedule = make_schedule(make_spec(cron=cron, zone=zone))
    start = utc(change) - timedelta(hours=20)
    marks = [0, *sorted(cuts), 40 * 3600]

    whole = expected_times(schedule, after=start, until=start + timedelta(hours=40), limit=10_000)
    pieces: list[datetime] = []
    for low, high in pairwise(marks):
        pieces += expected_times(
            schedule,
            after=start + timedelta(seconds=low),
            until=start + timedelta(seconds=high),
            limit=10_000,
        )

    assert list(whole) == pieces
    assert all(one < other for one, other in pairwise(whole))


@settings(max_examples=60, deadline=None)
@given(CRONS, PLACES)
def test_next_after_each_is_the_one_that_follows(cron: str, place: tuple[str, str]) -> None:
    zone, change = place
    schedule = make_schedule(make_spec(cron=cron, zone=zone))
    start = utc(change) - timedelta(hours=5)
    whole = expected_times(schedule, after=start, until=start + timedelta(hours=10), limit=10_000)

    found: list[datetime] = []
    after = start
    while (moment := next_time(schedule, after=after)) is not None and len(found) < len(whole):
        found.append(moment)
        after = moment

    assert list(whole) == found


# --- intervals --------------------------------------------------------------------------------


@given(
    st.floats(1, 86_400 * 30),
    st.integers(0, 40 * 365 * 86_400).map(lambda s: utc("2000-01-01T00:00") + timedelta(seconds=s)),
    st.integers(0, 10**9),
)
def test_intervals_are_whole_ones_from_the_anchor(
    interval_s: float, anchor_at: datetime, later_s: int
) -> None:
    schedule = make_schedule(make_spec(interval_s=interval_s, anchor_at=anchor_at))
    after = anchor_at + timedelta(seconds=later_s)
    step = timedelta(microseconds=round(interval_s * 1_000_000))

    found = expected_times(schedule, after=after, until=None, limit=5)

    assert 5 == len(found)
    assert after < found[0] <= after + step
    assert all((moment - anchor_at) % step == timedelta(0) for moment in found)
    assert all(other - one == step for one, other in pairwise(found))


def test_interval_without_an_anchor_counts_from_the_creation_of_the_schedule() -> None:
    schedule = make_schedule(make_spec(interval_s=60))

    assert CREATED + MINUTE == next_time(schedule, after=CREATED)


def test_anchor_to_come_is_the_first_moment() -> None:
    anchor_at = CREATED + timedelta(days=3)
    schedule = make_schedule(make_spec(interval_s=60, anchor_at=anchor_at))

    assert anchor_at == next_time(schedule, after=CREATED)


# --- bounds -----------------------------------------------------------------------------------


def test_start_and_end_bound_the_moments() -> None:
    spec = make_spec(starts_at=utc("2026-02-01T00:00"), ends_at=utc("2026-02-01T00:02"))
    schedule = make_schedule(spec)

    found = expected_times(schedule, after=CREATED, until=None, limit=10)

    assert [utc("2026-02-01T00:00"), utc("2026-02-01T00:01")] == list(found)
    assert next_time(schedule, after=found[-1]) is None


def test_no_moment_lies_behind_the_end_of_time() -> None:
    schedule = make_schedule(make_spec(interval_s=firing.INTERVAL_S_MAX))

    found = expected_times(
        schedule, after=MOMENT_MAX - timedelta(days=9 * 365), until=None, limit=9
    )

    assert all(moment < MOMENT_MAX for moment in found)
    assert next_time(make_schedule(), after=MOMENT_MAX) is None


def test_rare_days_are_found() -> None:
    found = times("2026-01-01T00:00", "2036-01-01T00:00", cron="0 0 29 2 *", zone="Europe/Berlin")

    assert ["29 00:00+0100", "29 00:00+0100"] == found


# --- what was missed --------------------------------------------------------------------------


def test_few_missed_moments_are_counted() -> None:
    missed = newest_times(
        make_schedule(), after=CREATED, until=CREATED + timedelta(minutes=100), limit=10
    )

    assert [CREATED + timedelta(minutes=i) for i in range(91, 101)] == list(missed.newest)
    assert (90, CREATED + MINUTE) == (missed.older, missed.oldest)


def test_all_missed_moments_are_told_when_they_fit() -> None:
    missed = newest_times(make_schedule(), after=CREATED, until=CREATED + 3 * MINUTE, limit=10)

    assert 3 == len(missed.newest)
    assert (0, None) == (missed.older, missed.oldest)


def test_years_of_missed_seconds_are_not_walked_through() -> None:
    schedule = make_schedule(make_spec(cron="* * * * * *"))
    until = CREATED + timedelta(days=3 * 365)

    missed = newest_times(schedule, after=CREATED, until=until, limit=3)

    assert [until - timedelta(seconds=i) for i in (2, 1, 0)] == list(missed.newest)
    assert (None, CREATED + timedelta(seconds=1)) == (missed.older, missed.oldest)


def test_newest_are_found_also_when_all_lie_far_back() -> None:
    schedule = make_schedule(make_spec(cron="* * * * * *", ends_at=CREATED + timedelta(hours=2)))

    missed = newest_times(schedule, after=CREATED, until=CREATED + timedelta(days=1000), limit=2)

    assert [CREATED + timedelta(seconds=7198), CREATED + timedelta(seconds=7199)] == list(
        missed.newest
    )
    assert missed.older is None
    assert MISSED_MAX < 7199


# --- jitter -----------------------------------------------------------------------------------


def test_jitter_is_the_same_for_the_same_firing_and_spread_over_its_span() -> None:
    schedule = make_schedule(make_spec(jitter_s=60))
    moments = expected_times(schedule, after=CREATED, until=None, limit=200)

    offsets = [(due_time(schedule, moment) - moment).total_seconds() for moment in moments]

    assert offsets == [(due_time(schedule, one) - one).total_seconds() for one in moments]
    assert all(0 <= offset < 60 for offset in offsets)
    assert min(offsets) < 10
    assert max(offsets) > 50
    other = make_schedule(make_spec(name="other", jitter_s=60))
    assert due_time(other, moments[0]) != due_time(schedule, moments[0])


def test_without_jitter_a_firing_is_due_when_it_is_expected() -> None:
    assert CREATED == due_time(make_schedule(), CREATED)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"cron": None}, "/cron"),
        ({"cron": "* * * * *", "interval_s": 5}, "/interval_s"),
        ({"cron": ""}, "/cron"),
        ({"cron": "61 * * * *"}, "/cron"),
        ({"cron": "* * * *"}, "/cron"),
        ({"cron": "0 0 30 2 *"}, "/cron"),
        ({"cron": "*," * 300 + "* * * * *"}, "/cron"),
        ({"cron": "0 0 1 1 *", "anchor_at": CREATED}, "/anchor_at"),
        ({"zone": "Europe/Berln"}, "/zone"),
        ({"zone": "Europe"}, "/zone"),
        ({"zone": "../../etc/passwd"}, "/zone"),
        ({"zone": ""}, "/zone"),
        ({"zone": "x" * 5000}, "/zone"),
        ({"zone": "a\x00b"}, "/zone"),
        ({"interval_s": 0.5}, "/interval_s"),
        ({"interval_s": float("nan")}, "/interval_s"),
        ({"interval_s": float("inf")}, "/interval_s"),
        ({"interval_s": 60, "jitter_s": 61}, "/jitter_s"),
        ({"jitter_s": -1}, "/jitter_s"),
        ({"catch_up_max": 0}, "/catch_up_max"),
        ({"starts_at": datetime(1960, 1, 1, tzinfo=UTC)}, "/starts_at"),
        ({"ends_at": datetime(2300, 1, 1, tzinfo=UTC)}, "/ends_at"),
        ({"starts_at": CREATED, "ends_at": CREATED}, "/ends_at"),
    ],
)
def test_timing_that_makes_no_sense_is_refused(spec: dict[str, Any], where: str) -> None:
    assert where in [fault.where for fault in check_timing(make_spec(**spec))]


def test_wrong_zone_is_answered_with_the_right_one() -> None:
    (fault,) = check_timing(make_spec(zone="Europe/Berln"))

    assert "Did you mean 'Europe/Berlin'?" == fault.hint


@given(st.text(alphabet="0123456789*,-/#LW ADEFMNORSTU\u00b2\u0663", max_size=40))
def test_no_expression_breaks_the_check(cron: str) -> None:
    faults = check_timing(make_spec(cron=cron))

    if not faults:
        schedule = make_schedule(make_spec(cron=cron))
        assert next_time(schedule, after=CREATED) is not None


def test_sound_timing_has_no_faults() -> None:
    assert [] == check_timing(make_spec(cron="*/5 8-18 * * MON-FRI", zone="Europe/Berlin"))
    assert [] == check_timing(make_spec(interval_s=1, jitter_s=1))
