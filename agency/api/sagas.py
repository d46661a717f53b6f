"""``/api/v1/sagas``: legs that are all done, or taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name, WorkflowId, run_id_of
from agency.api.run_shape import run_json, run_row_json
from agency.api.runs import ReasonBody
from agency.api.saga_shape import saga_json, saga_row_json, saga_run_json
from agency.api.starting import below_input, replayed, start
from agency.core.limits import CANCEL_WAIT_S, NAME_CHARACTERS_MAX
from agency.domain.run import ENDED, RunStatus
from agency.engine.runs import StartRequest
from agency.errors import SagaNotFound, ShuttingDown
from agency.ports.store import RunFilter
from agency.web.addresses import saga_path, saga_run_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, NoBody, read_body
from agency.web.paging import cut_page, parse_cursor, parse_number_cursor
from agency.web.patience import PATIENCE
from agency.web.preferences import Preference, preference_of
from agency.web.queries import Query, read_query
from agency.web.routes import Route
from agency.workflows.saga.leg import ID, NAME
from agency.workflows.saga.sagas import SagaRun

TAG = "sagas"
PATH = "/api/v1/sagas"
RUN = f"{PATH}/runs/{{run_id}}"

_JsonObject = dict[str, Any]


class SagaBody(Body):
    """A saga: its legs in order, each with an action and what takes it back.

    Texts may hold references: ``${input.x}``, ``${results.leg.y}``; in compensations also
    ``${result.x}``, ``${error.message}`` and ``${action_key}``; everywhere ``${run_id}`` and
    ``${idempotency_key}``.
    """

    name: Annotated[
        str, Field(description="What it is called.", json_schema_extra={"pattern": NAME.pattern})
    ]
    legs: list[Any] = Field(
        description="Each a leg `{id, action, compensation?, retry?, timeout_s?, …}`, or "
        "`{parallel: [leg, …]}`. Actions have the kind http, agent, workflow or function.",
        json_schema_extra={
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": ID.pattern},
                    "action": {"type": "object"},
                    "compensation": {"type": "object"},
                    "parallel": {"type": "array", "items": {"type": "object"}},
                },
            }
        },
    )
    version: str | None = Field(
        default=None, description="A label; the version is made of it and a hash of the content."
    )
    description: str = ""
    timeout_s: float | None = Field(
        default=None, description="A run that has not completed after this is compensated."
    )
    input: _JsonObject | None = Field(default=None, description="JSON Schema of the input.")
    output: Any = Field(
        default=None, description="Template of the output; without it the results by leg."
    )


class SagaStartBody(Body):
    """A run of a saga."""

    input: Any = Field(default=None, description="Input of the saga, as its schema says.")
    name: WorkflowId | None = Field(
        default=None, description="The caller's own name for the run, unique among live runs."
    )
    timeout_s: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)] | None = Field(
        default=None, description="Seconds after which it is compensated if it has not completed."
    )


class SagaQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class SagaRunQuery(Query):
    status: list[RunStatus] = Field(default=[], description="Repeat it to name several.")
    name: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def define_saga(request: web.Request) -> web.Response:
    """Store a saga; new runs are of this version."""
    body = await read_body(request, SagaBody)
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    declaration = body.model_dump(mode="json", exclude_unset=True)
    known = await services.sagas.define(declaration, by=principal_of(request).name)
    status = 201 if known.is_new else 200
    headers = {"Location": saga_path(known.definition.name)}
    return json_answer(saga_json(known), status=status, headers=headers)


async def list_sagas(request: web.Request) -> web.Response:
    """List sagas by name."""
    query = read_query(request, SagaQuery)
    after = parse_cursor("sagas", query.cursor) if query.cursor is not None else None
    found = request.app[SERVICES].sagas.list(after=after, limit=query.limit + 1)
    page, cursor = cut_page("sagas", found, query.limit, lambda known: known.definition.name)
    return json_answer({"sagas": [saga_row_json(known) for known in page], "next_cursor": cursor})


async def show_saga(request: web.Request) -> web.Response:
    """Read one saga."""
    return json_answer(saga_json(request.app[SERVICES].sagas.get(_name(request))))


async def delete_saga(request: web.Request) -> web.Response:
    """Forget a stored saga; refused while a run needs it."""
    name = _name(request)
    await request.app[SERVICES].sagas.delete(name)
    return json_answer({"name": name, "deleted": True})


async def start_saga(request: web.Request) -> web.Response:
    """Start a run of a saga."""
    services = request.app[SERVICES]
    name = _name(request)
    services.sagas.get(name)
    body = await read_body(request, SagaStartBody, may_be_empty=True)
    preference = preference_of(request)
    wanted = StartRequest(workflow=name, input=body.input, name=body.name, timeout_s=body.timeout_s)
    started = await start(request, body, wanted, where_of=below_input)
    detail = await request.app[PATIENCE].wait_for(
        services.runs, started.run.id, timeout_s=preference.wait_s
    )
    headers = {
        "Location": saga_run_path(started.run.id),
        **preference.applied,
        **replayed(started),
    }
    status = 200 if detail.run.status in ENDED else 202
    return json_answer(run_json(detail), status=status, headers=headers)


async def list_saga_runs(request: web.Request) -> web.Response:
    """List the runs of a saga, newest first."""
    name = _name(request)
    query = read_query(request, SagaRunQuery)
    services = request.app[SERVICES]
    which = RunFilter(workflow=name, statuses=frozenset(query.status), name=query.name)
    before = parse_number_cursor("saga-runs", query.cursor) if query.cursor is not None else None
    rows = await services.runs.list(which, before=before, limit=query.limit + 1)
    if not rows:
        services.sagas.get(name)
    page, cursor = cut_page("saga-runs", rows, query.limit, lambda run: run.number)
    return json_answer({"runs": [run_row_json(run) for run in page], "next_cursor": cursor})


async def show_saga_run(request: web.Request) -> web.Response:
    """Read a run of a saga with its legs."""
    services = request.app[SERVICES]
    run_id = run_id_of(request.match_info["run_id"])
    preference = preference_of(request)
    found = await services.sagas.status(run_id)
    if preference.wait_s > 0:
        await request.app[PATIENCE].wait_for(services.runs, run_id, timeout_s=preference.wait_s)
        found = await services.sagas.status(run_id)
    return json_answer(saga_run_json(found), headers=preference.applied)


async def abort_saga(request: web.Request) -> web.Response:
    """Stop a run, and take back what it has done."""
    run_id = run_id_of(request.match_info["run_id"])
    body = await read_body(request, ReasonBody, may_be_empty=True)
    preference = preference_of(request, default_s=CANCEL_WAIT_S)
    sagas = request.app[SERVICES].sagas
    is_aborted = await sagas.abort(run_id, reason=body.reason)
    found = await _settled(request, run_id, preference)
    answer = {**saga_run_json(found), "aborted": is_aborted}
    return _steered(found, answer, preference)


async def retry_compensation(request: web.Request) -> web.Response:
    """Try once more to take back what could not be taken back."""
    run_id = run_id_of(request.match_info["run_id"])
    await read_body(request, NoBody, may_be_empty=True)
    preference = preference_of(request, default_s=CANCEL_WAIT_S)
    await request.app[SERVICES].sagas.retry_compensation(run_id)
    found = await _settled(request, run_id, preference)
    return _steered(found, saga_run_json(found), preference)


async def _settled(request: web.Request, run_id: str, preference: Preference) -> SagaRun:
    """Wait a moment for the end, which mostly comes soon."""
    services = request.app[SERVICES]
    await request.app[PATIENCE].wait_for(services.runs, run_id, timeout_s=preference.wait_s)
    return await services.sagas.status(run_id)


def _steered(found: SagaRun, answer: dict[str, Any], preference: Preference) -> web.Response:
    run = found.detail.run
    status = 200 if run.status in ENDED else 202
    headers = {"Location": saga_run_path(run.id), **preference.applied}
    return json_answer(answer, status=status, headers=headers)


def _name(request: web.Request) -> str:
    name: str = request.match_info["name"]
    if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise SagaNotFound(name[:NAME_CHARACTERS_MAX])
    return name


def routes() -> Sequence[Route]:
    """List what is served here."""
    path = f"{PATH}/{{name}}"
    return (
        Route(
            method="POST",
            path=PATH,
            answer=define_saga,
            operation="define_saga",
            summary="Define a saga, or a new version of one",
            description="New runs are of this version; those that have begun keep theirs. The same "
            "definition again changes nothing.",
            tag=TAG,
            body=SagaBody,
            answers={200: "SagaAnswer", 201: "SagaAnswer"},
            problems=(errors.WorkflowNameTaken, errors.TooManyDefinitions),
            examples={
                "order": {
                    "name": "order-processing",
                    "legs": [
                        {
                            "id": "reserve_inventory",
                            "action": {
                                "kind": "http",
                                "url": "http://127.0.0.1:9000/reservations",
                                "body": {"items": "${input.items}"},
                            },
                            "compensation": {
                                "kind": "http",
                                "method": "DELETE",
                                "url": "http://127.0.0.1:9000/reservations/${result.body.id}",
                            },
                        }
                    ],
                }
            },
        ),
        Route(
            method="GET",
            path=PATH,
            answer=list_sagas,
            operation="list_sagas",
            summary="List sagas by name",
            tag=TAG,
            query=SagaQuery,
            answers={200: "SagaPageAnswer"},
        ),
        Route(
            method="GET",
            path=RUN,
            answer=show_saga_run,
            operation="show_saga_run",
            summary="Read a run of a saga with its legs",
            tag=TAG,
            answers={200: "SagaRunAnswer"},
            problems=(errors.RunNotFound,),
            waits=True,
        ),
        Route(
            method="POST",
            path=f"{RUN}/abort",
            answer=abort_saga,
            operation="abort_saga",
            summary="Stop a run of a saga, and take back what it has done",
            description="A run that compensates already goes on with it; `aborted` is false then.",
            tag=TAG,
            body=ReasonBody,
            body_may_be_empty=True,
            answers={200: "AbortedAnswer", 202: "AbortedAnswer"},
            problems=(errors.RunNotFound, errors.RunEnded),
            waits=True,
        ),
        Route(
            method="POST",
            path=f"{RUN}/retry-compensation",
            answer=retry_compensation,
            operation="retry_compensation",
            summary="Retry the compensations of a run that have failed",
            description="Only what could not be taken back is tried again.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "SagaRunAnswer", 202: "SagaRunAnswer"},
            problems=(errors.RunNotFound, errors.CompensationNotFailed, errors.NameTaken),
            waits=True,
        ),
        Route(
            method="GET",
            path=path,
            answer=show_saga,
            operation="show_saga",
            summary="Read one saga",
            tag=TAG,
            answers={200: "SagaAnswer"},
            problems=(errors.SagaNotFound,),
        ),
        Route(
            method="DELETE",
            path=path,
            answer=delete_saga,
            operation="delete_saga",
            summary="Delete a stored saga",
            description="Refused while a run of it has not ended, or may retry its compensation.",
            tag=TAG,
            answers={200: "SagaDeletedAnswer"},
            problems=(
                errors.SagaNotFound,
                errors.DefinitionNotStored,
                errors.DefinitionInUse,
                errors.DefinitionNotFound,
            ),
        ),
        Route(
            method="POST",
            path=f"{path}/start",
            answer=start_saga,
            operation="start_saga",
            summary="Start a run of a saga",
            description="Once this is answered the work is durable.",
            tag=TAG,
            body=SagaStartBody,
            body_may_be_empty=True,
            answers={200: "RunAnswer", 202: "RunAnswer"},
            problems=(
                errors.SagaNotFound,
                errors.WorkflowNotFound,
                errors.WorkflowDisabled,
                errors.NameTaken,
                errors.IdempotencyMismatch,
                errors.ValueTooLarge,
            ),
            examples={"order": {"input": {"items": 5}}},
            waits=True,
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path=f"{path}/runs",
            answer=list_saga_runs,
            operation="list_saga_runs",
            summary="List the runs of a saga, newest first",
            tag=TAG,
            query=SagaRunQuery,
            answers={200: "RunPageAnswer"},
            problems=(errors.SagaNotFound,),
        ),
    )
