"""A schedule: when runs of a workflow are started by the clock, and what became of each firing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass


class CatchUp(StrEnum):
    """What becomes of firings whose moment has passed unseen: daemon away, machine asleep."""

    SKIP = "skip"
    """None of them is fired."""
    ONCE = "once"
    """The newest is fired, the others are skipped."""
    ALL = "all"
    """The newest ``catch_up_max`` are fired, oldest first; older ones are skipped."""


class Overlap(StrEnum):
    """What becomes of a firing while an earlier run of the schedule is live."""

    SKIP = "skip"
    """It is skipped."""
    QUEUE = "queue"
    """Its run waits until the earlier one has ended."""
    CANCEL_PREVIOUS = "cancel_previous"
    """The earlier run is cancelled; the new one is worked on when that has ended."""


class FiringOutcome(StrEnum):
    """What became of an expected firing."""

    FIRED = "fired"
    CAUGHT_UP = "caught_up"
    """Fired late, as the catch-up policy says."""
    SKIPPED = "skipped"
    MANUAL = "manual"
    """Nobody expected it: somebody asked for a run now."""


class SkipReason(StrEnum):
    """Why an expected firing has started nothing. Errors of a start add their own codes."""

    PAUSED = "paused"
    MISSED = "missed"
    """Its moment had passed, and the catch-up policy leaves it out."""
    OVERLAP = "overlap"
    WORKFLOW_UNKNOWN = "workflow_unknown"
    WORKFLOW_DISABLED = "workflow_disabled"
    """It is switched off, see `[features]`."""
    QUEUE_UNKNOWN = "queue_unknown"
    """Nobody has its queue any more: it would be one without limits."""
    INVALID_INPUT = "invalid_input"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """What people say about a schedule; it is replaced as a whole.

    Attributes:
        name: Unique.
        cron: Five fields, or six with seconds first; or None when ``interval_s`` is set.
        zone: IANA name of the time zone in which ``cron`` is meant.
        interval_s: Seconds between two firings, 1 or more; or None when ``cron`` is set.
        anchor_at: Firings of an interval are whole intervals from here; None: from the creation.
        starts_at: Nothing is fired before.
        ends_at: Nothing is fired at this moment or later.
        jitter_s: A firing may be put off by up to this, always by the same for the same firing.
        catch_up_max: Firings that `CatchUp.ALL` makes up for at most.
        max_attempts: Of the runs; None leaves it to the workflow.
    """

    name: str
    workflow: str
    input: Any = None
    cron: str | None = None
    zone: str = "UTC"
    interval_s: float | None = None
    anchor_at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter_s: float = 0.0
    catch_up: CatchUp = CatchUp.ONCE
    catch_up_max: int = 10
    overlap: Overlap = Overlap.SKIP
    queue: str | None = None
    priority: int = 0
    max_attempts: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as the store has it.

    Attributes:
        id: Made with the schedule; the ids of its runs derive from it.
        generation: Rises with each change of the spec.
        paused: Why it is paused, or None.
        next_at: The next expected moment, or None when there is none any more.
        due_at: ``next_at`` with its jitter.
        last_at: Newest expected moment that was dealt with; nothing up to it is fired again.
        fired: Firings that have started a run in time.
        caught_up: Those that were late and have.
        skipped: Those that have not.
        manual: Runs that somebody has asked for.
        created_by: Principal who has made it; its runs are theirs.
    """

    number: int
    id: str
    spec: ScheduleSpec
    generation: int
    paused: str | None
    next_at: datetime | None
    due_at: datetime | None
    last_at: datetime | None
    fired: int
    caught_up: int
    skipped: int
    manual: int
    created_at: datetime
    updated_at: datetime
    created_by: str

    @property
    def anchor_at(self) -> datetime:
        """From where the intervals are counted."""
        return self.spec.anchor_at or self.created_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A row of a schedule's ledger.

    Attributes:
        number: From 1 in its schedule, rising.
        expected_at: The moment that was expected; of a run by hand the moment of asking.
        through_at: Set when the row stands for all that were missed from ``expected_at`` on
            until then.
        firings: How many expected moments the row stands for, 1 mostly; None: too many to count.
        recorded_at: When it was dealt with.
        reason: Why it was skipped: a `SkipReason`, or the code of the error of the start.
        detail: The same in a sentence, or empty.
        run_id: The run that it has started, or the live run that made it skip.
    """

    number: int
    expected_at: datetime
    through_at: datetime | None
    firings: int | None
    recorded_at: datetime
    outcome: FiringOutcome
    reason: str
    detail: str
    run_id: str | None
