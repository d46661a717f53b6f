"""Runs as MCP clients see them; the members have the names that they have over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from agency.core.clock import to_text
from agency.domain.run import ENDED, Run, RunStatus
from agency.domain.snapshot import Snapshot
from agency.domain.wait import Wait, WaitKind
from agency.ports.store import RunDetail

RUNS = "agency://runs/"
SNAPSHOTS = "agency://snapshots/"

SUCCEEDED = frozenset({RunStatus.COMPLETED, RunStatus.LIMIT_REACHED})

OF_PEOPLE = frozenset(
    {
        WaitKind.INPUT,
        WaitKind.APPROVAL,
        WaitKind.DECISION,
        WaitKind.OPERATOR,
        WaitKind.VERSION,
    }
)
"""Waits that end only when somebody says something."""


def run_uri(run_id: str) -> str:
    """Give the address of a run."""
    return f"{RUNS}{run_id}"


def file_uri(run_id: str, path: str) -> str:
    """Give the address of a file of a run; bytes that are no UTF-8 are surrogates in the path."""
    return f"{RUNS}{run_id}/files/{quote(path.encode(errors='surrogateescape'))}"


def path_of(quoted: str) -> str:
    """Read the path that `file_uri` has written."""
    return unquote_to_bytes(quoted).decode(errors="surrogateescape")


def shown(path: str) -> str:
    """Write a path so that it can be read, whatever its bytes are."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def open_waits(detail: RunDetail) -> list[Wait]:
    """Give what the run waits for now."""
    return [wait for wait in detail.waits if wait.outcome is None]


def needs_somebody(detail: RunDetail) -> bool:
    """Tell whether the run is suspended until somebody says something."""
    is_suspended = detail.run.status is RunStatus.SUSPENDED
    return is_suspended and any(wait.kind in OF_PEOPLE for wait in open_waits(detail))


def is_settled(detail: RunDetail) -> bool:
    """Tell whether nothing more is to be waited for: it has ended, or somebody has to answer."""
    return detail.run.status in ENDED or needs_somebody(detail)


def told_of(wait: Wait) -> str:
    """Say what a wait asks, or why a resource is away; empty for what ends by itself in time."""
    shown = wait.show if isinstance(wait.show, Mapping) else {}
    if wait.kind in OF_PEOPLE:
        return f"It asks: {shown.get('prompt') or wait.name}"
    if wait.kind is WaitKind.RESOURCE:
        reason = f": {shown['reason']}" if shown.get("reason") else "."
        return f"It waits for {wait.name} to come back{reason}"
    return ""


def wait_json(wait: Wait) -> dict[str, Any]:
    """Make the JSON of something that is waited for."""
    return {
        "key": wait.key,
        "kind": wait.kind,
        "name": wait.name,
        "show": wait.show,
        "due_at": None if wait.due_at is None else to_text(wait.due_at),
    }


def row_json(run: Run) -> dict[str, Any]:
    """Make the JSON of a run in a list: without input and output, which may be large."""
    made: dict[str, Any] = {
        "run_id": run.id,
        "uri": run_uri(run.id),
        "name": run.name,
        "workflow": run.workflow,
        "kind": run.kind,
        "status": run.status,
        "progress": run.progress,
        "error": _error_json(run),
        "session_id": run.session_id,
        "tags": dict(run.tags),
        "created_at": to_text(run.created_at),
        "ended_at": None if run.ended_at is None else to_text(run.ended_at),
    }
    return made


def run_json(detail: RunDetail) -> dict[str, Any]:
    """Make the JSON of one run."""
    run = detail.run
    return {
        **row_json(run),
        "input": run.input,
        "output": run.output,
        "waits": [wait_json(wait) for wait in open_waits(detail)],
        "snapshot_id": detail.snapshot_id,
    }


def status_json(detail: RunDetail) -> dict[str, Any]:
    """Make the JSON that says how a run is: all but its input and output."""
    return {
        **row_json(detail.run),
        "waits": [wait_json(wait) for wait in open_waits(detail)],
        "next": next_of(detail),
    }


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """Make the JSON of a snapshot."""
    return {
        "snapshot_id": snapshot.id,
        "run_id": snapshot.run_id,
        "workflow": snapshot.workflow,
        "reason": snapshot.reason,
        "created_at": to_text(snapshot.created_at),
        "spent": snapshot.spent,
        "run_status": snapshot.run_status,
        "waits": [wait_json(wait) for wait in snapshot.waits],
    }


def next_of(detail: RunDetail) -> str:
    """Say how to go on with a run, in a sentence for the model that has asked."""
    run_id = detail.run.id
    if detail.run.status in ENDED:
        return f"It has ended; its result: run_result with run_id {run_id}."
    if needs_somebody(detail):
        kinds = {wait.kind for wait in open_waits(detail)}
        if WaitKind.APPROVAL in kinds:
            return (
                "It waits for an approval. Ask the user; then call run_approve with run_id "
                f"{run_id} and the decision approve or deny, then run_result."
            )
        return (
            "It waits for an answer, see waits. Ask the user; then call run_answer with run_id "
            f"{run_id} and the value, then run_result."
        )
    return f"It goes on by itself. Call run_result with run_id {run_id} to wait for its result."


def _error_json(run: Run) -> dict[str, Any] | None:
    if run.error is None:
        return None
    return {"code": run.error.code, "message": run.error.message, "hint": run.error.hint}
