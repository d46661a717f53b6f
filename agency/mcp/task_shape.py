"""Runs as tasks of the extension ``io.modelcontextprotocol/tasks``.

A task is a view of a run: its id is the run's, its state is read from the store whenever somebody
asks, so that it is right after a restart as well. Source: SEP-2663.

A tool that has failed is a task that is ``completed`` with a result that says so; ``failed`` is
what was given up for another reason than what the tool itself says: a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import mcp_types as types

from agency.core.clock import to_text
from agency.domain.run import Run, RunStatus
from agency.mcp.forms import Form, forms_of
from agency.mcp.means import Means
from agency.mcp.offerings import Context
from agency.mcp.questions import TASKS, can, form_request, has_extension, is_modern
from agency.mcp.results import result_of
from agency.mcp.run_shape import next_of
from agency.mcp.schemas import output_schema
from agency.ports.store import RunDetail

POLL_S = 1.0
"""How long a client should wait between two looks, in seconds."""


def follows_tasks(ctx: Context) -> bool:
    """Tell whether the client can be answered with a task."""
    return is_modern(ctx) and has_extension(ctx, TASKS)


def created_task(means: Means, ctx: Context, detail: RunDetail) -> dict[str, Any]:
    """Make the answer to a call that has become a task."""
    return {"resultType": "task", **_task(means, ctx, detail)}


async def detailed_task(means: Means, ctx: Context, detail: RunDetail) -> dict[str, Any]:
    """Make what a client is shown of a task: with its result, its error or its questions."""
    made = {"resultType": "complete", **_task(means, ctx, detail)}
    match made["status"]:
        case "completed":
            schema = _schema_of(means, detail.run)
            made["result"] = _written(await result_of(means, detail, schema))
        case "failed":
            made["error"] = _error_of(detail.run)
        case "input_required":
            made["inputRequests"] = {
                key: _written(form_request(form.message, form.schema))
                for key, form in forms_for(ctx, detail).items()
            }
    return made


def forms_for(ctx: Context, detail: RunDetail) -> Mapping[str, Form]:
    """Give the questions of a run that this client can be asked, by key."""
    return forms_of(detail.waits) if can(ctx, "elicitation") else {}


def _task(means: Means, ctx: Context, detail: RunDetail) -> dict[str, Any]:
    run = detail.run
    status = _status_of(ctx, detail)
    made: dict[str, Any] = {
        "taskId": run.id,
        "status": status,
        "createdAt": to_text(run.created_at),
        "lastUpdatedAt": to_text(_updated_at(detail)),
        "ttlMs": _ttl_ms(means),
        "pollIntervalMs": int(POLL_S * 1000),
    }
    if status == "working" and (message := _message_of(detail)):
        made["statusMessage"] = message
    return made


def _updated_at(detail: RunDetail) -> datetime:
    """Give the newest moment that is known of a run."""
    run = detail.run
    known = [run.created_at, run.started_at, run.ended_at]
    return max(at for at in [*known, *(wait.opened_at for wait in detail.waits)] if at is not None)


def _status_of(ctx: Context, detail: RunDetail) -> str:
    match detail.run.status:
        case RunStatus.CANCELLED:
            return "cancelled"
        case RunStatus.DEAD_LETTER:
            return "failed"
        case RunStatus.PENDING | RunStatus.RUNNING | RunStatus.SUSPENDED:
            # Also while it runs: of several questions some may be answered already.
            return "input_required" if forms_for(ctx, detail) else "working"
        case _:
            return "completed"


def _message_of(detail: RunDetail) -> str:
    progress = detail.run.progress
    if isinstance(progress, dict) and progress.get("note"):
        return str(progress["note"])
    return next_of(detail) if detail.run.status is RunStatus.SUSPENDED else ""


def _ttl_ms(means: Means) -> int | None:
    """Say how long the task is kept at least, from when it was made; None: until it is deleted.

    A run is kept for a time after its end, and how it ends is not known yet. Limits on the number
    and the size of what is kept, where they are set, may come first.
    """
    kept = means.services.settings.retention
    ages = (kept.completed_age_s, kept.failed_age_s, kept.cancelled_age_s, kept.dead_letter_age_s)
    limits = [age for age in ages if age > 0]
    return max(1, int(min(limits) * 1000)) if limits else None


def _schema_of(means: Means, run: Run) -> Mapping[str, Any] | None:
    agent = run.input.get("agent") if isinstance(run.input, dict) else None
    for name in (agent, run.workflow):
        one = means.publication.find(name) if isinstance(name, str) else None
        if one is not None and one.workflow == run.workflow:
            return output_schema(one.output_schema)
    return None


def _error_of(run: Run) -> dict[str, Any]:
    message = run.error.message if run.error is not None else "The run was given up."
    data = {"code": run.error.code, "hint": run.error.hint} if run.error is not None else {}
    return {"code": types.INTERNAL_ERROR, "message": message, "data": data}


def _written(model: Any) -> dict[str, Any]:  # noqa: ANN401  a model of the SDK
    found: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found
