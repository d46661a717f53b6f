"""What is kept of what has ended, and for how long: pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from agency.core.records import dataclass
from agency.domain.run import ENDED, RunStatus


class Outcome(StrEnum):
    """How a run has ended, as far as keeping it is concerned."""

    COMPLETED = "completed"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    CANCELLED = "cancelled"


OUTCOMES: Mapping[RunStatus, Outcome] = {
    RunStatus.COMPLETED: Outcome.COMPLETED,
    RunStatus.LIMIT_REACHED: Outcome.COMPLETED,
    RunStatus.FAILED: Outcome.FAILED,
    RunStatus.TIMED_OUT: Outcome.FAILED,
    RunStatus.COMPENSATED: Outcome.FAILED,
    RunStatus.COMPENSATION_FAILED: Outcome.DEAD_LETTER,  # somebody has to see to it
    RunStatus.DEAD_LETTER: Outcome.DEAD_LETTER,
    RunStatus.CANCELLED: Outcome.CANCELLED,
}
assert set(OUTCOMES) == ENDED


def statuses_of(outcome: Outcome) -> tuple[RunStatus, ...]:
    """List the statuses that count as an outcome."""
    return tuple(status for status in RunStatus if OUTCOMES.get(status) is outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Which ended runs of a status have expired: either of the two is enough.

    Attributes:
        ended_before: Those that have ended before; None: none of them by their age.
        through: Those with a number up to this; 0: none of them by their number.
    """

    ended_before: datetime | None = None
    through: int = 0

    @property
    def is_empty(self) -> bool:
        """Nothing expires."""
        return self.ended_before is None and self.through == 0
