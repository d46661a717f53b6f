"""Where the time comes from, so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import orjson

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Wall clock. It may jump; it is never used to prove who owns a run."""

    def now(self) -> datetime:
        """Tell the time, aware and in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def to_micros(moment: datetime) -> int:
    """Turn an aware moment into whole microseconds since 1970, the stored form of all moments."""
    return (moment - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Turn stored microseconds into an aware moment in UTC."""
    return EPOCH + timedelta(microseconds=micros)


def to_text(moment: datetime) -> str:
    """Write a moment as RFC 3339 with microseconds and ``Z``, the form used in all answers."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    if not moment.microsecond:  # orjson would leave them out
        return moment.isoformat(timespec="microseconds")[:-6] + "Z"
    # A quarter of the time of isoformat; each step and each answer writes moments.
    return orjson.dumps(moment, option=orjson.OPT_UTC_Z)[1:-1].decode()


def monotonic_s() -> float:
    """Seconds of a clock that never jumps; only differences mean anything."""
    return time.monotonic()
