"""HTTP to agents of other systems: judged addresses, bounded answers, and no redirects.

This module loads httpx; see `agency.tools.a2a.agents` for when.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from functools import cache

import httpx

from agency.core.addresses import Endpoint, Lookup, resolve_checked
from agency.errors import AddressRefused, HostNotFound
from agency.tools.a2a.places import Place
from agency.version import VERSION

ANSWER_BYTES_MAX = 8 << 20
"""Largest answer, and largest event of a stream: it becomes one entry of a journal."""

STREAM_BYTES_MAX = 256 << 20
"""All that is read of one stream; it is opened anew after that."""

CONNECT_S = 10.0

PLAIN = "identity"
"""The one coding of answers that is taken: a small one could else become gigabytes."""

_STREAM = "text/event-stream"


class NotAllowed(Exception):
    """A request was not made; the text says why."""


class Unusable(Exception):
    """An answer was not read; the text says why."""


def make_client(place: Place, *, lookup: Lookup | None = None) -> httpx.AsyncClient:
    """Make a client for requests on behalf of one agent. Connections are not kept.

    A kept connection to a host that two names share would show one name's agent what is meant for
    the other, and one that was closed meanwhile leaves open what became of a message.

    Args:
        lookup: Resolves names otherwise than the system does, for tests.
    """
    return httpx.AsyncClient(
        transport=_Judging(place, lookup),
        headers={"User-Agent": f"agency/{VERSION}"},
        timeout=httpx.Timeout(place.timeout_s, connect=min(CONNECT_S, place.timeout_s)),
        follow_redirects=False,
        trust_env=False,
    )


@cache
def _context() -> ssl.SSLContext:
    """Read the trusted certificates once: it takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


class _Judging(httpx.AsyncBaseTransport):
    """Connects to addresses that were judged, and reads no more than is allowed."""

    def __init__(self, place: Place, lookup: Lookup | None) -> None:
        self._place = place
        self._lookup = lookup
        self._inner = httpx.AsyncHTTPTransport(
            verify=_context(), trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = PLAIN
        response = await self._send(request, await self._judge(request))
        if response.headers.get("content-encoding", PLAIN).strip().lower() != PLAIN:
            await response.aclose()
            raise Unusable("compresses its answers, although it was asked not to")
        is_stream = response.headers.get("content-type", "").startswith(_STREAM)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream, is_stream=is_stream)
        return response

    async def _send(self, request: httpx.Request, endpoints: Sequence[Endpoint]) -> httpx.Response:
        """Send a request to the first address that takes a connection, in the place of the name.

        A name may have addresses of both kinds, and its server listen on one of them only.
        """
        url = request.url
        # The header Host was made of the name, and the certificate is checked against it.
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        *others, last = endpoints
        for one in others:
            request.url = url.copy_with(host=one.address)
            try:
                return await self._inner.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        request.url = url.copy_with(host=last.address)
        return await self._inner.handle_async_request(request)

    async def _judge(self, request: httpx.Request) -> Sequence[Endpoint]:
        """Give the addresses that a request may go to; there is one at least.

        Raises:
            NotAllowed: requests for this agent may not go there.
            httpx.ConnectError: the name does not resolve.
        """
        url = request.url
        host = url.host
        port = url.port or (443 if url.scheme == "https" else 80)
        if not self._place.may_call(host, port):
            raise NotAllowed(
                f"leads to {host}:{port}, which is not its own host and not in [a2a] allowed_agents"
            )
        try:
            return await resolve_checked(
                host, port, private=self._place.private, lookup=self._lookup
            )
        except AddressRefused as error:
            raise NotAllowed(f"leads to a place that may not be called: {error.message}") from error
        except HostNotFound as error:
            raise httpx.ConnectError(error.message.rstrip("."), request=request) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx.AsyncByteStream):
    """A body that is not read beyond the limit; of a stream each line has one, too."""

    def __init__(self, stream: httpx.AsyncByteStream, *, is_stream: bool) -> None:
        self._stream = stream
        self._is_stream = is_stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = since_line = 0
        async for piece in self._stream:
            total += len(piece)
            end = piece.rfind(b"\n") if self._is_stream else -1
            since_line = len(piece) - end - 1 if end >= 0 else since_line + len(piece)
            if since_line > ANSWER_BYTES_MAX or total > STREAM_BYTES_MAX:
                raise Unusable(f"answers with more than {ANSWER_BYTES_MAX} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
