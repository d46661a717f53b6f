"""``/api/v1/schedules``: runs that the clock starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Moment, Name
from agency.api.run_shape import location, run_row_json
from agency.api.schedule_shape import firing_json, schedule_json
from agency.api.starting import REPLAYED, idempotency_key_of, request_hash_of
from agency.core.clock import to_text
from agency.core.context import CORRELATION_ID
from agency.core.names import QUEUE_NAME
from agency.domain.firing import (
    CATCH_UP_MAX,
    CRON_CHARACTERS_MAX,
    INTERVAL_S_MAX,
    INTERVAL_S_MIN,
    JITTER_S_MAX,
)
from agency.domain.schedule import CatchUp, Overlap, ScheduleSpec
from agency.engine.schedules import RunNow
from agency.errors import Fault, InvalidInput, ScheduleNotFound, ShuttingDown
from agency.web.addresses import schedule_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, NoBody, read_body
from agency.web.paging import cut_page, parse_cursor, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "schedules"
PATH = "/api/v1/schedules"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a schedule may be called: it is part of addresses, logs and shell commands."""

_Tags = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64)],
        Annotated[str, Field(max_length=256)],
    ],
    Field(max_length=31),
]
_QueueName = Annotated[str, Field(pattern=f"^{QUEUE_NAME.pattern}$")]


class ScheduleBody(Body):
    """A schedule: either ``cron`` or ``interval_s`` says when, the rest says what and how."""

    workflow: Name
    input: Any = Field(
        default=None, description="Input of each run, as the workflow's schema says."
    )
    cron: Annotated[str, Field(max_length=CRON_CHARACTERS_MAX)] | None = Field(
        default=None, description="Five fields, or six with seconds first."
    )
    zone: Annotated[str, Field(max_length=64)] = Field(
        default="UTC", description="IANA name of the time zone that cron is meant in."
    )
    interval_s: Annotated[float, Field(ge=INTERVAL_S_MIN, le=INTERVAL_S_MAX)] | None = Field(
        default=None, description="Seconds between two firings."
    )
    anchor_at: Moment | None = Field(
        default=None,
        description="Intervals are counted from here; by default from when it is made.",
    )
    starts_at: Moment | None = Field(default=None, description="Nothing is fired before.")
    ends_at: Moment | None = Field(
        default=None, description="Nothing is fired at this moment or later."
    )
    jitter_s: Annotated[float, Field(ge=0, le=JITTER_S_MAX)] = Field(
        default=0.0, description="Each firing is put off by its own part of this."
    )
    catch_up: Annotated[CatchUp, Field(strict=False)] = Field(
        default=CatchUp.ONCE, description="What becomes of firings that were missed."
    )
    catch_up_max: Annotated[int, Field(ge=1, le=CATCH_UP_MAX)] = Field(
        default=10, description="Missed firings that `all` makes up for at most."
    )
    overlap: Annotated[Overlap, Field(strict=False)] = Field(
        default=Overlap.SKIP, description="What becomes of a firing while an earlier run is live."
    )
    queue: _QueueName | None = Field(
        default=None, description="Queue of the runs; by default the workflow's."
    )
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Attempts of each run; by default the workflow's."
    )
    tags: _Tags = Field(default_factory=dict, description="Up to 31 labels of each run.")


class PauseBody(Body):
    """Why a schedule is paused."""

    reason: Annotated[str, Field(max_length=1024)] = Field(
        default="", description="It is recorded and shown."
    )


class ScheduleQuery(Query):
    workflow: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class FiringQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class NextQuery(Query):
    count: Annotated[int, Field(ge=1, le=100, description="How many moments.")] = 10


async def put_schedule(request: web.Request) -> web.Response:
    """Make a schedule, or replace it."""
    name = request.match_info["name"]
    if _NAME.fullmatch(name) is None:
        fault = Fault(
            "name",
            "1 to 128 letters, digits, dots, dashes and underscores are needed, the first of them "
            "a letter or digit.",
        )
        raise InvalidInput(f"{name[:128]!r} cannot be the name of a schedule.", faults=[fault])
    body = await read_body(request, ScheduleBody)
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    values = {field: getattr(body, field) for field in ScheduleBody.model_fields}
    schedule, is_new = await services.schedules.put(
        ScheduleSpec(name=name, **values), principal=principal_of(request).name
    )
    headers = {"Location": schedule_path(name)} if is_new else {}
    return json_answer(schedule_json(schedule), status=201 if is_new else 200, headers=headers)


async def list_schedules(request: web.Request) -> web.Response:
    """List schedules by name."""
    query = read_query(request, ScheduleQuery)
    after = parse_cursor("schedules", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].schedules.list(
        workflow=query.workflow, after=after, limit=query.limit + 1
    )
    page, cursor = cut_page("schedules", rows, query.limit, lambda schedule: schedule.spec.name)
    found = [schedule_json(schedule, has_input=False) for schedule in page]
    return json_answer({"schedules": found, "next_cursor": cursor})


async def show_schedule(request: web.Request) -> web.Response:
    """Read one schedule."""
    return json_answer(schedule_json(await request.app[SERVICES].schedules.get(_name(request))))


async def delete_schedule(request: web.Request) -> web.Response:
    """Delete a schedule; its runs stay."""
    name = _name(request)
    await request.app[SERVICES].schedules.delete(name)
    return json_answer({"name": name, "deleted": True})


