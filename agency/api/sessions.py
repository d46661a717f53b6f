"""``/api/v1/sessions``: conversations: listed, read, forked at a message, exported, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name
from agency.api.session_files import json_lines, markdown
from agency.api.session_shape import message_json, session_json
from agency.core.ids import new_id
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.session import TITLE_CHARACTERS_MAX
from agency.web.addresses import session_path
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, read_body
from agency.web.files import LINES, MARKDOWN, give_file
from agency.web.paging import cut_page, make_cursor, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "sessions"
PATH = "/api/v1/sessions"

_POSITION_MAX = (1 << 53) - 1

Title = Annotated[str, Field(max_length=TITLE_CHARACTERS_MAX, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class ForkBody(Body):
    """Where a session is to be forked."""

    position: Annotated[int, Field(ge=1, le=_POSITION_MAX)] | None = Field(
        default=None, description="Newest message that the fork has; by default the newest of all."
    )
    session_id: Name | None = Field(
        default=None, description="Id of the fork; by default one is made."
    )
    title: Title | None = Field(default=None, description="By default that of the session.")


class RenameBody(Body):
    """What a session is to be called."""

    title: Title = Field(description="An empty one takes the title away.")


class SessionQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class MessageQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None
    after: Annotated[
        int, Field(ge=0, le=_POSITION_MAX, description="Begin behind this position.")
    ] = 0


async def list_sessions(request: web.Request) -> web.Response:
    """List sessions, those begun last first."""
    query = read_query(request, SessionQuery)
    before = parse_number_cursor("sessions", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].sessions.list(before=before, limit=query.limit + 1)
    page, cursor = cut_page("sessions", rows, query.limit, lambda session: session.number)
    return json_answer({"sessions": [session_json(one) for one in page], "next_cursor": cursor})


async def show_session(request: web.Request) -> web.Response:
    """Read one session."""
    return json_answer(session_json(await request.app[SERVICES].sessions.get(_id(request))))


async def list_messages(request: web.Request) -> web.Response:
    """Read what was said, from the beginning."""
    query = read_query(request, MessageQuery)
    cursor = query.cursor
    after = query.after if cursor is None else parse_number_cursor("messages", cursor)
    sessions = request.app[SERVICES].sessions
    session = await sessions.get(_id(request))
    found = await sessions.page(session.id, after=after, limit=query.limit)
    end = after + query.limit
    # By position, and not by what was found: a page may have gaps.
    cursor = make_cursor("messages", str(end)) if end < session.newest else None
    return json_answer(
        {"messages": [message_json(message) for message in found], "next_cursor": cursor}
    )


async def fork_session(request: web.Request) -> web.Response:
    """Make a session that goes on from one of the messages of another."""
    body = await read_body(request, ForkBody, may_be_empty=True)
    services = request.app[SERVICES]
    session = await services.sessions.fork(
        _id(request),
        at=body.position,
        new_id=body.session_id or new_id(),
        title=body.title,
        now=services.clock.now(),
    )
    headers = {"Location": session_path(session.id)}
    return json_answer(session_json(session), status=201, headers=headers)


async def rename_session(request: web.Request) -> web.Response:
    """Give a session another title."""
    body = await read_body(request, RenameBody)
    session = await request.app[SERVICES].sessions.rename(_id(request), body.title)
    return json_answer(session_json(session))


async def delete_session(request: web.Request) -> web.Response:
    """Delete a session."""
    services = request.app[SERVICES]
    session_id = _id(request)
    forks = await services.sessions.delete(session_id, now=services.clock.now())
    return json_answer({"session_id": session_id, "deleted": True, "kept_for_forks": forks})


async def export_session(request: web.Request) -> web.StreamResponse:
    """Give a session as JSON lines."""
    sessions = request.app[SERVICES].sessions
    session = await sessions.get(_id(request))
    return await give_file(
        request, json_lines(sessions, session), name=f"session-{session.number}.jsonl"
    )


async def show_transcript(request: web.Request) -> web.StreamResponse:
    """Give a session as Markdown."""
    sessions = request.app[SERVICES].sessions
    session = await sessions.get(_id(request))
    return await give_file(
        request,
        markdown(sessions, session),
        name=f"session-{session.number}.md",
        media_type=MARKDOWN,
    )


def _id(request: web.Request) -> str:
    # Nothing longer has ever been stored; what cannot be written as UTF-8 would not be looked for.
    text = request.match_info["session_id"][: NAME_CHARACTERS_MAX + 1]
    return text.encode("utf-8", "replace").decode()


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{session_id}"
    missing = (errors.SessionNotFound,)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_sessions,
            operation="list_sessions",
            summary="List sessions, those begun last first",
            description="A session is there once something was said in it.",
            tag=TAG,
            query=SessionQuery,
            answers={200: "SessionPageAnswer"},
        ),
        Route(
            method="GET",
            path=one,
            answer=show_session,
            operation="show_session",
            summary="Read a session",
            tag=TAG,
            answers={200: "SessionAnswer"},
            problems=missing,
        ),
        Route(
            method="PATCH",
            path=one,
            answer=rename_session,
            operation="rename_session",
            summary="Give a session another title",
            tag=TAG,
            body=RenameBody,
            answers={200: "SessionAnswer"},
            problems=missing,
            examples={"a title": {"title": "Where to go in May"}},
        ),
        Route(
            method="DELETE",
            path=one,
            answer=delete_session,
            operation="delete_session",
            summary="Delete a session",
            description="Its runs stay. What forks of it read is kept until the last of them is "
            "deleted.",
            tag=TAG,
            answers={200: "SessionDeletedAnswer"},
            problems=(*missing, errors.SessionInUse),
        ),
        Route(
            method="GET",
            path=one + "/messages",
            answer=list_messages,
            operation="list_session_messages",
            summary="Read what was said, from the beginning",
            tag=TAG,
            query=MessageQuery,
            answers={200: "MessagePageAnswer"},
            problems=missing,
        ),
        Route(
            method="POST",
            path=one + "/fork",
            answer=fork_session,
            operation="fork_session",
            summary="Go on from one of the messages in another session",
            description="Nothing is copied, however long it is. Both go on apart.",
            tag=TAG,
            body=ForkBody,
            body_may_be_empty=True,
            answers={201: "SessionAnswer"},
            problems=(
                *missing,
                errors.MessageNotFound,
                errors.SessionExists,
                errors.SessionTooDeep,
                errors.StoreFull,
            ),
            examples={"at the fourth message": {"position": 4, "title": "The other way"}},
        ),
        Route(
            method="GET",
            path=one + "/export",
            answer=export_session,
            operation="export_session",
            summary="Give a session as JSON lines",
            description='The first line is the session, the last one `{"end": true}`.',
            tag=TAG,
            answers={200: None},
            problems=missing,
            gives=LINES,
        ),
        Route(
            method="GET",
            path=one + "/transcript",
            answer=show_transcript,
            operation="show_transcript",
            summary="Give a session as Markdown",
            tag=TAG,
            answers={200: None},
            problems=missing,
            gives=MARKDOWN,
        ),
    )
