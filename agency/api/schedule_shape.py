"""Schedules and firings as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core.clock import to_text
from agency.domain.schedule import Firing, Schedule
from agency.web.addresses import run_path, schedule_path


def schedule_json(schedule: Schedule, *, has_input: bool = True) -> dict[str, Any]:
    """Make the JSON of a schedule, in a list without its input."""
    spec = schedule.spec
    path = schedule_path(spec.name)
    made: dict[str, Any] = {
        "name": spec.name,
        "workflow": spec.workflow,
        "cron": spec.cron,
        "zone": spec.zone,
        "interval_s": spec.interval_s,
        "anchor_at": _text(spec.anchor_at),
        "starts_at": _text(spec.starts_at),
        "ends_at": _text(spec.ends_at),
        "jitter_s": spec.jitter_s,
        "catch_up": spec.catch_up,
        "catch_up_max": spec.catch_up_max,
        "overlap": spec.overlap,
        "queue": spec.queue,
        "priority": spec.priority,
        "max_attempts": spec.max_attempts,
        "tags": spec.tags,
        "generation": schedule.generation,
        "paused": schedule.paused is not None,
        "pause_reason": schedule.paused,
        "next_at": _text(schedule.next_at),
        "due_at": _text(schedule.due_at),
        "last_at": _text(schedule.last_at),
        "counts": {
            "fired": schedule.fired,
            "caught_up": schedule.caught_up,
            "skipped": schedule.skipped,
            "manual": schedule.manual,
        },
        "created_at": to_text(schedule.created_at),
        "updated_at": to_text(schedule.updated_at),
        "created_by": schedule.created_by,
        "links": {"self": path, "next": f"{path}/next", "firings": f"{path}/firings"},
    }
    if has_input:
        made["input"] = spec.input
    return made


def firing_json(firing: Firing) -> dict[str, Any]:
    """Make the JSON of a row of a ledger."""
    return {
        "number": firing.number,
        "expected_at": to_text(firing.expected_at),
        "through_at": _text(firing.through_at),
        "firings": firing.firings,
        "recorded_at": to_text(firing.recorded_at),
        "outcome": firing.outcome,
        "reason": firing.reason,
        "detail": firing.detail,
        "run_id": firing.run_id,
        "links": {"run": run_path(firing.run_id)} if firing.run_id is not None else {},
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)
