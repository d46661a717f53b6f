"""``/api/v1/workflows``: runs by the names that their callers gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.agent import WORKFLOW, Steps, agent_input
from agency.api.fields import (
    LIMIT_DEFAULT,
    Cursor,
    Limit,
    Name,
    QueueName,
    WorkflowId,
    name_of,
    snapshot_id_of,
)
from agency.api.run_answers import answer_with_run, look_at
from agency.api.run_shape import (
    accepted_json,
    error_json,
    location,
    started_json,
    workflow_row_json,
)
from agency.api.runs import EventBody, ReasonBody, cancel, send, suspend
from agency.api.starting import below_input, replayed, start
from agency.core.ids import new_id
from agency.domain.run import ENDED, RunStatus
from agency.engine.runs import StartRequest
from agency.errors import Fault, InvalidInput
from agency.ports.store import RunDetail, RunFilter
from agency.web.addresses import workflow_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_number_cursor
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "workflows"


class CreateBody(Body):
    """A named run. The agent's takes ``initial_message``; others take ``input``."""

    workflow_id: WorkflowId
    initial_message: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The agent's message, instead of `input`."
    )
    max_steps: Steps | None = None
    workflow: Name = Field(default=WORKFLOW, description="What is to be run.")
    input: Any = Field(default=None, description="Input of the workflow, as its schema says.")
    session_id: Name | None = Field(default=None, description="Conversation to go on with.")
    model: Name | None = Field(default=None, description="Model to ask, if not the default.")
    queue: QueueName | None = Field(
        default=None, description="Where the run waits; by default the workflow's queue."
    )
    concurrency_key: Name | None = Field(
        default=None,
        description="Of the live runs with the same key one at a time is worked on.",
    )


class ResumeBody(Body):
    """An answer to what a suspended run waits for; ``wait`` names it when there are several."""

    snapshot_id: Annotated[str, Field(min_length=1, max_length=256)]
    wait: Name | None = Field(default=None, description="Key of the wait that is answered.")
    input: Any = Field(default=None, description="The answer; null is one, too.")


class WorkflowQuery(Query):
    status: list[RunStatus] = Field(default=[], description="Repeat it to name several.")
    workflow_id: Name | None = None
    workflow: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def create_workflow(request: web.Request) -> web.Response:
    """Start a named run."""
    body = await read_body(request, CreateBody)
    is_agent = body.workflow == WORKFLOW
    wanted = StartRequest(
        workflow=body.workflow,
        input=_input_of(body),
        name=body.workflow_id,
        session_id=body.session_id or (new_id() if is_agent else None),
        queue=body.queue,
        concurrency_key=body.concurrency_key,
    )
    where_of = below_input if "input" in body.model_fields_set else _where_of_message
    started = await start(request, body, wanted, where_of=where_of)
    headers = {"Location": workflow_path(body.workflow_id), **replayed(started)}
    return json_answer(started_json(started.run), status=201, headers=headers)


def _input_of(body: CreateBody) -> Any:  # noqa: ANN401  JSON value
    has_input = "input" in body.model_fields_set
    of_agent = [
        name
        for name in ("initial_message", "max_steps", "model")
        if getattr(body, name) is not None
    ]
    if has_input and of_agent:
        faults = [
            Fault(f"/{name}", "This cannot stand beside `input`.", "Put it into `input`.")
            for name in of_agent
        ]
        raise InvalidInput("The body has both `input` and parts of one.", faults=faults)
    if has_input:
        return body.input
    if body.initial_message is not None:
        return agent_input(body.initial_message, max_steps=body.max_steps, model=body.model)
    if body.workflow == WORKFLOW:
        fault = Fault("/initial_message", "The agent needs a message.", "Or give `input`.")
        raise InvalidInput("The body has no message for the agent.", faults=[fault])
    if of_agent:
        faults = [
            Fault(f"/{name}", "This needs `initial_message` beside it.", "Or give `input`.")
            for name in of_agent
        ]
        raise InvalidInput("The body has parts of an input, but no message.", faults=faults)
    return None


def _where_of_message(pointer: str) -> str:
    # The root of the input is the message, too: nothing else of the body makes one.
    return "/initial_message" if pointer in {"", "/", "/message"} else pointer


async def list_workflows(request: web.Request) -> web.Response:
    """List named runs, newest first."""
    query = read_query(request, WorkflowQuery)
    which = RunFilter(
        statuses=frozenset(query.status),
        name=query.workflow_id,
        workflow=query.workflow,
        is_named=True,
    )
    before = parse_number_cursor("workflows", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].runs.list(which, before=before, limit=query.limit + 1)
    page, cursor = cut_page("workflows", rows, query.limit, lambda run: run.number)
    found = [workflow_row_json(run) for run in page]
    return json_answer({"workflows": found, "next_cursor": cursor})


async def show_workflow(request: web.Request) -> web.Response:
    """Read the live run of that name, else the newest that has ended."""
    detail = await request.app[SERVICES].runs.get_named(name_of(request.match_info["workflow_id"]))
    return await answer_with_run(request, look_at(detail, is_named=True), is_named=True)


