"""Moments in their two forms: text and microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core.clock import from_micros, to_micros, to_text

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001  hypothesis adds the zone
    timezones=OFFSETS | st.just(UTC),
)


@given(MOMENTS)
def test_text_says_the_moment_in_utc_with_microseconds(moment: datetime) -> None:
    text = to_text(moment)

    expected = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    assert expected + "Z" == text


@pytest.mark.parametrize("microsecond", [0, 1, 1000, 999_999])
def test_text_has_six_digits_after_the_second(microsecond: int) -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, microsecond, tzinfo=UTC)

    assert f"2026-02-28T23:59:59.{microsecond:06d}Z" == to_text(moment)


@given(MOMENTS)
def test_microseconds_are_the_moment(moment: datetime) -> None:
    assert moment == from_micros(to_micros(moment))
