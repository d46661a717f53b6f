"""Runs as the tasks of the deployment notes: their spelling, on their paths only.

Statuses are written with dashes and members in camel case, and both are fewer than ours: a task is
``processing`` from its first claim to its end, also while its run sleeps or waits for something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core import json
from agency.core.clock import to_text
from agency.domain.run import Run, RunStatus
from agency.domain.update import Update

RESULT_BYTES_MAX = 64 * 1024
"""A result that is told to watchers of tasks; of a larger one ``resultBytes`` tells the length.

Each is kept for a while for those who come back.
"""


class TaskStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD_LETTER = "dead-letter"
    CANCELLED = "cancelled"


TASK_STATUSES: Mapping[RunStatus, TaskStatus] = {
    RunStatus.PENDING: TaskStatus.PENDING,
    RunStatus.RUNNING: TaskStatus.PROCESSING,
    RunStatus.SUSPENDED: TaskStatus.PROCESSING,
    RunStatus.COMPLETED: TaskStatus.COMPLETED,
    RunStatus.LIMIT_REACHED: TaskStatus.COMPLETED,
    RunStatus.FAILED: TaskStatus.FAILED,
    RunStatus.TIMED_OUT: TaskStatus.FAILED,
    RunStatus.COMPENSATED: TaskStatus.FAILED,
    RunStatus.COMPENSATION_FAILED: TaskStatus.FAILED,
    RunStatus.DEAD_LETTER: TaskStatus.DEAD_LETTER,
    RunStatus.CANCELLED: TaskStatus.CANCELLED,
}
assert set(TASK_STATUSES) == set(RunStatus)


def run_statuses(wanted: TaskStatus) -> frozenset[RunStatus]:
    """List the statuses of runs that are one of a task."""
    return frozenset(status for status, named in TASK_STATUSES.items() if named is wanted)


def task_json(run: Run) -> dict[str, Any]:
    """Make the JSON of a task."""
    return {
        "id": run.id,
        "type": run.workflow,
        "status": TASK_STATUSES[run.status],
        "result": run.output,
        "error": run.error.message if run.error is not None else None,
        "attempts": attempts_of(run),
        "maxAttempts": run.max_attempts,
        "nextRunAt": to_text(run.available_at),
        "createdAt": to_text(run.created_at),
        "updatedAt": to_text(_changed_at(run)),
    }


def submitted_json(run: Run) -> dict[str, Any]:
    """Make the JSON that answers a submission."""
    return {
        "id": run.id,
        "status": TASK_STATUSES[run.status],
        "attempts": attempts_of(run),
        "maxAttempts": run.max_attempts,
    }


def inbox_item_json(run: Run) -> dict[str, Any]:
    """Make the JSON of a result in the inbox."""
    return {
        "id": run.id,
        "type": run.workflow,
        "result": run.output,
        "updatedAt": to_text(_changed_at(run)),
    }


def update_json(update: Update) -> bytes:
    """Write a task as it was when its status changed; empty if the run is gone.

    The run may have gone on since it was read, so what the update tells goes before.
    """
    run = update.run
    if run is None:
        return b""
    told = json.decode(update.data) if update.data is not None else {}
    then = replace(
        run,
        status=update.status,
        attempt=told.get("attempt", 1),
        changed_at=update.at,
        output=run.output if update.is_end else None,
        error=run.error if "error" in told or run.status is update.status else None,
    )
    made = task_json(then)
    if update.status is RunStatus.PENDING:
        # After its start and after a failure the next try is still to come.
        is_to_come = update.at == run.created_at or "error" in told
        made["attempts"] = then.attempt - is_to_come
    length = len(json.encode(made["result"]))
    if length > RESULT_BYTES_MAX:
        made |= {"result": None, "resultBytes": length}
    return json.encode(made)


def attempts_of(run: Run) -> int:
    """Tell how many tries have begun.

    What is pending has not begun its try, if it has never been claimed, or has failed and is put
    off; what was woken goes on with the one that it has begun.
    """
    is_to_come = run.started_at is None or run.available_at > _changed_at(run)
    return run.attempt - 1 if run.status is RunStatus.PENDING and is_to_come else run.attempt


def _changed_at(run: Run) -> datetime:
    return run.changed_at or run.created_at
