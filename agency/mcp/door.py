"""The MCP door: what is served at ``/mcp``, and its life from the first request to the last.

Nothing of the SDK (64 MB, 0.7 s to load) is loaded before somebody asks, and then in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agency.core.context import CORRELATION_ID
from agency.core.records import dataclass
from agency.engine.offers import Offers
from agency.errors import ShuttingDown
from agency.mcp.asgi import Exchange, make_scope
from agency.mcp.caller import CALLER, Caller
from agency.mcp.means import Means
from agency.web.access import Access
from agency.web.answers import SERVICES, principal_of
from agency.web.bodies import check_depth, read_raw
from agency.web.patience import PATIENCE
from agency.web.published import Publication
from agency.web.routes import Door, Route

if TYPE_CHECKING:
    from agency.mcp.server import Opened

log = logging.getLogger(__name__)

PATH = "/mcp"

CALLS_GRACE_S = 0.5
"""When the daemon stops, calls have so long to be answered with where their runs are."""

CLOSE_S = 1.0
"""Longest wait for the sessions to end."""

OpenServer = Callable[[Means], AbstractAsyncContextManager["Opened"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class McpDoor:
    """Makes the door."""

    publication: Publication
    offers: Offers
    load_key: Callable[[], bytes]

    def door(self) -> Door:
        """Give the routes, and what opens them."""
        mount = Mount(self)
        return Door(routes=_routes(mount), open=mount.open)


class Mount:
    """The server of MCP behind the routes: opened when it is first asked, closed with the doors."""

    def __init__(self, made_of: McpDoor) -> None:
        """Take what may be started, and what is offered."""
        self._made_of = made_of
        self._exchanges: set[Exchange] = set()
        self._owner: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Opened] | None = None
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_over = False

    def open(self, application: web.Application) -> None:
        """Register what is to be closed with the application."""
        services = application[SERVICES]
        self._access = Access(services.settings.server, services.tokens)
        self._means = Means(
            services=services,
            publication=self._made_of.publication,
            offers=self._made_of.offers,
            load_key=self._made_of.load_key,
            patience=application[PATIENCE],
        )
        application.on_shutdown.append(self._end)
        application.cleanup_ctx.append(self._closed)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of an MCP client.

        Raises:
            ShuttingDown: the daemon stops.
            OriginRefused: it comes from a page of another site.
            BodyTooLarge, BodyLate, BodyMalformed, ContentTypeRefused: its body cannot be read.
        """
        # The guard lets pages of other sites read; the protocol does not.
        # Source: MCP 2025-11-25, transports, security warning.
        self._access.check_origin("POST", request.headers)
        body = await read_raw(request)
        check_depth(body)
        opened = await self._server()
        principal = principal_of(request)
        caller = Caller(
            principal=principal.name,
            has_token=principal.has_token,
            correlation_id=CORRELATION_ID.get(),
        )
        exchange = Exchange(request, body)
        if self._is_over:
            raise ShuttingDown
        self._exchanges.add(exchange)
        self._idle.clear()
        try:
            scope = make_scope(request, **{CALLER: caller})
            await opened.serve(scope, exchange.receive, exchange.send)
            return await exchange.finish()
        finally:
            exchange.close()
            self._exchanges.discard(exchange)
            if not self._exchanges:
                self._idle.set()

    async def _server(self) -> Opened:
        """Give the server; whoever asks first has it opened."""
        if self._is_over:
            raise ShuttingDown
        if self._owner is None or self._owner.done():
            self._opened = asyncio.get_running_loop().create_future()
            # Its task is no request's: what the SDK opens has to be closed by the same task.
            self._owner = asyncio.create_task(self._own(self._opened), name="mcp")
        assert self._opened is not None
        waiting: set[asyncio.Future[Any]] = {self._opened, self._owner}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._is_over:
            raise ShuttingDown
        if not self._opened.done():
            await self._owner  # raises what has gone wrong
        return self._opened.result()

    async def _own(self, opened: asyncio.Future[Opened]) -> None:
        module = await asyncio.to_thread(importlib.import_module, "agency.mcp.server")
        open_server: OpenServer = module.open_server
        async with open_server(self._means) as server:
            opened.set_result(server)
            await self._stop.wait()

    async def _end(self, _: web.Application) -> None:
        """Let calls be answered, end all streams; called when the server begins to close."""
        self._is_over = True
        if self._opened is not None and self._opened.done() and not self._opened.cancelled():
            self._opened.result().end_streams()
        for exchange in tuple(self._exchanges):
            if exchange.is_listening:
                exchange.gone.set()
        if self._exchanges:
            with suppress(TimeoutError):
                async with asyncio.timeout(CALLS_GRACE_S):
                    await self._idle.wait()
        for exchange in tuple(self._exchanges):
            exchange.gone.set()
        await self._close()

    async def _closed(self, _: web.Application) -> AsyncIterator[None]:
        yield
        await self._close()

    async def _close(self) -> None:
        self._is_over = True
        self._stop.set()
        owner, self._owner = self._owner, None
        if owner is None:
            return
        await asyncio.wait([owner], timeout=CLOSE_S)
        owner.cancel()
        await asyncio.wait([owner])
        if not owner.cancelled() and (error := owner.exception()) is not None:
            log.error("MCP was not closed properly", exc_info=error)


def _routes(mount: Mount) -> tuple[Route, ...]:
    return tuple(
        Route(
            method=method,
            path=PATH,
            answer=mount.answer,
            operation=f"mcp_{method.lower()}",
            summary="Speak MCP",
            is_documented=False,
        )
        for method in ("POST", "GET", "DELETE")
    )
