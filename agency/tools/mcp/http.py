"""MCP over HTTP: addresses that were judged, and what became of each request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from agency.core.addresses import HostRule, Lookup, resolve_checked
from agency.core.json import NotJson, decode
from agency.errors import AddressRefused, HostNotFound
from agency.tools.mcp.refusals import Refusals
from agency.tools.mcp.sent import Sent, key_in

SSE_EVENT_BYTES_MAX = 8 << 20
"""Largest event of a stream that a server answers with, as with messages on stdio."""

BODY_BYTES_MAX = 8 << 20
"""Largest answer that is not a stream, for the same reason."""

_NOT_DONE = frozenset({401, 403, 404, 405, 407, 413, 415, 421, 429, 503})
"""Statuses with which a server says that it has not begun with the request."""

_STREAM = "text/event-stream"

PLAIN = "identity"
"""The one coding of answers that is taken."""


@asynccontextmanager
async def http_streams(
    url: str,
    *,
    headers: Mapping[str, str],
    guard: Sequence[HostRule] | None,
    connect_timeout_s: float,
    sent: Sent,
    refusals: Refusals,
    login: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None = None,
) -> AsyncIterator[tuple[Any, Any]]:
    """Give the pair of streams that a client of the SDK reads and writes.

    Args:
        guard: Private places that may be connected to; None lets any address be connected to.
        login: Puts something around the transport that shows tokens.
    """
    watched = _Watched(guard, sent, refusals)
    transport = watched if login is None else login(watched)
    # Reading has no limit here: each call has its own, and streams may be silent.
    timeout = httpx2.Timeout(connect_timeout_s, read=None)
    async with (
        httpx2.AsyncClient(
            transport=transport, headers=dict(headers), timeout=timeout, trust_env=False
        ) as client,
        streamable_http_client(
            url, http_client=client, max_sse_event_size=SSE_EVENT_BYTES_MAX
        ) as streams,
    ):
        yield streams


class _Watched(httpx2.AsyncBaseTransport):
    """Connects to addresses that were judged, and notes what has left and what was refused."""

    def __init__(self, guard: Sequence[HostRule] | None, sent: Sent, refusals: Refusals) -> None:
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)
        self._guard = guard
        self._sent = sent
        self._refusals = refusals

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        key = _key_of(request)
        # A small answer could else become one of gigabytes while it is read.
        request.headers["Accept-Encoding"] = PLAIN
        try:
            if key:
                # Noted when it is written: until then, there may not even be a connection.
                request.extensions = {**request.extensions, "trace": _Trace(self._sent, key)}
            response = await send_judged(self._inner, request, self._guard)
        except (AddressRefused, HostNotFound) as error:
            self._refusals.reason = error.message
            if isinstance(error, AddressRefused):
                self._refusals.reason += " Name it in [mcp] allow_private if it is meant."
            raise httpx2.ConnectError(error.message, request=request) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            self._sent.forget(key)
            told = str(error) or type(error).__name__
            self._refusals.reason = f"no connection to the server: {told}"
            raise
        if response.status_code >= 400:
            self._refusals.status = response.status_code
        if response.status_code in _NOT_DONE:
            self._sent.forget(key)
        if response.headers.get("content-encoding", PLAIN).strip().lower() != PLAIN:
            await response.aclose()
            self._refusals.reason = "it compresses its answers, although it was asked not to"
            raise httpx2.ReadError(self._refusals.reason, request=request)
        if not response.headers.get("content-type", "").startswith(_STREAM):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream, self._refusals)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def send_judged(
    inner: httpx2.AsyncBaseTransport,
    request: httpx2.Request,
    guard: Sequence[HostRule] | None,
    *,
    lookup: Lookup | None = None,
) -> httpx2.Response:
    """Send a request to an address that was judged, in the place of the name.

    A name may have addresses of both kinds, and its server listen on one of them only: the first
    that takes a connection is used.

    Args:
        guard: Private places that may be connected to; None sends to the name, wherever it leads.
        lookup: Resolves names otherwise than the system does, for tests.

    Raises:
        AddressRefused, HostNotFound: as `agency.core.addresses.resolve_checked`.
    """
    if guard is None:
        return await inner.handle_async_request(request)
    url = request.url
    port = url.port or (443 if url.scheme == "https" else 80)
    *others, last = await resolve_checked(url.host, port, private=guard, lookup=lookup)
    # The header Host was made of the name, and the certificate is checked against it.
    request.extensions = {**request.extensions, "sni_hostname": url.host}
    for one in others:
        request.url = url.copy_with(host=one.address)
        try:
            return await inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            continue
    request.url = url.copy_with(host=last.address)
    return await inner.handle_async_request(request)


class _Trace:
    """Notes the moment in which a request begins to be written."""

    def __init__(self, sent: Sent, key: str) -> None:
        self._sent = sent
        self._key = key

    async def __call__(self, event: str, _: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self._sent.add(self._key)


class _Bounded(httpx2.AsyncByteStream):
    """A body that is not read beyond the limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, refusals: Refusals) -> None:
        self._stream = stream
        self._refusals = refusals

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > BODY_BYTES_MAX:
                self._refusals.reason = f"its answer has more than {BODY_BYTES_MAX} bytes"
                raise httpx2.ReadError(self._refusals.reason)
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _key_of(request: httpx2.Request) -> str:
    """Find the idempotency key of a call in its body; empty for what is no call."""
    if request.method != "POST":
        return ""
    try:
        content = decode(request.content)
    except NotJson:
        return ""
    if not isinstance(content, dict) or content.get("method") != "tools/call":
        return ""
    return key_in(content.get("params"))
