"""``/api/v1/runs``: every run, whatever it is of and whichever door it came through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from aiohttp import web
from pydantic import Field, model_validator

from agency import errors
from agency.api.fields import (
    LIMIT_DEFAULT,
    Cursor,
    Limit,
    Moment,
    Name,
    QueueName,
    WorkflowId,
    run_id_of,
)
from agency.api.run_answers import answer_with_run, look_at
from agency.api.run_shape import entry_json, location, run_json, run_row_json
from agency.api.starting import below_input, idempotency_key_of, new_detail, replayed, start
from agency.core.ids import derive_id
from agency.core.limits import AGEING_S, ATTEMPTS_MAX, CANCEL_WAIT_S, PRIORITY_MAX, SUSPEND_WAIT_S
from agency.domain.run import ENDED, RunStatus
from agency.engine.runs import StartRequest
from agency.ports.store import RunFilter
from agency.web.addresses import run_path, snapshot_path
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_number_cursor
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "runs"

_YEARS_S = 10 * 365 * 86_400

_Tag = Annotated[str, Field(max_length=256)]
_Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], _Tag], Field(max_length=32)
]


class StartBody(Body):
    """A request for work."""

    workflow: Name
    input: Any = Field(default=None, description="Input of the workflow, as its schema says.")
    name: WorkflowId | None = Field(
        default=None, description="The caller's own name for the run, unique among live runs."
    )
    session_id: Name | None = Field(
        default=None, description="Conversation that it belongs to; it has one live run at most."
    )
    tags: _Tags = Field(default_factory=dict, description="Up to 32 labels.")
    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = Field(
        default=0,
        description=f"Higher ones first; a point counts as much as {AGEING_S:g} s of waiting.",
    )
    available_at: Moment | None = Field(default=None, description="Not begun before.")
    delay_s: Annotated[float, Field(ge=0, le=_YEARS_S)] | None = Field(
        default=None, description="Not begun before so many seconds; instead of `available_at`."
    )
    timeout_s: Annotated[float, Field(gt=0, le=_YEARS_S)] | None = Field(
        default=None, description="Seconds from now until it is timed out, queueing included."
    )
    queue: QueueName | None = Field(
        default=None, description="Where it waits; by default the workflow's queue."
    )
    concurrency_key: Name | None = Field(
        default=None,
        description="Of the live runs with the same key one at a time is worked on, in the order "
        "in which they were accepted.",
    )
    max_attempts: Annotated[int, Field(ge=1, le=ATTEMPTS_MAX)] | None = Field(
        default=None, description="Tries before it is a dead letter; by default the workflow's."
    )

    @model_validator(mode="after")
    def _has_one_moment(self) -> Self:
        if self.delay_s is not None and self.available_at is not None:
            raise ValueError("delay_s and available_at cannot stand beside each other")
        return self


def start_request(body: StartBody) -> StartRequest:
    """Make the request for work that a body is, without what belongs to the HTTP request."""
    return StartRequest(
        workflow=body.workflow,
        input=body.input,
        name=body.name,
        session_id=body.session_id,
        tags=body.tags,
        priority=body.priority,
        available_at=body.available_at,
        delay_s=body.delay_s,
        timeout_s=body.timeout_s,
        queue=body.queue,
        concurrency_key=body.concurrency_key,
        max_attempts=body.max_attempts,
    )


class ReasonBody(Body):
    """Why something is asked for."""

    reason: Annotated[str, Field(max_length=1024)] = Field(
        default="", description="It is recorded and shown."
    )


class EventBody(Body):
    """An event for a run. The same ``event_id`` twice counts once."""

    name: Name = Field(description="What the run waits for.")
    payload: Any = Field(default=None, description="What the run is told.")
    event_id: Name | None = Field(default=None, description="Made when it is not given.")


class RunQuery(Query):
    status: list[RunStatus] = Field(default=[], description="Repeat it to name several.")
    workflow: Name | None = None
    name: Name | None = None
    session_id: Name | None = None
    parent_id: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class StepQuery(Query):
    after: Annotated[int, Field(ge=0, lt=1 << 63)] | None = Field(
        default=None, description="Number of the last entry that the caller has."
    )
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def start_run(request: web.Request) -> web.Response:
    """Start a run of any workflow."""
    body = await read_body(request, StartBody)
    services = request.app[SERVICES]
    preference = preference_of(request)
    started = await start(request, body, start_request(body), where_of=below_input)
    if started.is_new and started.run.session_id is None and preference.wait_s <= 0:
        # As it was stored: to read it again would cost as much as to store it.
        detail = new_detail(started.run)
    else:
        detail = await request.app[PATIENCE].wait_for(
            services.runs, started.run.id, timeout_s=preference.wait_s
        )
    headers = {**location(started.run), **preference.applied, **replayed(started)}
    status = 200 if detail.run.status in ENDED else 202
    return json_answer(run_json(detail), status=status, headers=headers)


async def list_runs(request: web.Request) -> web.Response:
    """List runs, newest first."""
    query = read_query(request, RunQuery)
    which = RunFilter(
        statuses=frozenset(query.status),
        workflow=query.workflow,
        name=query.name,
        session_id=query.session_id,
        parent_id=query.parent_id,
    )
    before = parse_number_cursor("runs", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].runs.list(which, before=before, limit=query.limit + 1)
    page, cursor = cut_page("runs", rows, query.limit, lambda run: run.number)
    return json_answer({"runs": [run_row_json(run) for run in page], "next_cursor": cursor})


async def show_run(request: web.Request) -> web.Response:
    """Read one run."""
    detail = await request.app[SERVICES].runs.get(run_id_of(request.match_info["run_id"]))
    return await answer_with_run(request, look_at(detail, is_named=False), is_named=False)


async def list_steps(request: web.Request) -> web.Response:
    """Read a run's journal, oldest first."""
    run_id = run_id_of(request.match_info["run_id"])
    query = read_query(request, StepQuery)
    after = query.after or 0
    if query.cursor is not None:
        after = parse_number_cursor("steps", query.cursor)
    entries = await request.app[SERVICES].runs.entries(run_id, after=after, limit=query.limit + 1)
    page, cursor = cut_page("steps", entries, query.limit, lambda entry: entry.number)
    return json_answer({"steps": [entry_json(entry) for entry in page], "next_cursor": cursor})


