"""``/api/v1/runs/{run_id}/push``: which addresses are told of a run over A2A, and how that goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, run_id_of
from agency.core.clock import to_text
from agency.domain.push import Push
from agency.web.addresses import run_path
from agency.web.answers import SERVICES, json_answer
from agency.web.paging import cut_page, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route


class PushQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def list_pushes(request: web.Request) -> web.Response:
    """List the push notifications of a run, in the order in which they were set."""
    run_id = run_id_of(request.match_info["run_id"])
    query = read_query(request, PushQuery)
    after = parse_number_cursor("pushes", query.cursor) if query.cursor is not None else 0
    services = request.app[SERVICES]
    rows = await services.pushes.list(run_id, after=after, limit=query.limit + 1)
    if not rows:
        await services.runs.get(run_id)  # refused if there is no such run
    page, cursor = cut_page("pushes", rows, query.limit, lambda push: push.number)
    return json_answer({"pushes": [_push_json(push) for push in page], "next_cursor": cursor})


def _push_json(push: Push) -> dict[str, Any]:
    return {
        "id": push.id,
        "task_id": push.task_id,
        "url": push.url,
        "protocol": push.protocol,
        "state": push.state,
        "delivered_to": push.position,
        "sent": push.sent,
        "skipped": push.skipped,
        "tries": push.tries,
        "next_try_at": None if push.due_at is None else to_text(push.due_at),
        "last_error": push.error or None,
        "last_error_at": None if push.error_at is None else to_text(push.error_at),
        "last_sent_at": None if push.sent_at is None else to_text(push.sent_at),
        "created_at": to_text(push.created_at),
        "links": {"run": run_path(push.run_id)},
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path="/api/v1/runs/{run_id}/push",
            answer=list_pushes,
            operation="list_pushes",
            summary="Which addresses are told of a run over A2A, and how far that has come",
            description="They are set over A2A. Tokens and credentials are not shown.",
            tag="runs",
            query=PushQuery,
            answers={200: "PushPageAnswer"},
            problems=(errors.RunNotFound,),
        ),
    )
