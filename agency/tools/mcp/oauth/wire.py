"""Requests to authorization servers: to addresses that were judged, small, and soon over.

A server of tools says who issues its tokens, so that it could lead the daemon anywhere: into the
network that the daemon stands in, to the daemon itself, or over a line without encryption. Its own
place, and that of an issuer in the settings, are the owner's choice; everything else is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import httpx2

from agency.core.addresses import HostRule
from agency.domain.connection import Connection, ConnectionOrigin
from agency.errors import AddressRefused, HostNotFound, LoginFailed
from agency.tools.mcp.http import PLAIN, send_judged
from agency.tools.mcp.means import Means

EXCHANGE_S = 20.0
"""Longest request to an authorization server, with its answer."""

DOCUMENT_BYTES_MAX = 256 * 1024
"""Largest answer of an authorization server."""

URL_CHARACTERS_MAX = 2048
"""Longest address that a server may name."""


class Unreachable(Exception):
    """An authorization server cannot be had now; the text says why. It may work later."""


class Wire:
    """The way from one connection to the authorization servers that it is led to."""

    def __init__(self, connection: Connection, server_url: str, means: Means) -> None:
        self._name = connection.name
        self._means = means
        self._is_plain = urlsplit(server_url).scheme == "http"
        chosen = [server_url, connection.setup.oauth_issuer]
        is_stored = connection.origin is ConnectionOrigin.STORED
        self._trusted = frozenset() if is_stored else {origin_of(one) for one in chosen if one}

    async def get(self, url: str) -> httpx2.Response:
        """Read a document; see `send`."""
        return await self.send(httpx2.Request("GET", url, headers={"Accept": "application/json"}))

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Make a request; redirects are not followed, and answered as what they are.

        Raises:
            LoginFailed: the address is one that nobody may lead to, or the answer is too large.
            Unreachable: there was no answer.
        """
        url = str(request.url)
        self.check(url)
        timeout = httpx2.Timeout(EXCHANGE_S)
        # In a thread: the authorities that are trusted are read from a file each time.
        inner = await asyncio.to_thread(httpx2.AsyncHTTPTransport, trust_env=False)
        transport = _Judged(inner, self._guard_of(url))
        try:
            async with (
                asyncio.timeout(EXCHANGE_S),
                httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
            ):
                # The document of the client may be large; what is sent is ours.
                request.headers["Accept-Encoding"] = PLAIN
                response = await client.send(request, stream=True, follow_redirects=False)
                try:
                    body = await self._body(response)
                finally:
                    await response.aclose()
        except (AddressRefused, HostNotFound) as error:
            hint = ""
            if isinstance(error, AddressRefused):
                hint = " Name it in [mcp] allow_private if it is meant."
            raise LoginFailed(self._name, f"{error.message.rstrip('.')}.{hint}") from error
        except (httpx2.HTTPError, TimeoutError) as error:
            told = str(error) or type(error).__name__
            host = request.url.host
            raise Unreachable(f"no answer of {host}: {told}") from error
        return httpx2.Response(
            response.status_code, headers=_plain_headers(response), content=body, request=request
        )

    async def _body(self, response: httpx2.Response) -> bytes:
        body = b""
        async for part in response.aiter_raw():
            body += part
            if len(body) > DOCUMENT_BYTES_MAX:
                told = f"an answer of {response.request.url.host} has more than"
                raise LoginFailed(self._name, f"{told} {DOCUMENT_BYTES_MAX} bytes")
        return body

    def check(self, url: str) -> None:
        """Refuse an address that a server may not lead to, whoever is there.

        Raises:
            LoginFailed: it is refused.
        """
        shown = url[:128]
        if len(url) > URL_CHARACTERS_MAX:
            raise LoginFailed(self._name, f"the server names an address that is too long, {shown}…")
        try:
            parts = urlsplit(url)
            is_good = bool(parts.hostname) and parts.port != 0 and parts.username is None
        except ValueError:
            is_good = False
        if not is_good:
            raise LoginFailed(self._name, f"the server names {shown!r}, which is no address")
        if parts.scheme != "https" and not (parts.scheme == "http" and self._is_plain):
            raise LoginFailed(self._name, f"the server names {shown!r}, which is not https")
        if self._means.is_own(url):
            raise LoginFailed(self._name, f"the server names the daemon's own address, {shown!r}")

    def _guard_of(self, url: str) -> Sequence[HostRule] | None:
        return None if origin_of(url) in self._trusted else self._means.private


class _Judged(httpx2.AsyncBaseTransport):
    """Connects to addresses that were judged."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, guard: Sequence[HostRule] | None) -> None:
        self._inner = inner
        self._guard = guard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await send_judged(self._inner, request, self._guard)

    async def aclose(self) -> None:
        await self._inner.aclose()


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Give scheme, host and port of an address."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _plain_headers(response: httpx2.Response) -> Mapping[str, str]:
    """Give the headers without those that are about how the body has travelled."""
    travel = {"content-encoding", "content-length", "transfer-encoding"}
    return {name: value for name, value in response.headers.items() if name not in travel}
