"""A queue: where runs wait until they are claimed, and what their claims are limited by."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agency.core.records import dataclass
from agency.domain.run import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What a queue is limited by; None is no limit.

    Attributes:
        concurrency: Runs that are claimed at once, 1 or more.
        rate: Claims in ``rate_period_s``, above 0: the size of a bucket of tokens, which is filled
            evenly. Each claim takes one: a start, a retry, going on after a wait.
        rate_period_s: Seconds, above 0.
        size_max: Pending runs from which new ones are refused.
    """

    name: str
    concurrency: int | None = None
    rate: float | None = None
    rate_period_s: float = 1.0
    size_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue as the store has it.

    Attributes:
        paused_at: Since when nothing of it is claimed, or None.
        runs: How many of its runs have each status; absent means 0.
    """

    name: str
    limits: QueueLimits
    paused_at: datetime | None
    runs: Mapping[RunStatus, int]

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    def count(self, status: RunStatus) -> int:
        """Tell how many of its runs have the status."""
        return self.runs.get(status, 0)