async def cancel_run(request: web.Request) -> web.Response:
    """Cancel a run."""
    return await cancel(request, run_id_of(request.match_info["run_id"]))


async def suspend_run(request: web.Request) -> web.Response:
    """Hold a run."""
    return await suspend(request, run_id_of(request.match_info["run_id"]))


async def send_event(request: web.Request) -> web.Response:
    """Send an event to a run."""
    return await send(request, run_id_of(request.match_info["run_id"]))


async def cancel(request: web.Request, run_id: str) -> web.Response:
    """Cancel the run; 200 when it has ended, 202 while it is being ended."""
    body = await read_body(request, ReasonBody, may_be_empty=True)
    preference = preference_of(request, default_s=CANCEL_WAIT_S)
    runs = request.app[SERVICES].runs
    detail = await runs.cancel(run_id, reason=body.reason)
    if detail.run.status not in ENDED:
        detail = await request.app[PATIENCE].wait_for(runs, run_id, timeout_s=preference.wait_s)
    status = 200 if detail.run.status in ENDED else 202
    headers = {**location(detail.run), **preference.applied}
    return json_answer(run_json(detail), status=status, headers=headers)


async def suspend(request: web.Request, run_id: str) -> web.Response:
    """Hold the run; 200 with its snapshot, or 202 while its safe point is not reached."""
    body = await read_body(request, ReasonBody, may_be_empty=True)
    preference = preference_of(request, default_s=SUSPEND_WAIT_S)
    snapshot = await request.app[SERVICES].runs.suspend(
        run_id, reason=body.reason or "operator", wait_s=preference.wait_s
    )
    links = {"run": run_path(run_id)}
    if snapshot is None:
        answer = {"run_id": run_id, "snapshot_id": None, "status": "suspending", "links": links}
        headers = {"Location": run_path(run_id), **preference.applied}
        return json_answer(answer, status=202, headers=headers)
    links["snapshot"] = snapshot_path(snapshot.id)
    answer = {
        "run_id": run_id,
        "snapshot_id": snapshot.id,
        "status": snapshot.run_status,
        "links": links,
    }
    return json_answer(answer, headers=preference.applied)


