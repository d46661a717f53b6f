"""One HTTP connection: how long it may say nothing, and what it hears when it speaks no HTTP.

What the parser of the HTTP library refuses never becomes a request, so the guard does not see it.
The library itself would answer with plain text that shows its version, and log a traceback with
the offending line in it, which may hold a token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agency.core import json
from agency.core.clock import SystemClock, to_text
from agency.core.context import CORRELATION_ID
from agency.core.limits import IDLE_CONNECTION_S
from agency.errors import AgencyError, InternalError, RequestRefused, TooManyConnections
from agency.web.correlation import CorrelationIds
from agency.web.guard import seal
from agency.web.problems import MEDIA_TYPE, problem_document, problem_of

log = logging.getLogger(__name__)

_OPTIONS: Mapping[str, Any] = {"access_log": None, "keepalive_timeout": IDLE_CONNECTION_S}
"""The library's types do not know that there may be no access log; the guard logs requests."""


class Connection(web.RequestHandler):
    """A connection that is closed when it brings no whole head of a request in time.

    From its opening, and from each answer, it has `IDLE_CONNECTION_S`. That covers idle
    connections as well as heads that come byte by byte; bodies have a limit of their own.

    Attributes:
        on_lost: Called when the caller hangs up, for who answers the present request.
    """

    __slots__ = ("_free_since_s", "_ids", "_look_handle", "on_lost")

    def __init__(self, server: web.Server, *, ids: CorrelationIds) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, **_OPTIONS)
        self._ids = ids
        self.on_lost: Callable[[], None] | None = None
        self._free_since_s = loop.time()
        self._look_handle = loop.call_later(IDLE_CONNECTION_S, self._look)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._look_handle.cancel()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """Note the end of an answer."""
        self.on_lost = None
        self._free_since_s = self._loop.time()

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401  the library's
        """Log a failure of the library, except what a caller's broken body has caused."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and what went wrong outside of the guard, with a problem."""
        correlation_id = self._ids.of({})
        CORRELATION_ID.set(correlation_id)
        error: AgencyError
        if isinstance(exc, HttpProcessingError):
            reason = _reason(exc)
            log.info("request refused", extra={"reason": reason, "peer": request.remote})
            error = RequestRefused(f"The request is not sound HTTP: {reason}.")
        else:
            log.error("request failed outside of the guard", exc_info=exc)
            error = InternalError()
        if request.writer.output_size > 0:
            raise ConnectionError("A part of another answer was sent already.")
        problem = problem_of(error)
        response = web.Response(
            body=_encode(error, instance=request.rel_url.raw_path),
            status=problem.status,
            headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"},
        )
        seal(response, correlation_id)
        response.force_close()
        return response

    def _look(self) -> None:
        wait_s = IDLE_CONNECTION_S
        if not self._request_in_progress:
            wait_s = self._free_since_s + IDLE_CONNECTION_S - self._loop.time()
            if wait_s <= 0:
                self.force_close()
                return
        self._look_handle = self._loop.call_later(wait_s, self._look)


class Refusal(asyncio.Protocol):
    """Answers a connection that is one too many, without reading its request."""

    def __init__(self, connections_max: int, *, ids: CorrelationIds) -> None:
        self._connections_max = connections_max
        self._ids = ids

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        correlation_id = self._ids.of({})
        CORRELATION_ID.set(correlation_id)
        error = TooManyConnections(self._connections_max)
        problem = problem_of(error)
        body = _encode(error, instance="/")
        head = [
            f"HTTP/1.1 {problem.status} Service Unavailable",
            f"Content-Type: {MEDIA_TYPE}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            f"X-Correlation-ID: {correlation_id}",
            *(f"{name}: {value}" for name, value in problem.headers.items()),
        ]
        transport.write("\r\n".join([*head, "", ""]).encode() + body)
        transport.close()


def _reason(error: HttpProcessingError) -> str:
    # What follows the colon, and further lines, quote the request.
    return error.message.partition("\n")[0].partition(":")[0].rstrip(".") or "malformed"


def _encode(error: AgencyError, *, instance: str) -> bytes:
    timestamp = to_text(SystemClock().now())
    return json.encode(problem_document(problem_of(error), instance=instance, timestamp=timestamp))
