"""Server-sent events: streams of updates over HTTP, for as many as watch.

What goes out was written once for all who watch the same, its chunk of HTTP included, and is put
straight into each socket. A socket that is slow is left alone until it has taken what it has: its
watcher reads on from the database then, so that it misses nothing and holds little.

Source: WHATWG HTML, section 9.2 (server-sent events); RFC 9112, section 7.1 (chunks).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

from aiohttp import HttpVersion11, hdrs, web

from agency.config.schema import Server
from agency.core.clock import monotonic_s
from agency.core.context import CORRELATION_ID
from agency.core.records import dataclass
from agency.domain.update import Update
from agency.engine.channel import Dialect, Subscription, Token
from agency.errors import Fault, InvalidInput, ShuttingDown, TooManyStreams
from agency.web.guard import seal

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
RECONNECT_MS = 2000
"""Browsers that lost a stream come back after this."""
ROOM_BYTES = 32 * 1024
"""What may wait in a socket's buffer before its watcher is slow."""
STALL_S = 60.0
"""A socket that has taken nothing for so long is cut off."""
_LOOK_S = 0.01
_LOOK_S_MAX = 0.25
_NUMBER_DIGITS_MAX = 19
_NUMBER_MAX = 1 << 63

Subscribe = Callable[[Dialect], Awaitable[Subscription | None]]


def _comment() -> bytes:
    return b": keep-alive\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamForm:
    """How a kind of stream is written. Make one for each kind: what it has written is shared.

    Attributes:
        update: Writes an update as a frame; empty when it is not told.
        token: Writes tokens as a frame; None when they are not told.
        hello: Makes the first frame, of the number after which the stream begins.
        keep_alive: Makes what is sent when nothing else was for a while.
        goodbye: Sent last when the daemon stops.
        name: What such streams are called in the log, where they open and are closed.
        has_runs: Updates come with their runs.
    """

    update: Callable[[Update], bytes]
    token: Callable[[Token], bytes] | None
    hello: Callable[[int], bytes]
    keep_alive: Callable[[], bytes] = _comment
    goodbye: bytes = b": the daemon stops\n\n"
    name: str = "updates"
    has_runs: bool = False


def frame(event: str, data: bytes, number: int | None = None) -> bytes:
    """Write one event; ``data`` is JSON on one line."""
    head = b"" if number is None else b"id: %d\n" % number
    if b"\n" in data or b"\r" in data:
        # In JSON they are only between its parts.
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"%bevent: %b\ndata: %b\n\n" % (head, event.encode(), data)


def last_event_id(request: web.Request) -> int | None:
    """Read the number of the last event that the caller has, of a stream that was cut off.

    Raises:
        InvalidInput: it is not one of ours.
    """
    text = request.headers.get(LAST_EVENT_ID, "")
    if not text:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS_MAX
    if not is_number or int(text) >= _NUMBER_MAX:
        fault = Fault(LAST_EVENT_ID, f"{text[:64]!r} is not the id of an update.")
        raise InvalidInput(fault.what, faults=[fault], hint="Send the id that came last, or none.")
    return int(text)