async def pause_schedule(request: web.Request) -> web.Response:
    """Let a schedule fire nothing."""
    body = await read_body(request, PauseBody, may_be_empty=True)
    schedules = request.app[SERVICES].schedules
    return json_answer(schedule_json(await schedules.pause(_name(request), reason=body.reason)))


async def resume_schedule(request: web.Request) -> web.Response:
    """Let a schedule fire again."""
    await read_body(request, NoBody, may_be_empty=True)
    return json_answer(schedule_json(await request.app[SERVICES].schedules.resume(_name(request))))


async def run_schedule(request: web.Request) -> web.Response:
    """Start a run of a schedule at once."""
    body = await read_body(request, NoBody, may_be_empty=True)
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    key = idempotency_key_of(request)
    wanted = RunNow(
        idempotency_key=key,
        request_hash=request_hash_of(request, body) if key is not None else None,
        correlation_id=CORRELATION_ID.get(),
        principal=principal_of(request).name,
    )
    run, is_new = await services.schedules.run_now(_name(request), wanted)
    headers = {**location(run), **({} if is_new else {REPLAYED: "true"})}
    return json_answer(run_row_json(run), status=202, headers=headers)


async def list_next(request: web.Request) -> web.Response:
    """List the next moments that are expected."""
    name = _name(request)
    query = read_query(request, NextQuery)
    moments = await request.app[SERVICES].schedules.next_times(name, limit=query.count)
    return json_answer({"name": name, "next": [to_text(moment) for moment in moments]})


async def list_firings(request: web.Request) -> web.Response:
    """List what became of expected firings, newest first."""
    query = read_query(request, FiringQuery)
    before = parse_number_cursor("firings", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].schedules.firings(
        _name(request), before=before, limit=query.limit + 1
    )
    page, cursor = cut_page("firings", rows, query.limit, lambda firing: firing.number)
    found = [firing_json(firing) for firing in page]
    return json_answer({"firings": found, "next_cursor": cursor})


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    if _NAME.fullmatch(name) is None:
        raise ScheduleNotFound(name[:128])
    return name


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{name}"
    missing = (errors.ScheduleNotFound,)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_schedules,
            operation="list_schedules",
            summary="List schedules by name",
            description="Without their input, which may be large.",
            tag=TAG,
            query=ScheduleQuery,
            answers={200: "SchedulePageAnswer"},
        ),
        Route(
            method="PUT",
            path=one,
            answer=put_schedule,
            operation="put_schedule",
            summary="Make a schedule, or replace it",
            description="The same body again changes nothing. Another one counts from now on; "
            "what was dealt with is not fired again.",
            tag=TAG,
            body=ScheduleBody,
            answers={200: "ScheduleAnswer", 201: "ScheduleAnswer"},
            problems=(
                errors.WorkflowNotFound,
                errors.WorkflowDisabled,
                errors.QueueNotFound,
                errors.ValueTooLarge,
                errors.TooManySchedules,
                errors.StoreFull,
                errors.ShuttingDown,
            ),
            examples={
                "nightly": {
                    "workflow": "report",
                    "cron": "30 2 * * *",
                    "zone": "Europe/Berlin",
                },
                "every five minutes": {"workflow": "poll", "interval_s": 300, "overlap": "skip"},
            },
        ),
        Route(
            method="GET",
            path=one,
            answer=show_schedule,
            operation="show_schedule",
            summary="Read a schedule",
            tag=TAG,
            answers={200: "ScheduleAnswer"},
            problems=missing,
        ),
        Route(
            method="DELETE",
            path=one,
            answer=delete_schedule,
            operation="delete_schedule",
            summary="Delete a schedule",
            description="Its ledger goes with it, its runs stay.",
            tag=TAG,
            answers={200: "ScheduleDeletedAnswer"},
            problems=missing,
        ),
        Route(
            method="POST",
            path=one + "/pause",
            answer=pause_schedule,
            operation="pause_schedule",
            summary="Let a schedule fire nothing until it is resumed",
            description="What it would have fired is recorded as skipped.",
            tag=TAG,
            body=PauseBody,
            body_may_be_empty=True,
            answers={200: "ScheduleAnswer"},
            problems=missing,
        ),
        Route(
            method="POST",
            path=one + "/resume",
            answer=resume_schedule,
            operation="resume_schedule",
            summary="Let a schedule fire again",
            description="Nothing that came due while it was paused is made up for.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "ScheduleAnswer"},
            problems=missing,
        ),
        Route(
            method="POST",
            path=one + "/run",
            answer=run_schedule,
            operation="run_schedule",
            summary="Start a run of a schedule at once",
            description="Paused or not, and beside a live run also where the policy is `skip`. "
            "The plan stays as it is.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={202: "RunRowAnswer"},
            problems=(
                *missing,
                errors.WorkflowNotFound,
                errors.WorkflowDisabled,
                errors.QueueNotFound,
                errors.QueueFull,
                errors.IdempotencyMismatch,
                errors.StoreFull,
                errors.ShuttingDown,
            ),
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path=one + "/next",
            answer=list_next,
            operation="list_next_firings",
            summary="List the next moments at which a schedule is expected to fire",
            description="Jitter is left out.",
            tag=TAG,
            query=NextQuery,
            answers={200: "NextFiringsAnswer"},
            problems=missing,
        ),
        Route(
            method="GET",
            path=one + "/firings",
            answer=list_firings,
            operation="list_firings",
            summary="List what became of a schedule's firings, newest first",
            tag=TAG,
            query=FiringQuery,
            answers={200: "FiringPageAnswer"},
            problems=missing,
        ),
    )
