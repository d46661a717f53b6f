"""A request as an ASGI application sees it, and the answer that it gives.

The SDK of MCP speaks ASGI. Its answers go out as they come: nothing is gathered, a slow reader
holds its writer up, and a peer that is gone is told at once, by an event.

Source: ASGI 3.0, HTTP connection scope (version 2.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from agency.core.context import CORRELATION_ID
from agency.web.connection import Connection
from agency.web.guard import seal
from agency.web.sse import STALL_S, limit_silence

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_OF_THE_HOP = frozenset({b"connection", b"transfer-encoding", b"content-length"})
"""Headers that the HTTP library writes itself."""


def make_scope(request: web.Request, **more: Any) -> Scope:  # noqa: ANN401  the scope's own members
    """Write down what a request asks for; its body comes apart from it."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    own = transport.get_extra_info("sockname") if transport is not None else None
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.rel_url.raw_path.encode(),
        "query_string": request.rel_url.raw_query_string.encode(),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": tuple(peer[:2]) if isinstance(peer, tuple) else None,
        "server": tuple(own[:2]) if isinstance(own, tuple) else None,
        **more,
    }


class Exchange:
    """One request and its answer.

    Attributes:
        gone: Set when nobody reads the answer any more, or the daemon stops: the application
            hears it as the end of the connection.
        answer: What was answered, once its head is known.
    """

    def __init__(self, request: web.Request, body: bytes) -> None:
        self._request = request
        self._body = body
        self._is_handed_out = False
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self.gone = asyncio.Event()
        self.answer: web.StreamResponse | None = None
        protocol = request.protocol
        if isinstance(protocol, Connection):
            protocol.on_lost = self.gone.set

    @property
    def is_listening(self) -> bool:
        """It waits for what may come one day, which never ends by itself."""
        return self._request.method == hdrs.METH_GET

    async def receive(self) -> Message:
        """Hand out the body, and then wait for the end of the connection."""
        if not self._is_handed_out:
            self._is_handed_out = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a piece of the answer; it has gone out when this returns, or nobody is there."""
        if message["type"] == "http.response.start":
            await self._begin(int(message["status"]), list(message.get("headers", ())))
        elif message["type"] == "http.response.body":
            await self._go_on(bytes(message.get("body", b"")), is_last=not message.get("more_body"))

    async def finish(self) -> web.StreamResponse:
        """Give the whole answer. One that was broken off is ended as far as it has come.

        Raises:
            ConnectionError: nothing was answered.
        """
        if self.answer is None:
            raise ConnectionError("The request was not answered.")
        if self.answer.prepared:
            await self._guarded(self.answer.write_eof())
        return self.answer

    def close(self) -> None:
        """Hear of the connection no more: it may bring other requests."""
        if isinstance(self._request.protocol, Connection):
            self._request.protocol.on_lost = None

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if any(name.lower() == b"content-length" for name, _ in headers):
            # It is whole with its first piece, and goes out in one.
            self._head = (status, headers)
            return
        answer = web.StreamResponse(status=status)
        _put(answer, headers)
        # The guard does it when an answer is whole, which is too late for its head here.
        seal(answer, CORRELATION_ID.get())
        if self._request.version >= HttpVersion11:
            answer.enable_chunked_encoding()
        if self._request.transport is not None:
            limit_silence(self._request.transport)
        self.answer = answer
        await self._guarded(answer.prepare(self._request))

    async def _go_on(self, piece: bytes, *, is_last: bool) -> None:
        if self._head is not None:
            status, headers = self._head
            whole = web.Response(status=status, body=piece)
            _put(whole, headers)
            self._head, self.answer = None, whole
        elif self.answer is not None and piece and not self.gone.is_set():
            await self._guarded(self.answer.write(piece))
        if is_last:
            self._is_handed_out = True

    async def _guarded(self, writing: Awaitable[object]) -> None:
        """Write; who takes nothing for `STALL_S` is cut off."""
        try:
            async with asyncio.timeout(STALL_S):
                await writing
        except ConnectionError:
            self.gone.set()
        except TimeoutError:
            self.gone.set()
            if self._request.transport is not None:
                self._request.transport.abort()


def _put(answer: web.StreamResponse, headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name.lower() not in _OF_THE_HOP:
            answer.headers.add(name.decode("latin-1"), value.decode("latin-1"))
