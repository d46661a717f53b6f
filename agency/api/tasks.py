"""``/api/tasks`` and ``/api/task-events``: the paths of the agent workflow deployment notes.

A task is a run, its type the workflow. What is wrong with a request is answered with 400 here, as
the notes' clients expect it; everything else is as on the other paths.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Moment, Name, run_id_of
from agency.api.starting import hash_of, idempotency_key_of, moved, replayed
from agency.api.task_shape import (
    TaskStatus,
    inbox_item_json,
    run_statuses,
    submitted_json,
    task_json,
    update_json,
)
from agency.core import json
from agency.core.clock import SystemClock, to_text
from agency.core.context import CORRELATION_ID
from agency.core.limits import ATTEMPTS_MAX, CANCEL_WAIT_S, PRIORITY_MAX
from agency.domain.run import ENDED
from agency.domain.update import Update, UpdateFilter, UpdateType
from agency.engine.channel import Dialect, Subscription
from agency.engine.runs import StartRequest
from agency.errors import (
    Fault,
    IdempotencyMismatch,
    InvalidInput,
    QueueNotFound,
    ShuttingDown,
    WorkflowNotFound,
)
from agency.ports.store import RunFilter
from agency.web.addresses import task_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_number_cursor
from agency.web.patience import PATIENCE
from agency.web.problems import problem_answer, problem_of
from agency.web.queries import Query, read_query
from agency.web.routes import Answering, Route
from agency.web.sse import STREAMS, StreamForm, frame, last_event_id

log = logging.getLogger(__name__)

TAG = "tasks"

ATTEMPTS_DEFAULT = 3
"""Tries of a task whose request and workflow say nothing, as in the notes."""
INBOX_ITEMS_MAX = 10
INBOX_RUNS_MAX = 100
"""Newest submissions among which the inbox finds what was completed last."""

_BAD_REQUEST = 400
_clock = SystemClock()

_Key = Annotated[str, Field(pattern="^[!-~]{1,256}$")]


class TaskBody(Body):
    """A task. Its type is the name of a workflow, its payload the workflow's input."""

    type: Name
    payload: Any = Field(default=None, description="Input of the workflow, as its schema says.")
    maxAttempts: Annotated[int, Field(ge=1, le=ATTEMPTS_MAX)] | None = Field(  # noqa: N815
        default=None,
        description="Tries before it is a dead letter; by default the workflow's, "
        f"or {ATTEMPTS_DEFAULT}.",
    )
    scheduleAt: Moment | None = Field(default=None, description="Not begun before.")  # noqa: N815
    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = 0
    idempotencyKey: _Key | None = Field(  # noqa: N815
        default=None, description="The same key and body again give the same task."
    )


class TaskQuery(Query):
    status: list[TaskStatus] = Field(default=[], description="Repeat it to name several.")
    type: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class TaskEventQuery(Query):
    type: Name | None = None
    status: list[TaskStatus] = Field(default=[], description="Repeat it to name several.")
    taskId: Name | None = Field(  # noqa: N815
        default=None, description="Only this task, until it has ended."
    )


def _with_bad_requests(answering: Answering) -> Answering:
    """Answer what is wrong with a request with 400, also a type that there is not."""

    @wraps(answering)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await answering(request)
        except IdempotencyMismatch:
            raise
        except (InvalidInput, WorkflowNotFound, QueueNotFound) as error:
            problem = replace(problem_of(error), status=_BAD_REQUEST)
            return problem_answer(problem, request)

    return answer


