"""The clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agency.core.clock import Clock
from agency.errors import InvalidInput
from agency.testing import MovedClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_clock_moves_only_when_it_is_told_to() -> None:
    clock = MovedClock(NOON)

    clock.move(timedelta(hours=1))
    clock.move(timedelta(minutes=-30))

    assert datetime(2026, 6, 1, 12, 30, tzinfo=UTC) == clock.now()


def test_clock_tells_utc_wherever_it_was_set() -> None:
    clock = MovedClock()

    clock.set(datetime(2026, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))))

    assert (NOON, UTC) == (clock.now(), clock.now().tzinfo)


def test_clock_refuses_a_moment_without_a_zone() -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        MovedClock(datetime(2026, 6, 1))  # noqa: DTZ001


def test_each_move_is_heard_until_the_watch_ends() -> None:
    clock = MovedClock(NOON)
    heard: list[datetime] = []
    end = clock.watch(lambda: heard.append(clock.now()))

    clock.move(timedelta(hours=1))
    end()
    end()
    clock.move(timedelta(hours=1))

    assert [NOON + timedelta(hours=1)] == heard


_: type[Clock] = MovedClock
