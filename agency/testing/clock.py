"""A clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from agency.errors import InvalidInput

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""Where a clock stands when nothing else is said: the same moment in every test."""


class MovedClock:
    """A `agency.core.clock.Clock` for tests: its time passes only when it is told to.

    It may be moved from any thread. Engines of a harness hear of every move, and wake what has
    come due.
    """

    def __init__(self, start: datetime = START) -> None:
        """Set the clock.

        Args:
            start: An aware moment.
        """
        self._now = _in_utc(start)
        self._moved: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Tell the time, aware and in UTC."""
        return self._now

    def move(self, span: timedelta) -> None:
        """Let time pass; a negative span sets the clock back."""
        self.set(self._now + span)

    def set(self, moment: datetime) -> None:
        """Set the clock to an aware moment, later or earlier."""
        self._now = _in_utc(moment)
        for moved in list(self._moved):
            moved()

    def watch(self, moved: Callable[[], None]) -> Callable[[], None]:
        """Have ``moved`` called after each move, in the thread that has moved the clock.

        Returns:
            What ends the watch; it may be called twice.
        """
        self._moved.append(moved)

        def end() -> None:
            if moved in self._moved:
                self._moved.remove(moved)

        return end


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput("A clock is set to a moment with a time zone.")
    return moment.astimezone(UTC)