@_with_bad_requests
async def submit_task(request: web.Request) -> web.Response:
    """Accept a task; once this is answered it is durable."""
    body = await read_body(request, TaskBody)
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    key = _key_of(request, body)
    wanted = StartRequest(
        workflow=body.type,
        input=body.payload,
        max_attempts=body.maxAttempts,
        attempts_default=ATTEMPTS_DEFAULT,
        available_at=body.scheduleAt,
        priority=body.priority,
        idempotency_key=key,
        request_hash=(
            hash_of(request.method, request.rel_url.raw_path, body, {"idempotencyKey"})
            if key is not None
            else None
        ),
        correlation_id=CORRELATION_ID.get(),
        principal=principal_of(request).name,
    )
    try:
        started = await services.runs.start(wanted)
    except InvalidInput as error:
        if type(error) is not InvalidInput or not error.faults:
            raise
        raise moved(error, _below_payload) from error
    run = started.run
    log.info(
        "Task submitted" if started.is_new else "Task submitted again",
        extra={"task_id": run.id, "type": run.workflow},
    )
    headers = {"Location": task_path(run.id), **replayed(started)}
    return json_answer(submitted_json(run), status=202, headers=headers)


def _key_of(request: web.Request, body: TaskBody) -> str | None:
    """Find the key in the body or in the header, as on other paths.

    Raises:
        InvalidInput: there are two, and they differ.
    """
    given = idempotency_key_of(request)
    if None not in (given, body.idempotencyKey) and given != body.idempotencyKey:
        fault = Fault("/idempotencyKey", "The header Idempotency-Key says something else.")
        raise InvalidInput("There are two idempotency keys that differ.", faults=[fault])
    return given or body.idempotencyKey


def _below_payload(pointer: str) -> str:
    return "/payload" + pointer.removesuffix("/")


@_with_bad_requests
async def list_tasks(request: web.Request) -> web.Response:
    """List tasks, newest first."""
    query = read_query(request, TaskQuery)
    which = RunFilter(statuses=_statuses(query.status), workflow=query.type)
    before = parse_number_cursor("tasks", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].runs.list(which, before=before, limit=query.limit + 1)
    page, cursor = cut_page("tasks", rows, query.limit, lambda run: run.number)
    return json_answer({"items": [task_json(run) for run in page], "nextCursor": cursor})


def _statuses(wanted: Sequence[TaskStatus]) -> frozenset[Any]:
    return frozenset(status for each in wanted for status in run_statuses(each))


async def show_task(request: web.Request) -> web.Response:
    """Read one task."""
    detail = await request.app[SERVICES].runs.get(run_id_of(request.match_info["task_id"]))
    return json_answer(task_json(detail.run))


async def show_task_inbox(request: web.Request) -> web.Response:
    """Read the results of the caller's own tasks that were completed last."""
    which = RunFilter(
        statuses=run_statuses(TaskStatus.COMPLETED), principal=principal_of(request).name
    )
    runs = await request.app[SERVICES].runs.list(which, before=None, limit=INBOX_RUNS_MAX)
    # What another workflow has called is part of that one's result.
    own = [run for run in runs if run.parent_id is None]
    own.sort(key=lambda run: (run.ended_at or run.created_at, run.number), reverse=True)
    items = [inbox_item_json(run) for run in own[:INBOX_ITEMS_MAX]]
    return json_answer({"items": items})


async def cancel_task(request: web.Request) -> web.Response:
    """Cancel a task; 200 when it has ended, 202 while it is being ended."""
    run_id = run_id_of(request.match_info["task_id"])
    runs = request.app[SERVICES].runs
    detail = await runs.cancel(run_id)
    if detail.run.status not in ENDED:
        detail = await request.app[PATIENCE].wait_for(runs, run_id, timeout_s=CANCEL_WAIT_S)
    is_ended = detail.run.status in ENDED
    headers = {"Location": task_path(run_id)}
    return json_answer(task_json(detail.run), status=200 if is_ended else 202, headers=headers)


def _update(update: Update) -> bytes:
    told = update_json(update)
    return frame("task-update", told, update.id) if told else b""


def _hello(after: int) -> bytes:
    return frame("connected", json.encode({"timestamp": to_text(_clock.now())}), after)


