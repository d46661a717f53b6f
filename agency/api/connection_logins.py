"""``/api/v1/connections/{id}/login``: logins at servers of tools, and where browsers come back."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.connections import PATH, TAG
from agency.core.clock import to_text
from agency.domain.login import LoginStarted, LoginView
from agency.errors import AgencyError
from agency.ports.connection import Connections
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, NoBody, read_body
from agency.web.problems import problem_of
from agency.web.routes import Route

RETURNED_CHARACTERS_MAX = 16 * 1024
"""Longest address that a browser brings back: a code may be as long as a token."""

_HEADERS = {
    # What is in the address must go nowhere else.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""


class LoginReturnBody(Body):
    """What the browser was sent back with."""

    returned: Annotated[str, Field(min_length=1, max_length=RETURNED_CHARACTERS_MAX)] = Field(
        description="The whole address that the browser has ended up at."
    )


def _connections(request: web.Request) -> Connections:
    connections = request.app[SERVICES].connections
    assert connections is not None
    return connections


def _key(request: web.Request) -> str:
    return request.match_info["id"]


def _started_json(started: LoginStarted) -> dict[str, Any]:
    return {
        "url": started.url,
        "redirect_uri": started.redirect_uri,
        "issuer": started.issuer,
        "scope": started.scope,
        "expires_at": to_text(started.expires_at),
    }


def _view_json(view: LoginView) -> dict[str, Any]:
    return {
        "state": view.state.value,
        "reason": view.reason,
        "issuer": view.issuer,
        "scope": view.scope,
        "expires_at": None if view.expires_at is None else to_text(view.expires_at),
    }


async def show_login(request: web.Request) -> web.Response:
    """Tell how a connection stands with its login."""
    return json_answer(_view_json(await _connections(request).login(_key(request))))


async def begin_login(request: web.Request) -> web.Response:
    """Begin a login."""
    await read_body(request, NoBody, may_be_empty=True)
    started = await _connections(request).begin_login(_key(request))
    return json_answer(_started_json(started), status=201)


async def finish_login(request: web.Request) -> web.Response:
    """Finish a login with the address that the browser has ended up at."""
    body = await read_body(request, LoginReturnBody)
    connections = _connections(request)
    await connections.finish_login(_key(request), body.returned)
    return json_answer(_view_json(await connections.login(_key(request))))


async def forget_login(request: web.Request) -> web.Response:
    """Log out."""
    connections = _connections(request)
    await connections.forget_login(_key(request))
    return json_answer(_view_json(await connections.login(_key(request))))


async def come_back(request: web.Request) -> web.Response:
    """Take a browser that an authorization server has sent back, and tell the person.

    It has no token; what shows that it was sent is the state in its address.
    """
    if request.method != "GET":
        # Programs that look at addresses before people do must not use the code up.
        return web.Response(headers=_HEADERS)
    try:
        await _connections(request).finish_login(
            _key(request), str(request.rel_url)[:RETURNED_CHARACTERS_MAX]
        )
    except AgencyError as error:
        return _page("Not logged in", error.message, status=problem_of(error).status)
    return _page("Logged in", "You can close this window; the connection is being opened.")


def _page(title: str, text: str, *, status: int = 200) -> web.Response:
    page = _PAGE.format(title=html.escape(title), text=html.escape(text))
    return web.Response(text=page, status=status, content_type="text/html", headers=_HEADERS)


def routes() -> Sequence[Route]:
    """List what is served here."""
    login = f"{PATH}/{{id}}/login"
    unknown = (errors.ConnectionNotFound, errors.VaultLocked)
    return (
        Route(
            method="GET",
            path=login,
            answer=show_login,
            operation="show_connection_login",
            summary="Tell how a connection stands with the login at its server",
            tag=TAG,
            answers={200: "ConnectionLoginAnswer"},
            problems=unknown,
        ),
        Route(
            method="POST",
            path=login,
            answer=begin_login,
            operation="begin_connection_login",
            summary="Begin a login at the server of a connection",
            description="Open `url` in a browser. It comes back to `redirect_uri`, which is this "
            "daemon; where it cannot get there, send the address that it has ended up at to "
            "`…/login/finish`. What was begun before cannot be finished any more.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={201: "ConnectionLoginStartedAnswer"},
            problems=(*unknown, errors.LoginFailed),
        ),
        Route(
            method="POST",
            path=f"{login}/finish",
            answer=finish_login,
            operation="finish_connection_login",
            summary="Finish a login with the address that the browser has ended up at",
            tag=TAG,
            body=LoginReturnBody,
            answers={200: "ConnectionLoginAnswer"},
            problems=(*unknown, errors.LoginFailed),
            examples={
                "returned": {
                    "returned": "http://127.0.0.1:7400/api/v1/connections/search/callback"
                    "?code=abc&state=xyz"
                }
            },
        ),
        Route(
            method="DELETE",
            path=login,
            answer=forget_login,
            operation="forget_connection_login",
            summary="Log out: take the tokens back where that is offered, and forget them",
            tag=TAG,
            answers={200: "ConnectionLoginAnswer"},
            problems=unknown,
        ),
        Route(
            method="GET",
            path=f"{PATH}/{{id}}/callback",
            answer=come_back,
            operation="finish_connection_login_in_browser",
            summary="Where browsers come back to after a login",
            tag=TAG,
            is_public=True,
            is_documented=False,
        ),
    )
