"""HTTP to model servers over aiohttp, with its faults as ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import aiohttp

from agency.core import json
from agency.core.limits import RETRY_AFTER_S_MAX
from agency.core.retry_after import read_retry_after_s
from agency.errors import ModelInterrupted, ModelReplyBroken, ModelUnavailable
from agency.models.address import ServerAddress
from agency.models.sse import EventSplitter, ServerEvent

CONNECT_TIMEOUT_S = 5.0
"""A server that does not even accept a connection this long is away."""

REPLY_BYTES_MAX = 64 * 1024 * 1024
"""Of one answer: far above any honest one, and far below what would hurt the daemon."""

HEADER_BYTES_MAX = 64 * 1024


class Answer:
    """An answer whose headers have come; its body is read by one of the methods, once."""

    def __init__(self, response: aiohttp.ClientResponse, resource: str) -> None:
        """Wrap ``response``, which is open."""
        self._response = response
        self._resource = resource

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._response.status

    @property
    def is_stream(self) -> bool:
        """The body is a stream of events."""
        return self._response.content_type == "text/event-stream"

    @property
    def is_page(self) -> bool:
        """The body is a web page, as proxies and portals send it."""
        return "html" in self._response.content_type

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the server asks to be left alone; None when it does not."""
        return retry_after_s(self._response.headers, now=datetime.now(UTC))

    async def events(self) -> AsyncGenerator[ServerEvent, None]:
        """Yield the events of a stream.

        Raises:
            ModelInterrupted: the connection broke.
            ModelReplyBroken: the answer is too large.
        """
        splitter = EventSplitter()
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                for event in splitter.add(chunk):
                    yield event
        for event in splitter.finish():
            yield event

    async def body(self, *, bytes_max: int = REPLY_BYTES_MAX) -> bytes:
        """Read the body; what is beyond ``bytes_max`` is cut off.

        Raises:
            ModelInterrupted: the connection broke.
            ModelReplyBroken: the answer is too large.
        """
        kept = bytearray()
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                kept += chunk
                if len(kept) >= bytes_max:
                    break
        return bytes(kept[:bytes_max])

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        size = 0
        try:
            async for chunk in self._response.content.iter_any():
                size += len(chunk)
                if size > REPLY_BYTES_MAX:
                    raise ModelReplyBroken(f"The reply has more than {REPLY_BYTES_MAX} bytes.")
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise ModelInterrupted(self._resource, str(error) or type(error).__name__) from error


class Http:
    """Requests to one server. Each has a connection of its own, closed with it.

    A kept connection that the server closed meanwhile would look like a death in the middle of a
    call; a new one costs nothing beside an inference.
    """

    def __init__(self, address: ServerAddress, resource: str) -> None:
        """Take the address; nothing is sent, and no session is opened, before the first call."""
        self._address = address
        self._resource = resource
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, body: object | None = None, *, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        """Send one request and hand out its answer as soon as the headers have come.

        Leaving the body of the ``async with`` closes the connection, and so stops the server's
        work when the answer was not read to its end.

        Raises:
            ModelUnavailable: nobody accepts a connection.
            ModelInterrupted: the server hung up before it answered.
        """
        sent = {"Content-Type": "application/json"} if body is not None else {}
        try:
            response = await self._open().request(
                method,
                f"{self._address.url}{path}",
                data=None if body is None else json.encode(body),
                headers={**sent, **headers},
                # A redirect would turn a POST into a GET of a login page, and take the key along.
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ModelUnavailable(self._resource, _reason(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ModelInterrupted(self._resource, _reason(error)) from error
        try:
            yield Answer(response, self._resource)
        finally:
            response.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                # A proxy from the environment must not stand between us and this very machine.
                trust_env=not self._address.is_loopback,
                # Cookies of one call are nothing to the next.
                cookie_jar=aiohttp.DummyCookieJar(),
                max_field_size=HEADER_BYTES_MAX,
            )
        return self._session


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Read how long to wait: ``retry-after-ms``, which is OpenAI's, else ``Retry-After``.

    Fractions are understood, because some of these servers send them. Never more than
    `RETRY_AFTER_S_MAX`, whatever is asked for.
    """
    for name, parts in (("retry-after-ms", 1000), ("Retry-After", 1)):
        text = headers.get(name, "").strip()
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return min(float(text) / parts, RETRY_AFTER_S_MAX)
    return read_retry_after_s(headers.get("Retry-After", ""), now=now)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError | asyncio.TimeoutError):
        return f"it accepted no connection within {CONNECT_TIMEOUT_S:g} s"
    return str(error) or type(error).__name__
