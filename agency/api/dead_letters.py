"""``/api/v1/dead-letters``: runs that have used up their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name, run_id_of
from agency.api.lineage import Attempts, DryBody, RetryBody, answer_with, retry_wish_of
from agency.api.run_shape import run_json, run_row_json
from agency.domain.run import RunStatus
from agency.engine.dead_letters import DeadFilter, Swept
from agency.engine.lineage import RetryWish
from agency.errors import Fault, InvalidInput
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import read_body
from agency.web.paging import cut_page, make_cursor, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "dead letters"
PATH = "/api/v1/dead-letters"
_LIST = "dead-letters"


class DeadQuery(Query):
    workflow: Name | None = None
    queue: Name | None = None
    code: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="Code of the error that they have ended with."
    )
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class ManyBody(DryBody):
    """Which dead letters are meant: those that fit all that is given, or ``all``."""

    workflow: Name | None = None
    queue: Name | None = None
    code: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="Code of the error that they have ended with."
    )
    all: bool = Field(default=False, description="Wanted where nothing else is given.")
    cursor: Cursor = None


class RequeueManyBody(ManyBody):
    """Which dead letters are requeued, and how often each is tried."""

    max_attempts: Attempts | None = None


async def list_dead(request: web.Request) -> web.Response:
    """List dead letters, newest first."""
    query = read_query(request, DeadQuery)
    services = request.app[SERVICES]
    before = parse_number_cursor(_LIST, query.cursor) if query.cursor is not None else None
    which = DeadFilter(workflow=query.workflow, queue=query.queue, code=query.code)
    rows = await services.dead_letters.list(which, before=before, limit=query.limit + 1)
    page, cursor = cut_page(_LIST, rows, query.limit, lambda run: run.number)
    counts = await services.count_by_status()
    return json_answer(
        {
            "dead_letters": [run_row_json(run) for run in page],
            "count": counts.get(RunStatus.DEAD_LETTER, 0),
            "next_cursor": cursor,
        }
    )


async def show_dead(request: web.Request) -> web.Response:
    """Read one dead letter."""
    return json_answer(run_json(await request.app[SERVICES].dead_letters.get(_run_id(request))))


async def requeue_dead(request: web.Request) -> web.Response:
    """Let a dead letter go on from what has failed."""
    run_id = _run_id(request)
    body = await read_body(request, RetryBody, may_be_empty=True)
    wish = retry_wish_of(request, body)
    done = await request.app[SERVICES].dead_letters.requeue(run_id, wish, dry_run=body.dry_run)
    return answer_with(done, run_id, "requeue", dry_run=body.dry_run)


async def discard_dead(request: web.Request) -> web.Response:
    """Give a dead letter up."""
    body = await read_body(request, DryBody, may_be_empty=True)
    detail = await request.app[SERVICES].dead_letters.discard(
        _run_id(request), principal=principal_of(request).name, dry_run=body.dry_run
    )
    return json_answer(run_json(detail))


async def requeue_many(request: web.Request) -> web.Response:
    """Requeue dead letters, a bounded number for each request."""
    body = await read_body(request, RequeueManyBody)
    wish = RetryWish(max_attempts=body.max_attempts, principal=principal_of(request).name)
    swept = await request.app[SERVICES].dead_letters.requeue_all(
        _filter_of(body), wish, before=_before(body), dry_run=body.dry_run
    )
    return json_answer(_swept_json("requeued", swept, dry_run=body.dry_run))


async def discard_many(request: web.Request) -> web.Response:
    """Give dead letters up, a bounded number for each request."""
    body = await read_body(request, ManyBody)
    swept = await request.app[SERVICES].dead_letters.discard_all(
        _filter_of(body),
        principal=principal_of(request).name,
        before=_before(body),
        dry_run=body.dry_run,
    )
    return json_answer(_swept_json("discarded", swept, dry_run=body.dry_run))


def _filter_of(body: ManyBody) -> DeadFilter:
    which = DeadFilter(workflow=body.workflow, queue=body.queue, code=body.code)
    if which == DeadFilter() and not body.all:
        fault = Fault("/all", "Say `all`, or which ones are meant.")
        raise InvalidInput("The request does not say which dead letters it means.", faults=[fault])
    return which


def _before(body: ManyBody) -> int | None:
    return None if body.cursor is None else parse_number_cursor(_LIST, body.cursor)


def _swept_json(word: str, swept: Swept, *, dry_run: bool) -> dict[str, Any]:
    return {
        word: swept.done,
        "refused": dict(swept.refused),
        "dry_run": dry_run,
        "next_cursor": None if swept.before is None else make_cursor(_LIST, str(swept.before)),
    }


def _run_id(request: web.Request) -> str:
    return run_id_of(request.match_info["run_id"])


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{run_id}"
    many: dict[str, Any] = {"method": "POST", "tag": TAG}
    bounded = (
        "Each stands for itself: `refused` counts those that were not, by the code of the reason. "
        "A bounded number is looked at; send the request again with `next_cursor` as `cursor` for "
        "the rest."
    )
    known: Sequence[type[errors.AgencyError]] = (errors.RunNotFound, errors.NotADeadLetter)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_dead,
            operation="list_dead_letters",
            summary="List runs that have used up their attempts, newest first",
            tag=TAG,
            query=DeadQuery,
            answers={200: "DeadLetterPageAnswer"},
        ),
        Route(
            **many,
            path=f"{PATH}/requeue",
            answer=requeue_many,
            operation="requeue_dead_letters",
            summary="Requeue dead letters",
            description=bounded,
            body=RequeueManyBody,
            answers={200: "RequeuedAnswer"},
            problems=(errors.ShuttingDown,),
            examples={"workflow": {"workflow": "order"}},
        ),
        Route(
            **many,
            path=f"{PATH}/discard",
            answer=discard_many,
            operation="discard_dead_letters",
            summary="Give dead letters up",
            description=bounded,
            body=ManyBody,
            answers={200: "DiscardedAnswer"},
            examples={"workflow": {"workflow": "order"}},
        ),
        Route(
            method="GET",
            path=one,
            answer=show_dead,
            operation="show_dead_letter",
            summary="Read one dead letter",
            tag=TAG,
            answers={200: "RunAnswer"},
            problems=known,
        ),
        Route(
            **many,
            path=f"{one}/requeue",
            answer=requeue_dead,
            operation="requeue_dead_letter",
            summary="Let a dead letter go on from what has failed",
            body=RetryBody,
            body_may_be_empty=True,
            answers={200: "VerbAnswer", 202: "VerbAnswer"},
            problems=(
                *known,
                errors.RunNotRetryable,
                errors.RunChanged,
                errors.RunHasParent,
                errors.NameTaken,
                errors.SessionBusy,
                errors.WorkflowNotFound,
            ),
        ),
        Route(
            **many,
            path=f"{one}/discard",
            answer=discard_dead,
            operation="discard_dead_letter",
            summary="Give a dead letter up",
            description="It is cancelled; its error keeps the one that it had.",
            body=DryBody,
            body_may_be_empty=True,
            answers={200: "RunAnswer"},
            problems=known,
        ),
    )
