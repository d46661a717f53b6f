"""What is to be done about the firings of a schedule that are due: pure, decided at one look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

from agency.core.records import dataclass
from agency.domain.firing import due_time, newest_times, next_time
from agency.domain.schedule import CatchUp, FiringOutcome, Schedule, SkipReason

LATE_S = 60.0
"""A firing counts as missed when nobody came to it for so long: the clock is looked at every 30 s
at least, so a shorter time would take an awake daemon for one that was away."""

SKIPS_MAX = 50
"""Missed firings that get a row of their own at one look; the older ones share one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A firing, and what is to become of it unless something is in its way. As in `Firing`."""

    expected_at: datetime
    outcome: FiringOutcome
    reason: str = ""
    through_at: datetime | None = None
    firings: int | None = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done at this look.

    Attributes:
        firings: Oldest first; empty while nothing is due.
        next_at: What is expected after those, or None.
        due_at: When to look again, or None for never.
    """

    firings: Sequence[Planned]
    next_at: datetime | None
    due_at: datetime | None


def make_plan(schedule: Schedule, *, now: datetime) -> Plan:
    """Decide about all that is due.

    Of several moments that have passed, all but the newest were missed; the newest was if it is
    late by more than `LATE_S`.

    Raises:
        LookupError: the schedule's time zone is not known any more.
    """
    if schedule.next_at is None or schedule.due_at is None or schedule.due_at > now:
        return Plan(firings=(), next_at=schedule.next_at, due_at=schedule.due_at)
    passed = newest_times(
        schedule,
        after=schedule.next_at - timedelta(microseconds=1),
        until=now,
        limit=max(SKIPS_MAX, schedule.spec.catch_up_max),
    )
    due = list(passed.newest)
    if due and due_time(schedule, due[-1]) > now:
        due.pop()  # only of the newest the jitter may still be to come
    if not due:
        return Plan(firings=(), next_at=schedule.next_at, due_at=schedule.due_at)
    firings = _older(schedule, passed.oldest, passed.older, before=due[0])
    firings += _decide(schedule, due, now)
    next_at = next_time(schedule, after=due[-1])
    due_at = None if next_at is None else due_time(schedule, next_at)
    return Plan(firings=firings, next_at=next_at, due_at=due_at)


def _older(
    schedule: Schedule, oldest: datetime | None, count: int | None, *, before: datetime
) -> list[Planned]:
    """Put those that are too many for rows of their own into one."""
    if oldest is None:
        return []
    return [
        Planned(
            expected_at=oldest,
            through_at=before - timedelta(microseconds=1),
            firings=count,
            outcome=FiringOutcome.SKIPPED,
            reason=_why_missed(schedule),
        )
    ]


def _decide(schedule: Schedule, due: Sequence[datetime], now: datetime) -> list[Planned]:
    is_late = (now - due_time(schedule, due[-1])).total_seconds() > LATE_S
    wanted = 0 if schedule.paused is not None else _count_wanted(schedule, is_late=is_late)
    first = max(0, len(due) - wanted)
    planned = []
    for i, expected_at in enumerate(due):
        if i < first:
            outcome, reason = FiringOutcome.SKIPPED, _why_missed(schedule)
        elif i == len(due) - 1 and not is_late:
            outcome, reason = FiringOutcome.FIRED, ""
        else:
            outcome, reason = FiringOutcome.CAUGHT_UP, ""
        planned.append(Planned(expected_at=expected_at, outcome=outcome, reason=reason))
    return planned


def _count_wanted(schedule: Schedule, *, is_late: bool) -> int:
    match schedule.spec.catch_up:
        case CatchUp.SKIP:
            return 0 if is_late else 1
        case CatchUp.ONCE:
            return 1
        case CatchUp.ALL:
            # The one that comes in time is not made up for.
            return schedule.spec.catch_up_max + (0 if is_late else 1)
        case unknown:
            assert_never(unknown)


def _why_missed(schedule: Schedule) -> str:
    return SkipReason.MISSED if schedule.paused is None else SkipReason.PAUSED