def _keep_alive() -> bytes:
    return frame("keep-alive", json.encode({"timestamp": to_text(_clock.now())}))


_TASKS = StreamForm(
    update=_update,
    token=None,
    hello=_hello,
    keep_alive=_keep_alive,
    name="SSE connection",
    has_runs=True,
)


@_with_bad_requests
async def watch_tasks(request: web.Request) -> web.StreamResponse:
    """Stream the changes of tasks."""
    query = read_query(request, TaskEventQuery)
    wanted = UpdateFilter(
        workflow=query.type,
        statuses=_statuses(query.status),
        types=frozenset({UpdateType.STATUS}),
    )
    run_id = run_id_of(query.taskId) if query.taskId is not None else None
    after = last_event_id(request)
    hub = request.app[SERVICES].updates

    async def subscribe(dialect: Dialect) -> Subscription | None:
        if run_id is not None:
            return await hub.subscribe_run(run_id, wanted, dialect, after=after)
        return await hub.subscribe(wanted, dialect, after=after)

    fields = {"path": request.path, "principal": principal_of(request).name, "task_id": run_id}
    return await request.app[STREAMS].answer(request, _TASKS, subscribe, fields=fields)


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="POST",
            path="/api/tasks",
            answer=submit_task,
            operation="submit_task",
            summary="Submit a task",
            description="A task is a run; its type is the name of a workflow. Once this is "
            "answered it is durable.",
            tag=TAG,
            body=TaskBody,
            answers={202: "TaskSubmittedAnswer"},
            problems=(
                errors.WorkflowDisabled,
                errors.QueueFull,
                errors.SessionBusy,
                errors.IdempotencyMismatch,
                errors.ValueTooLarge,
            ),
            examples={"agent": {"type": "agent", "payload": {"message": "What is Rust?"}}},
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path="/api/tasks",
            answer=list_tasks,
            operation="list_tasks",
            summary="List tasks, newest first",
            tag=TAG,
            query=TaskQuery,
            answers={200: "TaskPageAnswer"},
        ),
        Route(
            method="GET",
            path="/api/tasks/inbox",
            answer=show_task_inbox,
            operation="show_task_inbox",
            summary="Read the caller's newest results",
            description=f"The {INBOX_ITEMS_MAX} that were completed last, among the caller's "
            f"{INBOX_RUNS_MAX} newest tasks that are completed.",
            tag=TAG,
            answers={200: "TaskInboxAnswer"},
        ),
        Route(
            method="GET",
            path="/api/tasks/{task_id}",
            answer=show_task,
            operation="show_task",
            summary="Read one task",
            tag=TAG,
            answers={200: "TaskAnswer"},
            problems=(errors.RunNotFound,),
        ),
        *_cancelling(),
        Route(
            method="GET",
            path="/api/task-events",
            answer=watch_tasks,
            operation="watch_tasks",
            summary="Watch tasks",
            description="A stream of server-sent events: `connected`, then a `task-update` with "
            "the task for each change of a status, and `keep-alive` after `[server] heartbeat_s` "
            "without one. Whoever comes back with `Last-Event-ID` gets what was missed. With "
            "`taskId` it ends with the task.",
            tag=TAG,
            query=TaskEventQuery,
            answers={200: None, 204: None},
            problems=(
                errors.RunNotFound,
                errors.UpdatesAhead,
                errors.TooManyStreams,
                errors.ShuttingDown,
            ),
            is_stream=True,
        ),
    )


def _cancelling() -> Sequence[Route]:
    return tuple(
        Route(
            method=method,
            path=path,
            answer=cancel_task,
            operation=operation,
            summary="Cancel a task",
            tag=TAG,
            answers={200: "TaskAnswer", 202: "TaskAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded),
        )
        for method, path, operation in (
            ("POST", "/api/tasks/{task_id}/cancel", "cancel_task"),
            ("DELETE", "/api/tasks/{task_id}", "delete_task"),
        )
    )
