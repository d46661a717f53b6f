"""HTTP to Ollama, through the connection of the ``ollama`` client.

Imports ``ollama`` and ``httpx`` at the top, so this module is itself imported late and in a thread.

The client's own ``chat`` is not used, for what it does in version 0.6.3: it has no ``truncate`` and
no ``shift``, drops the ids of tool calls in both directions, raises a bare ``JSONDecodeError`` for
a blank line and a pydantic error for arguments that are a text, cannot tell when the headers came,
and splits lines where Unicode does (U+0085 inside a text breaks the JSON in two). Its httpx client
is ours to configure, and that is what is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import httpx
import ollama

from agency.core import json
from agency.errors import ModelInterrupted, ModelReplyBroken, ModelUnavailable
from agency.models.address import ServerAddress
from agency.models.http import retry_after_s
from agency.models.ollama.lines import LineSplitter

CONNECT_TIMEOUT_S = 5.0
"""A server that does not even accept a connection this long is away."""

REPLY_BYTES_MAX = 64 * 1024 * 1024
"""Of one answer: far above any honest one, and far below what would hurt the daemon."""


class Answer:
    """An answer whose headers have come; its body is read by one of the methods, once."""

    def __init__(self, response: httpx.Response, resource: str) -> None:
        """Wrap ``response``, which is open."""
        self._response = response
        self._resource = resource

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._response.status_code

    @property
    def is_page(self) -> bool:
        """The body is a web page, as proxies and portals send it."""
        return "html" in self._response.headers.get("content-type", "")

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the server asks to be left alone; None when it does not."""
        return retry_after_s(self._response.headers, now=datetime.now(UTC))

    async def lines(self) -> AsyncGenerator[bytes, None]:
        r"""Yield the lines, split at ``\n`` alone, without blank ones.

        Raises:
            ModelInterrupted: the connection broke.
            ModelReplyBroken: the answer is too large, or not decodable.
        """
        splitter = LineSplitter()
        size = 0
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > REPLY_BYTES_MAX:
                    raise ModelReplyBroken(f"The reply has more than {REPLY_BYTES_MAX} bytes.")
                for line in splitter.add(chunk):
                    yield line
        for line in splitter.finish():
            yield line

    async def body(self, *, bytes_max: int = REPLY_BYTES_MAX) -> bytes:
        """Read the body; what is beyond ``bytes_max`` is cut off.

        Raises:
            ModelInterrupted: the connection broke.
            ModelReplyBroken: the body is not decodable.
        """
        kept = bytearray()
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                kept += chunk
                if len(kept) >= bytes_max:
                    break
        return bytes(kept[:bytes_max])

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except httpx.TransportError as error:
            raise ModelInterrupted(self._resource, _reason(error)) from error
        except httpx.DecodingError as error:
            raise ModelReplyBroken(f"The reply cannot be decompressed: {error}.") from error


class Wire:
    """Requests to one server. Each call has a connection of its own, closed with it."""

    def __init__(self, address: ServerAddress, resource: str) -> None:
        """Make the client; nothing is sent yet."""
        self._resource = resource
        self._client = ollama.AsyncClient(
            # Always given, or else OLLAMA_HOST would decide.
            host=address.url,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # A redirect would turn a POST into a GET of a login page.
            follow_redirects=False,
            # Proxies of the environment must not stand between us and this very machine.
            trust_env=not address.is_loopback,
            # Certificates are loaded only where they can be needed.
            verify=address.is_tls or not address.is_loopback,
            # An idle connection that the server closed meanwhile would look like a death in the
            # middle of a call; a new one costs nothing beside an inference.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._http: httpx.AsyncClient = self._client._client
        # The client takes OLLAMA_API_KEY from the environment and would show it to any server.
        self._http.headers.pop("authorization", None)

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, body: object | None = None
    ) -> AsyncIterator[Answer]:
        """Send one request and hand out its answer as soon as the headers have come.

        Leaving the body of the ``async with`` closes the connection, and so stops the server's
        work when the answer was not read to its end.

        Raises:
            ModelUnavailable: nobody accepts a connection.
            ModelInterrupted: the server hung up before it answered.
        """
        request = self._http.build_request(
            method, path, content=None if body is None else json.encode(body)
        )
        try:
            response = await self._http.send(request, stream=True)
        # The client turns some of these into the builtin ConnectionError, httpx raises its own.
        except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
            raise ModelUnavailable(self._resource, _reason(error)) from error
        except httpx.TransportError as error:
            raise ModelInterrupted(self._resource, _reason(error)) from error
        try:
            yield Answer(response, self._resource)
        finally:
            await response.aclose()


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"it accepted no connection within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, httpx.ConnectError | ConnectionError):
        return f"no connection ({error})" if str(error) else "no connection"
    return str(error) or type(error).__name__
