"""Rows of schedules and firings into records; the columns are those of ``sql/schedules.sql``."""

from __future__ import annotations

from datetime import datetime

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode
from agency.domain.schedule import (
    CatchUp,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    ScheduleSpec,
)
from agency.storage.sqlite.transaction import Row

_MOMENTS = ("anchor_at", "starts_at", "ends_at")


def moment_of(micros: int | None) -> datetime | None:
    """Read a stored moment."""
    return None if micros is None else from_micros(micros)


def micros_of(moment: datetime | None) -> int | None:
    """Give the stored form of a moment."""
    return None if moment is None else to_micros(moment)


def spec_of(body: bytes) -> ScheduleSpec:
    """Read a spec as it was encoded."""
    said = decode(body)
    for name in _MOMENTS:
        if said[name] is not None:
            said[name] = datetime.fromisoformat(said[name])
    said["catch_up"] = CatchUp(said["catch_up"])
    said["overlap"] = Overlap(said["overlap"])
    return ScheduleSpec(**said)


def schedule_of(row: Row) -> Schedule:
    """Read ``schedule_columns``."""
    (
        number,
        schedule_id,
        generation,
        paused,
        next_at,
        due_at,
        last_at,
        fired,
        caught_up,
        skipped,
        manual,
        created_at,
        updated_at,
        created_by,
        spec,
    ) = row
    return Schedule(
        number=number,
        id=schedule_id,
        spec=spec_of(spec),
        generation=generation,
        paused=paused,
        next_at=moment_of(next_at),
        due_at=moment_of(due_at),
        last_at=moment_of(last_at),
        fired=fired,
        caught_up=caught_up,
        skipped=skipped,
        manual=manual,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        created_by=created_by,
    )


def firing_of(row: Row) -> Firing:
    """Read ``firing_columns``."""
    number, expected_at, through_at, firings, recorded_at, outcome, reason, detail, run_id = row
    return Firing(
        number=number,
        expected_at=from_micros(expected_at),
        through_at=moment_of(through_at),
        firings=firings,
        recorded_at=from_micros(recorded_at),
        outcome=FiringOutcome(outcome),
        reason=reason,
        detail=detail,
        run_id=run_id,
    )
