"""Snapshots as JSON."""

from __future__ import annotations

from typing import Any

from agency.api.run_shape import steps_of, wait_json
from agency.core.clock import to_text
from agency.domain.snapshot import Snapshot
from agency.ports.store import RunDetail
from agency.web.addresses import run_path, snapshot_path


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """Make the JSON of a snapshot; ``workflow_id`` is the name of its run."""
    return {
        "id": snapshot.id,
        "snapshot_id": snapshot.id,
        "run_id": snapshot.run_id,
        "workflow_id": snapshot.run_name,
        "workflow": snapshot.workflow,
        "reason": snapshot.reason,
        "entry_number": snapshot.entry_number,
        "created_at": to_text(snapshot.created_at),
        "waits": [wait_json(wait) for wait in snapshot.waits],
        "spent": snapshot.spent,
        "run_status": snapshot.run_status,
        "links": {"self": snapshot_path(snapshot.id), "run": run_path(snapshot.run_id)},
    }


def snapshot_detail_json(snapshot: Snapshot, detail: RunDetail) -> dict[str, Any]:
    """Make the JSON of a snapshot with the state of its run now."""
    run = detail.run
    state = {
        "status": run.status,
        "phase": run.phase,
        "attempt": run.attempt,
        "steps_executed": steps_of(detail),
        "progress": run.progress,
        "input": run.input,
        "newest_snapshot_id": detail.snapshot_id,
    }
    return {**snapshot_json(snapshot), "state": state}