async def send(request: web.Request, run_id: str) -> web.Response:
    """Put an event into the run's mailbox; it is kept until the run takes it."""
    body = await read_body(request, EventBody)
    key = idempotency_key_of(request)
    event_id = body.event_id
    if event_id is None and key is not None:
        event_id = derive_id("event", run_id, key)
    event_id = await request.app[SERVICES].runs.send(
        run_id, name=body.name, payload=body.payload, event_id=event_id
    )
    answer = {
        "event_id": event_id,
        "run_id": run_id,
        "name": body.name,
        "links": {"run": run_path(run_id)},
    }
    return json_answer(answer, status=202, headers={"Location": run_path(run_id)})


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        # First, because routes are tried in order and this one is asked for most.
        Route(
            method="GET",
            path="/api/v1/runs/{run_id}",
            answer=show_run,
            operation="show_run",
            summary="Read one run, or wait for it",
            description="With `Prefer: wait=N` it is answered when the run has ended or is "
            "suspended; with `If-None-Match` as well, when anything of it has changed.",
            tag=TAG,
            answers={200: "RunAnswer"},
            problems=(errors.RunNotFound,),
            waits=True,
            is_conditional=True,
        ),
        Route(
            method="POST",
            path="/api/v1/runs",
            answer=start_run,
            operation="start_run",
            summary="Start a run of any workflow",
            description="Once this is answered the work is durable.",
            tag=TAG,
            body=StartBody,
            answers={200: "RunAnswer", 202: "RunAnswer"},
            problems=(
                errors.WorkflowNotFound,
                errors.WorkflowDisabled,
                errors.QueueNotFound,
                errors.QueueFull,
                errors.NameTaken,
                errors.SessionBusy,
                errors.IdempotencyMismatch,
                errors.ValueTooLarge,
            ),
            examples={"agent": {"workflow": "agent", "input": {"message": "What is Rust?"}}},
            waits=True,
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path="/api/v1/runs",
            answer=list_runs,
            operation="list_runs",
            summary="List runs, newest first",
            tag=TAG,
            query=RunQuery,
            answers={200: "RunPageAnswer"},
        ),
        Route(
            method="GET",
            path="/api/v1/runs/{run_id}/steps",
            answer=list_steps,
            operation="list_steps",
            summary="Read a run's journal, oldest first",
            tag=TAG,
            query=StepQuery,
            answers={200: "StepPageAnswer"},
            problems=(errors.RunNotFound,),
        ),
        Route(
            method="POST",
            path="/api/v1/runs/{run_id}/cancel",
            answer=cancel_run,
            operation="cancel_run",
            summary="Cancel a run and its descendants",
            tag=TAG,
            body=ReasonBody,
            body_may_be_empty=True,
            answers={200: "RunAnswer", 202: "RunAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded),
            waits=True,
        ),
        Route(
            method="POST",
            path="/api/v1/runs/{run_id}/suspend",
            answer=suspend_run,
            operation="suspend_run",
            summary="Hold a run until it is resumed",
            tag=TAG,
            body=ReasonBody,
            body_may_be_empty=True,
            answers={200: "SuspendedAnswer", 202: "SuspendedAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded),
            waits=True,
        ),
        Route(
            method="POST",
            path="/api/v1/runs/{run_id}/events",
            answer=send_event,
            operation="send_event",
            summary="Send an event to a run",
            tag=TAG,
            body=EventBody,
            answers={202: "EventAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded, errors.ValueTooLarge),
            examples={"paid": {"name": "paid", "payload": {"amount": 12}}},
            is_idempotent=True,
        ),
    )
