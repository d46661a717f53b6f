"""Schedules in a few words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agency.domain.schedule import Schedule, ScheduleSpec

CREATED = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_spec(**changes: Any) -> ScheduleSpec:
    """A schedule of every minute, unless something else is said."""
    if "interval_s" not in changes:
        changes.setdefault("cron", "* * * * *")
    return ScheduleSpec(**{"name": "nightly", "workflow": "order", **changes})


def make_schedule(spec: ScheduleSpec | None = None, **changes: Any) -> Schedule:
    plain = Schedule(
        number=1,
        id="0190c5b2-7c1e-7a52-b8f4-5d2c1f0e9a11",
        spec=spec or make_spec(),
        generation=1,
        paused=None,
        next_at=None,
        due_at=None,
        last_at=None,
        fired=0,
        caught_up=0,
        skipped=0,
        manual=0,
        created_at=CREATED,
        updated_at=CREATED,
        created_by="local",
    )
    return replace(plain, **changes)
