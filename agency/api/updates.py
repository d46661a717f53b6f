"""``/api/v1/updates`` and ``/api/v1/runs/{run_id}/updates``: what happens, as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import AfterValidator, Field

from agency import errors
from agency.api.fields import Name, run_id_of
from agency.core import json
from agency.core.clock import to_text
from agency.domain.run import ENDED, RunStatus
from agency.domain.update import Update, UpdateFilter, UpdateType
from agency.engine.channel import Dialect, Subscription, Token
from agency.web.answers import SERVICES, json_answer
from agency.web.queries import Query, read_query
from agency.web.routes import Route
from agency.web.sse import STREAMS, StreamForm, frame, last_event_id

TAG = "updates"
FILTER_TAGS_MAX = 32

_After = Annotated[int, Field(ge=0, lt=1 << 63)]


def _has_name(tag: str) -> str:
    if not tag.partition("=")[0] or "=" not in tag:
        raise ValueError("write it as NAME=VALUE")
    return tag


_Tag = Annotated[str, Field(max_length=512), AfterValidator(_has_name)]


class RunUpdateQuery(Query):
    type: list[UpdateType | Literal["token"]] = Field(
        default=[], description="Only these; repeat it to name several. The end is always told."
    )
    after: _After | None = Field(
        default=None,
        description="Begin after the update of this id; 0 from the start. Without it, and without "
        "`Last-Event-ID`, it begins now.",
    )


class UpdateQuery(Query):
    workflow: Name | None = None
    status: list[RunStatus] = Field(
        default=[], description="Status of the run from the update on; repeat it to name several."
    )
    queue: Name | None = None
    session_id: Name | None = None
    tag: list[_Tag] = Field(
        default=[],
        max_length=FILTER_TAGS_MAX,
        description="Label of the run as NAME=VALUE; of several it must have all.",
    )
    type: list[UpdateType] = Field(default=[], description="Only these; repeat it to name several.")
    after: _After | None = Field(
        default=None,
        description="Begin after the update of this id; 0 from the start. Without it, and without "
        "`Last-Event-ID`, it begins now.",
    )


def update_json(update: Update) -> bytes:
    """Write an update as JSON. Its data is JSON already and is put in as it is."""
    data = None if update.data is None else orjson.Fragment(update.data)
    made = {
        "id": update.id,
        "type": update.type,
        "run_id": update.run_id,
        "name": update.name,
        "workflow": update.workflow,
        "queue": update.queue,
        "session_id": update.session_id,
        "status": update.status,
        "key": update.key,
        "data": data,
        "data_bytes": update.data_bytes,
        "at": to_text(update.at),
    }
    return json.encode(made)


def _update(update: Update) -> bytes:
    return frame("run_update", update_json(update), update.id)


def _token(token: Token) -> bytes:
    told = {"run_id": token.run_id, "key": token.step, "text": token.text}
    return frame("token", json.encode(told))


def _hello(after: int) -> bytes:
    # With its id, so that whoever is cut off before the first update comes back to the same place.
    return frame("connected", json.encode({"after": after}), after)


_ALL = StreamForm(update=_update, token=None, hello=_hello)
_RUN = StreamForm(update=_update, token=_token, hello=_hello)
_RUN_WITHOUT_TOKENS = StreamForm(update=_update, token=None, hello=_hello)


async def watch_runs(request: web.Request) -> web.StreamResponse:
    """Stream the updates of all runs."""
    query = read_query(request, UpdateQuery)
    wanted = UpdateFilter(
        workflow=query.workflow,
        statuses=frozenset(query.status),
        queue=query.queue,
        session_id=query.session_id,
        tags=frozenset((tag.partition("=")[0], tag.partition("=")[2]) for tag in query.tag),
        types=frozenset(query.type),
    )
    after = _begin(request, query.after)
    hub = request.app[SERVICES].updates

    async def subscribe(dialect: Dialect) -> Subscription:
        return await hub.subscribe(wanted, dialect, after=after)

    fields = {"filters": request.rel_url.raw_query_string[:256]}
    return await request.app[STREAMS].answer(request, _ALL, subscribe, fields=fields)


async def watch_run(request: web.Request) -> web.StreamResponse:
    """Stream the updates of one run until it has ended."""
    run_id = run_id_of(request.match_info["run_id"])
    query = read_query(request, RunUpdateQuery)
    types = frozenset(UpdateType(each) for each in query.type if each != "token")
    wanted = UpdateFilter(types=types)
    if query.type and not types:
        # Tokens alone: of the updates only the end is told.
        wanted = UpdateFilter(types=frozenset({UpdateType.STATUS}), statuses=ENDED)
    form = _RUN if not query.type or "token" in query.type else _RUN_WITHOUT_TOKENS
    after = _begin(request, query.after)
    hub = request.app[SERVICES].updates

    async def subscribe(dialect: Dialect) -> Subscription | None:
        return await hub.subscribe_run(run_id, wanted, dialect, after=after)

    fields = {"run_id": run_id}
    return await request.app[STREAMS].answer(request, form, subscribe, fields=fields)


async def list_hooks(request: web.Request) -> web.Response:
    """List how far the hooks of authors have come."""
    found = [
        {
            "name": one.name,
            "position": one.position,
            "calls": one.calls,
            "skipped": one.skipped,
            "changed_at": to_text(one.changed_at),
        }
        for one in await request.app[SERVICES].updates.hooks()
    ]
    return json_answer({"hooks": found})


def _begin(request: web.Request, after: int | None) -> int | None:
    """Whoever comes back has a header that is newer than the address that it began with."""
    last = last_event_id(request)
    return after if last is None else last


_STREAM = (
    "A stream of server-sent events. First comes `connected`, then a `run_update` for each update, "
    "with its id; after `[server] heartbeat_s` without one there is a comment. Ids rise over all "
    "runs, also over restarts: whoever comes back with `Last-Event-ID`, as browsers do by "
    "themselves, gets what was missed. Data of more than 4 KiB is left out, and `data_bytes` tells "
    "its length. "
)


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path="/api/v1/updates",
            answer=watch_runs,
            operation="watch_runs",
            summary="Watch all runs",
            description=_STREAM,
            tag=TAG,
            query=UpdateQuery,
            answers={200: None},
            problems=(errors.UpdatesAhead, errors.TooManyStreams, errors.ShuttingDown),
            is_stream=True,
        ),
        Route(
            method="GET",
            path="/api/v1/runs/{run_id}/updates",
            answer=watch_run,
            operation="watch_run",
            summary="Watch one run until it has ended",
            description=_STREAM
            + "The end of the run is always told, and then the stream ends; whoever comes back "
            "after it gets 204. What a model says is shown as `token` events, which have no id and "
            "are not kept.",
            tag=TAG,
            query=RunUpdateQuery,
            answers={200: None, 204: None},
            problems=(
                errors.RunNotFound,
                errors.UpdatesAhead,
                errors.TooManyStreams,
                errors.ShuttingDown,
            ),
            is_stream=True,
        ),
        Route(
            method="GET",
            path="/api/v1/hooks",
            answer=list_hooks,
            operation="list_hooks",
            summary="See how far the hooks of authors have come",
            description="Functions that `on_update` has marked. `skipped` counts the updates that "
            "one could not take, each of which was logged.",
            tag=TAG,
            answers={200: "HooksAnswer"},
        ),
    )