class Streams:
    """All the streams that are open now."""

    def __init__(self, server: Server) -> None:
        self._streams_max = server.streams_max
        self._heartbeat_s = server.heartbeat_s
        self._open: set[Beating] = set()
        self._places = 0
        self._is_over = False
        self._beat: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """How many there are."""
        return self._places

    async def answer(
        self,
        request: web.Request,
        form: StreamForm,
        subscribe: Subscribe,
        *,
        fields: Mapping[str, object],
    ) -> web.StreamResponse:
        """Answer with a stream, and return when it is over.

        204 tells that nothing will come, so that browsers do not come back.

        Args:
            request: What is answered; to HEAD only the head is.
            form: How the stream is written.
            subscribe: Makes the subscription; None when nothing will come.
            fields: What the stream is of, for the log.

        Raises:
            TooManyStreams: as many are open as may be.
            ShuttingDown: the daemon stops.
            AgencyError: what ``subscribe`` raises.
        """
        with self.place():
            is_chunked = request.version >= HttpVersion11
            subscription = await subscribe(_dialect(form, is_chunked=is_chunked))
            if subscription is None:
                return web.Response(status=204, headers={"Cache-Control": "no-store"})
            try:
                return await self._stream(request, form, subscription, fields)
            finally:
                subscription.close()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places that there are for streams, whoever writes into it.

        Raises:
            TooManyStreams: as many are open as may be.
            ShuttingDown: the daemon stops.
        """
        if self._is_over:
            raise ShuttingDown
        if self._places >= self._streams_max:
            raise TooManyStreams(self._streams_max)
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    @contextmanager
    def attended(self, stream: Beating) -> Iterator[None]:
        """Let a stream beat with the others, and be stopped with them when the daemon stops."""
        self._open.add(stream)
        self._beat_later()
        if self._is_over:
            stream.stop()
        try:
            yield
        finally:
            self._open.discard(stream)

    async def _stream(
        self,
        request: web.Request,
        form: StreamForm,
        subscription: Subscription,
        fields: Mapping[str, object],
    ) -> web.StreamResponse:
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=_HEADERS)
        response = open_answer(request)
        began_s, begin = monotonic_s(), subscription.last
        log.info("%s opened", form.name, extra={**fields, "after": begin, "open": self._places})
        why = "gone"
        try:
            await response.prepare(request)
            await response.write(b"retry: %d\n" % RECONNECT_MS + form.hello(begin))
            transport = request.transport
            if transport is not None:
                stream = _Stream(transport, form, subscription)
                with self.attended(stream):
                    why = await stream.run()
        except ConnectionError:
            log.debug("updates cut off", extra={**fields})
        finally:
            elapsed_s = round(monotonic_s() - began_s, 3)
            told = {"elapsed_s": elapsed_s, "frames": subscription.frames, "why": why}
            log.info("%s closed", form.name, extra={**fields, **told})
        return response

    def _beat_later(self) -> None:
        """Give all streams a sign of life after a while; one timer is enough for all of them."""
        if self._beat is None and self._open:
            loop = asyncio.get_running_loop()
            self._beat = loop.call_later(self._heartbeat_s, self._beat_all)

    def _beat_all(self) -> None:
        self._beat = None
        for stream in tuple(self._open):
            stream.beat()
        self._beat_later()

    async def end(self, _: web.Application) -> None:
        """End all streams, of which callers come back; called when the server begins to close."""
        self._is_over = True
        if self._beat is not None:
            self._beat.cancel()
        for stream in tuple(self._open):
            stream.stop()


def open_answer(request: web.Request) -> web.StreamResponse:
    """Make an answer that is a stream, with its head whole; it is not yet prepared."""
    response = web.StreamResponse(headers=_HEADERS)
    # The guard does it when an answer is whole, which is too late for its head here.
    seal(response, CORRELATION_ID.get())
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    return response


class Beating(Protocol):
    """A stream as `Streams` sees it."""

    def beat(self) -> None:
        """Send a sign of life, or notice that nobody is there."""
        ...

    def stop(self) -> None:
        """Be over."""
        ...


_HEADERS = {
    "Content-Type": MEDIA_TYPE,
    "Cache-Control": "no-store",
    # Proxies (nginx) would hold frames back until they have many.
    "X-Accel-Buffering": "no",
}


@lru_cache(maxsize=64)
def _dialect(form: StreamForm, *, is_chunked: bool) -> Dialect:
    if is_chunked:
        return Dialect(update=form.update, token=form.token, wrap=_chunk, has_runs=form.has_runs)
    return Dialect(update=form.update, token=form.token, has_runs=form.has_runs)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class _Gone(Exception):
    """The caller is not there any more."""


class _Stream:
    """One stream of updates, from its first frame to its last."""

    def __init__(
        self,
        transport: asyncio.Transport,
        form: StreamForm,
        subscription: Subscription,
    ) -> None:
        self._transport = transport
        self._form = form
        self._subscription = subscription
        self._wrap = subscription.wrap
        self._is_stopping = False
        limit_silence(transport)

    async def run(self) -> str:
        """Hand out frames until it is over, and say why: ``ended``, ``stopping``, ``gone``."""
        subscription = self._subscription
        try:
            while not subscription.is_ended:
                async for piece in subscription.missed():
                    if not self.take(piece):
                        await self._emptied()
                if subscription.attach(self.take):
                    await subscription.detached()
                    if not subscription.is_ended:
                        await self._emptied()
            if self._transport.is_closing():
                return "gone"
            if self._is_stopping:
                self._transport.write(self._wrap(self._form.goodbye))
            else:
                await self._emptied()
        except _Gone:
            return "gone"
        except ShuttingDown:
            return "stopping"
        return "stopping" if self._is_stopping else "ended"

    def take(self, piece: bytes) -> bool:
        """Put a piece into the socket; False when it has enough for now."""
        transport = self._transport
        if transport.is_closing():
            return False
        transport.write(piece)
        return transport.get_write_buffer_size() <= ROOM_BYTES

    def stop(self) -> None:
        """Let it be over."""
        self._is_stopping = True
        self._subscription.close()

    def beat(self) -> None:
        """Send a sign of life, by which either side notices that the other is gone."""
        transport = self._transport
        if transport.is_closing():
            self._subscription.close()
        elif transport.get_write_buffer_size() <= ROOM_BYTES:
            transport.write(self._wrap(self._form.keep_alive()))

    async def _emptied(self) -> None:
        """Wait until the socket has taken what it has.

        A transport tells only its own protocol, which is the HTTP library's, when it has room; so
        it is looked at. Only slow sockets are.

        Raises:
            _Gone: the caller is, or has taken nothing for `STALL_S`.
        """
        transport = self._transport
        look_s, left, moved_s = _LOOK_S, transport.get_write_buffer_size(), monotonic_s()
        while True:
            if transport.is_closing():
                raise _Gone
            size = transport.get_write_buffer_size()
            if size == 0 or self._is_stopping:
                return
            now_s = monotonic_s()
            if size < left:
                left, moved_s = size, now_s
            elif now_s - moved_s > STALL_S:
                transport.abort()
                raise _Gone
            await asyncio.sleep(look_s)
            look_s = min(_LOOK_S_MAX, look_s * 2)


def limit_silence(transport: asyncio.Transport) -> None:
    """Let the system cut a connection off whose other side confirms nothing for `STALL_S`."""
    found = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if found is not None and option is not None and found.family != socket.AF_UNIX:
        found.setsockopt(socket.IPPROTO_TCP, option, int(STALL_S * 1000))


STREAMS = web.AppKey("streams", Streams)