async def suspend_workflow(request: web.Request) -> web.Response:
    """Hold the run of that name."""
    return await suspend(request, await _run_id(request))


async def cancel_workflow(request: web.Request) -> web.Response:
    """Cancel the run of that name."""
    return await cancel(request, await _run_id(request))


async def send_to_workflow(request: web.Request) -> web.Response:
    """Send an event to the run of that name."""
    return await send(request, await _run_id(request))


async def resume_workflow(request: web.Request) -> web.Response:
    """Answer a wait of a suspended run, and wait for what becomes of it."""
    body = await read_body(request, ResumeBody)
    services = request.app[SERVICES]
    preference = preference_of(request, default_s=services.settings.server.sync_wait_s)
    run_id = await services.runs.resume(
        snapshot_id_of(body.snapshot_id),
        wait=body.wait,
        input=body.input,
        has_input="input" in body.model_fields_set,
        principal=principal_of(request).name,
    )
    detail = await request.app[PATIENCE].wait_for(
        services.runs, run_id, timeout_s=preference.wait_s
    )
    if detail.run.status in ENDED:
        return json_answer(_resumed_json(detail), headers=preference.applied)
    headers = {**location(detail.run), **preference.applied}
    return json_answer(_resumed_json(detail), status=202, headers=headers)


def _resumed_json(detail: RunDetail) -> dict[str, Any]:
    run = detail.run
    response = run.output.get("response") if isinstance(run.output, dict) else run.output
    return {
        **accepted_json(detail),
        "completed": run.status is RunStatus.COMPLETED,
        "response": response if isinstance(response, str) else None,
        "output": run.output,
        "error": error_json(run.error),
    }


async def _run_id(request: web.Request) -> str:
    name = name_of(request.match_info["workflow_id"])
    return (await request.app[SERVICES].runs.get_named(name)).run.id


def routes() -> Sequence[Route]:
    """List what is served here."""
    path = "/api/v1/workflows/{workflow_id}"
    return (
        Route(
            method="POST",
            path="/api/v1/workflows",
            answer=create_workflow,
            operation="create_workflow",
            summary="Start a named run",
            description="The name is unique among runs that have not ended.",
            tag=TAG,
            body=CreateBody,
            answers={201: "WorkflowCreatedAnswer"},
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
            examples={
                "agent": {
                    "workflow_id": "my-workflow",
                    "initial_message": "Process this data",
                    "max_steps": 20,
                }
            },
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path="/api/v1/workflows",
            answer=list_workflows,
            operation="list_workflows",
            summary="List named runs, newest first",
            tag=TAG,
            query=WorkflowQuery,
            answers={200: "WorkflowPageAnswer"},
        ),
        Route(
            method="POST",
            path="/api/v1/workflows/resume",
            answer=resume_workflow,
            operation="resume_workflow",
            summary="Answer what a suspended run waits for",
            description="Answered when the run has ended or is suspended again, with 202 when "
            "that takes longer than `[server] sync_wait_s`, or `Prefer: wait=N`.",
            tag=TAG,
            body=ResumeBody,
            answers={200: "ResumedAnswer", 202: "ResumedAnswer"},
            problems=(
                errors.SnapshotNotFound,
                errors.SnapshotSpent,
                errors.RunEnded,
                errors.RunNotSuspended,
                errors.WaitNotFound,
                errors.WaitAmbiguous,
                errors.AnswerNeeded,
                errors.WaitNotAnswerable,
                errors.WaitTaken,
                errors.ValueTooLarge,
            ),
            examples={"snapshot": {"snapshot_id": "550e8400-e29b-41d4-a716-446655440000"}},
            waits=True,
        ),
        Route(
            method="GET",
            path=path,
            answer=show_workflow,
            operation="show_workflow",
            summary="Read the run of a name, or wait for it",
            tag=TAG,
            answers={200: "WorkflowAnswer"},
            problems=(errors.RunNotFound,),
            waits=True,
            is_conditional=True,
        ),
        Route(
            method="POST",
            path=f"{path}/suspend",
            answer=suspend_workflow,
            operation="suspend_workflow",
            summary="Hold the run of a name until it is resumed",
            tag=TAG,
            body=ReasonBody,
            body_may_be_empty=True,
            answers={200: "SuspendedAnswer", 202: "SuspendedAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded),
            waits=True,
        ),
        Route(
            method="POST",
            path=f"{path}/cancel",
            answer=cancel_workflow,
            operation="cancel_workflow",
            summary="Cancel the run of a name and its descendants",
            tag=TAG,
            body=ReasonBody,
            body_may_be_empty=True,
            answers={200: "RunAnswer", 202: "RunAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded),
            waits=True,
        ),
        Route(
            method="POST",
            path=f"{path}/events",
            answer=send_to_workflow,
            operation="send_event_to_workflow",
            summary="Send an event to the run of a name",
            tag=TAG,
            body=EventBody,
            answers={202: "EventAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded, errors.ValueTooLarge),
            is_idempotent=True,
        ),
    )
