"""``/openapi.json`` and ``/docs``: what the daemon can do, told by itself and without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from aiohttp import web

from agency.core import json
from agency.core.records import dataclass
from agency.web.addresses import DOCS
from agency.web.answers import SERVICES, json_answer
from agency.web.etags import etag_of, is_match
from agency.web.routes import Route

OPENAPI = "/openapi.json"


@dataclass(frozen=True, slots=True)
class _Made:
    """A document that is made once and then only sent."""

    body: bytes
    headers: Mapping[str, str]


class Documents:
    """The API's document and the page that shows it, made when first asked for."""

    def __init__(self, routes: Sequence[Route], *, version: str) -> None:
        self._routes = routes
        self._version = version
        self._openapi: _Made | None = None
        self._page: _Made | None = None

    def openapi(self) -> _Made:
        """Make the API's document."""
        if self._openapi is None:
            # The shapes of answers are only needed here, and would cost a start 40 ms.
            from agency.api import answers
            from agency.web.openapi import make_document

            document = make_document(self._routes, shapes=vars(answers), version=self._version)
            body = json.encode(document)
            self._openapi = _made(body, {"Content-Type": "application/json"})
        return self._openapi

    def page(self) -> _Made:
        """Make the page: one file, its style and script inside and allowed by their hashes."""
        if self._page is None:
            folder = files("agency.web") / "static"
            style, script, frame = (
                (folder / name).read_text(encoding="utf-8")
                for name in ("docs.css", "docs.js", "docs.html")
            )
            body = frame.replace("/*style*/", style).replace("/*script*/", script).encode()
            policy = (
                f"default-src 'none'; style-src '{_source(style)}'; "
                f"script-src '{_source(script)}'; "
                "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'"
            )
            headers = {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": policy,
                "Referrer-Policy": "no-referrer",
                "X-Frame-Options": "DENY",
            }
            self._page = _made(body, headers)
        return self._page


DOCUMENTS = web.AppKey("documents", Documents)


async def show_openapi(request: web.Request) -> web.Response:
    """Send the API's document."""
    return _send(request, request.app[DOCUMENTS].openapi())


async def show_docs(request: web.Request) -> web.Response:
    """Send the page that shows the API's document."""
    return _send(request, request.app[DOCUMENTS].page())


async def show_root(request: web.Request) -> web.StreamResponse:
    """Show the way: people to the page, programs to the addresses."""
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=302, headers={"Location": DOCS})
    answer = {
        "service": "agency-daemon",
        "version": request.app[SERVICES].version,
        "links": {"docs": DOCS, "openapi": OPENAPI, "health": "/health", "runs": "/api/v1/runs"},
    }
    return json_answer(answer)


def _made(body: bytes, headers: Mapping[str, str]) -> _Made:
    return _Made(body, {**headers, "ETag": etag_of(body), "Cache-Control": "no-cache"})


def _send(request: web.Request, made: _Made) -> web.Response:
    condition = request.headers.get("If-None-Match")
    if condition is not None and is_match(condition, made.headers["ETag"]):
        kept = {name: made.headers[name] for name in ("ETag", "Cache-Control")}
        return web.Response(status=304, headers=kept)
    return web.Response(body=made.body, headers=made.headers)


def _source(text: str) -> str:
    """Name an inline script or style by its hash. Source: CSP Level 3, section 2.3.1."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def routes() -> Sequence[Route]:
    """List what is served here."""
    return tuple(
        Route(
            method="GET",
            path=path,
            answer=answer,
            operation=operation,
            summary=summary,
            is_public=True,
            is_documented=False,
        )
        for path, answer, operation, summary in (
            (OPENAPI, show_openapi, "show_openapi", "The API's document"),
            (DOCS, show_docs, "show_docs", "The page that shows it"),
            ("/", show_root, "show_root", "Where to begin"),
        )
    )
