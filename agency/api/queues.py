"""``/api/v1/queues``: where runs wait, and what operators do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit
from agency.core.clock import to_text
from agency.core.limits import SUSPEND_WAIT_S
from agency.core.names import is_queue_name
from agency.domain.queue import Queue
from agency.domain.run import LIVE, RunStatus
from agency.errors import QueueNotFound
from agency.web.addresses import queue_path
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import NoBody, read_body
from agency.web.paging import cut_page, parse_cursor
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "queues"
PATH = "/api/v1/queues"


class QueueQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def list_queues(request: web.Request) -> web.Response:
    """List queues by name."""
    query = read_query(request, QueueQuery)
    after = parse_cursor("queues", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].queues.list(after=after, limit=query.limit + 1)
    page, cursor = cut_page("queues", rows, query.limit, lambda queue: queue.name)
    return json_answer({"queues": [queue_json(queue) for queue in page], "next_cursor": cursor})


async def show_queue(request: web.Request) -> web.Response:
    """Read one queue."""
    return json_answer(queue_json(await request.app[SERVICES].queues.get(_name_of(request))))


async def pause_queue(request: web.Request) -> web.Response:
    """Let nothing of the queue be taken up."""
    await read_body(request, NoBody, may_be_empty=True)
    return json_answer(queue_json(await request.app[SERVICES].queues.pause(_name_of(request))))


async def resume_queue(request: web.Request) -> web.Response:
    """Let the queue be worked off again."""
    await read_body(request, NoBody, may_be_empty=True)
    return json_answer(queue_json(await request.app[SERVICES].queues.resume(_name_of(request))))


async def drain_queue(request: web.Request) -> web.Response:
    """Pause the queue; 200 when nothing of it runs, 202 while something does."""
    await read_body(request, NoBody, may_be_empty=True)
    queues = request.app[SERVICES].queues
    name = _name_of(request)
    preference = preference_of(request, default_s=SUSPEND_WAIT_S)
    queue = await request.app[PATIENCE].hold(
        queues.drain(name, timeout_s=preference.wait_s),
        otherwise=lambda: queues.get(name),
        timeout_s=preference.wait_s,
    )
    if queue.count(RunStatus.RUNNING) == 0:
        return json_answer(queue_json(queue), headers=preference.applied)
    headers = {"Location": queue_path(name), **preference.applied}
    return json_answer(queue_json(queue), status=202, headers=headers)


def queue_json(queue: Queue) -> dict[str, Any]:
    """Make the JSON of a queue. Limits that are null do not limit."""
    limits = queue.limits
    path = queue_path(queue.name)
    return {
        "name": queue.name,
        "paused": queue.is_paused,
        "paused_at": None if queue.paused_at is None else to_text(queue.paused_at),
        "concurrency": limits.concurrency,
        "rate": limits.rate,
        "rate_period_s": limits.rate_period_s,
        "size_max": limits.size_max,
        "runs": {
            status.value: queue.count(status) for status in RunStatus if _is_told(queue, status)
        },
        "links": {
            "self": path,
            "pause": f"{path}/pause",
            "resume": f"{path}/resume",
            "drain": f"{path}/drain",
        },
    }


def _is_told(queue: Queue, status: RunStatus) -> bool:
    return status in LIVE or queue.count(status) > 0


def _name_of(request: web.Request) -> str:
    name = request.match_info["name"]
    if not is_queue_name(name):
        raise QueueNotFound(name[:64])
    return name


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{name}"
    problems = (errors.QueueNotFound,)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_queues,
            operation="list_queues",
            summary="List queues by name, with how many runs they hold",
            tag=TAG,
            query=QueueQuery,
            answers={200: "QueuePageAnswer"},
        ),
        Route(
            method="GET",
            path=one,
            answer=show_queue,
            operation="show_queue",
            summary="Read one queue",
            tag=TAG,
            answers={200: "QueueAnswer"},
            problems=problems,
        ),
        Route(
            method="POST",
            path=f"{one}/pause",
            answer=pause_queue,
            operation="pause_queue",
            summary="Let nothing of a queue be taken up until it is resumed",
            description="It stays paused over restarts. Runs that are worked on go on, new ones "
            "are accepted.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "QueueAnswer"},
            problems=problems,
        ),
        Route(
            method="POST",
            path=f"{one}/resume",
            answer=resume_queue,
            operation="resume_queue",
            summary="Let a queue be worked off again",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "QueueAnswer"},
            problems=problems,
        ),
        Route(
            method="POST",
            path=f"{one}/drain",
            answer=drain_queue,
            operation="drain_queue",
            summary="Pause a queue, and wait until nothing of it runs",
            description="Answered with 202 if something still runs after 5 seconds, or "
            "`Prefer: wait=N`; ask again.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "QueueAnswer", 202: "QueueAnswer"},
            problems=problems,
            waits=True,
        ),
    )
