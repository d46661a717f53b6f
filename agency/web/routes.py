"""Routes as data: what is served where, and what the API's document says about it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from aiohttp import hdrs, web

from agency.core.records import dataclass
from agency.errors import AgencyError
from agency.web.answers import SERVICES
from agency.web.bodies import Body
from agency.web.queries import Query

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What works off a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation.

    Attributes:
        operation: Its name in the API's document, for generated clients; never changes.
        answers: By status the name of the body's shape in ``agency.api.answers``; None where
            there is no body. The shapes themselves are loaded when they are asked for.
        problems: Errors of its own; those that every operation may have are added.
        examples: Bodies that work, by name.
        waits: It honours ``Prefer: wait=N``.
        is_conditional: It answers with an ETag and honours ``If-None-Match``.
        is_idempotent: It honours ``Idempotency-Key``.
        gives: Media type of the file that it answers with, or empty.
        takes: Media type of the file that it wants, or empty.
        is_stream: It answers with server-sent events, and goes on from ``Last-Event-ID``.
        is_public: It is answered without a token even where one is needed.
        is_documented: It is part of the API.
    """

    method: str
    path: str
    answer: Answering
    operation: str
    summary: str
    description: str = ""
    tag: str = ""
    body: type[Body] | None = None
    body_may_be_empty: bool = False
    query: type[Query] | None = None
    answers: Mapping[int, str | None] = field(default_factory=dict)
    problems: Sequence[type[AgencyError]] = ()
    examples: Mapping[str, object] = field(default_factory=dict)
    waits: bool = False
    is_conditional: bool = False
    is_idempotent: bool = False
    is_stream: bool = False
    gives: str = ""
    takes: str = ""
    is_public: bool = False
    is_documented: bool = True

    @property
    def template(self) -> str:
        """The path as the API's document writes it, which has no place for patterns of parts."""
        return re.sub(r":[^{}]+}", "}", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A door beside ``/api/v1``, behind the same guard and on the same port.

    Attributes:
        open: Called once with the application before it is served, to put what the routes need
            into it and to register what is to be started and closed with it.
    """

    routes: Sequence[Route]
    open: Callable[[web.Application], None]


def add_routes(application: web.Application, routes: Sequence[Route]) -> None:
    """Serve the routes; what is served for GET is served for HEAD as well."""
    for route in routes:
        resource = application.router.add_resource(route.path)
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        for method in methods:
            resource.add_route(method, route.answer, expect_handler=_expect)


async def _expect(request: web.Request) -> None:
    """Answer ``Expect: 100-continue`` before a body is sent. Source: RFC 9110, section 10.1.1.

    A body that is too large is not asked for; reading it is refused behind the guard. Other
    expectations do not count, as the source allows.
    """
    is_wanted = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
    bytes_max = request.app[SERVICES].settings.server.body_bytes_max
    if is_wanted and (request.content_length or 0) <= bytes_max and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
