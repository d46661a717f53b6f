"""Runs as JSON: made by hand, because this is what is asked for most."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from agency.core.clock import to_text
from agency.domain.entry import Entry
from agency.domain.run import ENDED, RETRYABLE, Run, RunError, RunKind, RunStatus
from agency.domain.wait import Wait
from agency.ports.store import RunDetail
from agency.web.addresses import run_path, snapshot_path, workflow_path

SUCCEEDED = frozenset({RunStatus.COMPLETED, RunStatus.LIMIT_REACHED})
"""Ends at which an agent has an answer."""


def run_json(detail: RunDetail) -> dict[str, Any]:
    """Make the JSON of one run with all that belongs to it."""
    run = detail.run
    made = _head(run)
    made["input"] = run.input
    made["output"] = run.output
    made["waits"] = [wait_json(wait) for wait in detail.waits]
    made["steps_executed"] = steps_of(detail)
    made["snapshot_id"] = detail.snapshot_id
    made["behind"] = detail.behind
    made["links"] = links_json(run, detail.snapshot_id)
    return made


def workflow_json(detail: RunDetail) -> dict[str, Any]:
    """Make the JSON of a run on the guide's paths, where its name is its ``workflow_id``."""
    return {"workflow_id": detail.run.name, **run_json(detail)}


def run_row_json(run: Run) -> dict[str, Any]:
    """Make the JSON of a run in a list: without input and output, which may be large."""
    return {**_head(run), "links": links_json(run, None)}


def workflow_row_json(run: Run) -> dict[str, Any]:
    """Make the JSON of a run in the list of named runs."""
    return {"workflow_id": run.name, **run_row_json(run)}


def started_json(run: Run) -> dict[str, Any]:
    """Make the JSON that answers the start of a named run."""
    return {
        "workflow_id": run.name,
        "run_id": run.id,
        "status": run.status,
        "links": links_json(run, None),
    }


def accepted_json(detail: RunDetail) -> dict[str, Any]:
    """Make the JSON that says how far a run is that has not ended."""
    run = detail.run
    return {
        "run_id": run.id,
        "status": run.status,
        "completed": False,
        "steps_executed": steps_of(detail),
        "session_id": run.session_id,
        "snapshot_id": detail.snapshot_id,
        "waits": [wait_json(wait) for wait in detail.waits],
        "behind": detail.behind,
        "links": links_json(run, detail.snapshot_id),
    }


def steps_of(detail: RunDetail) -> int:
    """Count what a run has done: model turns of agents, journal steps of all others.

    An agent's runs from before turns were counted have recorded nothing else.
    """
    run = detail.run
    if run.kind is not RunKind.AGENT:
        return detail.steps_executed
    usage = run.output.get("usage") if isinstance(run.output, dict) else None
    if isinstance(usage, dict):
        return int(usage["turns"])
    if isinstance(run.progress, dict) and "turns" in run.progress:
        return int(run.progress["turns"])
    return detail.steps_executed if run.status in ENDED else 0


def wait_json(wait: Wait) -> dict[str, Any]:
    """Make the JSON of something that is waited for; ``outcome`` is null while it is open."""
    return {
        "key": wait.key,
        "kind": wait.kind,
        "name": wait.name,
        "due_at": _text(wait.due_at),
        "show": wait.show,
        "target": wait.target,
        "opened_at": to_text(wait.opened_at),
        "outcome": wait.outcome,
        "resolved_at": _text(wait.resolved_at),
    }


def error_json(error: RunError | None) -> dict[str, Any] | None:
    """Make the JSON of why a run did not succeed."""
    if error is None:
        return None
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "step": error.step,
        "error_class": error.error_class,
        "details": error.details,
    }


def entry_json(entry: Entry) -> dict[str, Any]:
    """Make the JSON of a journal's entry. Its body is JSON already and is put in as it is."""
    return {
        "number": entry.number,
        "key": entry.key,
        "kind": entry.kind.name.lower(),
        "at": to_text(entry.at),
        "epoch": entry.epoch,
        "body": orjson.Fragment(entry.body or b"null"),
        "meta": orjson.Fragment(entry.meta) if entry.meta else None,
    }


def links_json(run: Run, snapshot_id: str | None) -> dict[str, str]:
    """Make the addresses of what belongs to a run."""
    path = run_path(run.id)
    links = {"self": path, "steps": f"{path}/steps"}
    if run.status not in ENDED:
        links["cancel"] = f"{path}/cancel"
        links["events"] = f"{path}/events"
        links["suspend"] = f"{path}/suspend"
    if run.status in RETRYABLE:
        links["retry"] = f"{path}/retry"
    if run.name is not None:
        links["workflow"] = workflow_path(run.name)
    if snapshot_id is not None:
        links["snapshot"] = snapshot_path(snapshot_id)
        links["resume"] = "/api/v1/workflows/resume"
    return links


def location(run: Run) -> Mapping[str, str]:
    """Make the header that names the address of a run."""
    return {"Location": run_path(run.id)}


def _head(run: Run) -> dict[str, Any]:
    created_at = to_text(run.created_at)
    is_at_once = run.available_at == run.created_at
    return {
        "id": run.id,
        # Every answer names its run the same way, whatever it is about.
        "run_id": run.id,
        "name": run.name,
        "workflow": run.workflow,
        "version": run.version,
        "kind": run.kind,
        "status": run.status,
        "phase": run.phase,
        "error": error_json(run.error),
        "session_id": run.session_id,
        "parent_id": run.parent_id,
        "forked_from": run.forked_from,
        "forked_at": run.forked_at,
        "rerun_of": run.rerun_of,
        "generation": run.generation,
        "queue": run.queue,
        "concurrency_key": run.concurrency_key,
        "priority": run.priority,
        "attempt": run.attempt,
        "max_attempts": run.max_attempts,
        "epoch": run.epoch,
        "owner": run.owner,
        "seed": run.seed,
        "available_at": created_at if is_at_once else to_text(run.available_at),
        "deadline_at": _text(run.deadline_at),
        "idempotency_key": run.idempotency_key,
        "correlation_id": run.correlation_id,
        "principal": run.principal,
        "tags": run.tags,
        "created_at": created_at,
        "started_at": _text(run.started_at),
        "ended_at": _text(run.ended_at),
        "ending": run.ending,
        "hold": run.hold,
        "crashes": run.crashes,
        "provider": run.provider,
        "progress": run.progress,
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)
