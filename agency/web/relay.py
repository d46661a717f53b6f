"""Streams of server-sent events that are made one by one, for one reader each.

Streams of updates are shared by many watchers (`agency.web.sse`); a protocol that writes each
reader's request into each of its events cannot share them. A reader that is slow holds its own
source back, because the next event is not asked for before the last one is in its socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import HttpVersion11, web

from agency.core.clock import monotonic_s
from agency.web.sse import STALL_S, STREAMS, limit_silence, open_answer

log = logging.getLogger(__name__)

_KEEP_ALIVE = b": keep-alive\n\n"


def event(data: bytes, *, name: str = "") -> bytes:
    """Write one event; ``data`` is JSON on one line, as `agency.core.json.encode` writes it."""
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % data


async def relay(
    request: web.Request,
    frames: AsyncGenerator[bytes, None],
    *,
    name: str,
    fields: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with what ``frames`` gives, and return when it is over; the generator is closed.

    The caller holds a place of `Streams.place`. When the daemon stops, the stream ends.

    Args:
        request: What is answered.
        frames: Gives events as `event` writes them.
        name: What such streams are called in the log.
        fields: What the stream is of, for the log.
        headers: Of the answer, beside those that every stream has.
    """
    streams = request.app[STREAMS]
    response = open_answer(request)
    response.headers.update(headers or {})
    stream = _Relay(request, response)
    began_s, why = monotonic_s(), "gone"
    log.info("%s opened", name, extra={**fields, "open": streams.open})
    try:
        async with aclosing(frames):
            await response.prepare(request)
            with streams.attended(stream):
                why = await stream.run(frames)
    except ConnectionError:
        log.debug("%s cut off", name, extra={**fields})
    finally:
        elapsed_s = round(monotonic_s() - began_s, 3)
        told = {"elapsed_s": elapsed_s, "frames": stream.frames, "why": why}
        log.info("%s closed", name, extra={**fields, **told})
    return response


class _Relay:
    """One stream, from its first frame to its last."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.frames = 0
        self._transport = request.transport
        self._response = response
        self._is_chunked = request.version >= HttpVersion11
        self._is_stopping = False
        self._is_silent = True
        self._scope: asyncio.Timeout | None = None

    async def run(self, frames: AsyncGenerator[bytes, None]) -> str:
        """Hand out frames until it is over, and say why: ``ended``, ``stopping``, ``gone``."""
        if self._transport is None:
            return "gone"
        if self._is_stopping:
            return "stopping"
        limit_silence(self._transport)
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                async for piece in frames:
                    if not await self._take(piece):
                        return "gone"
        except TimeoutError:
            if not scope.expired():
                raise
            return "stopping" if self._is_stopping else "gone"
        finally:
            self._scope = None
        return "ended"

    async def _take(self, piece: bytes) -> bool:
        self._is_silent = False
        self.frames += 1
        try:
            async with asyncio.timeout(STALL_S):
                await self._response.write(piece)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
            return False
        return True

    def beat(self) -> None:
        """Send a sign of life when nothing was sent for a while, or end when nobody is there."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self._leave()
        elif self._is_silent and not transport.get_write_buffer_size():
            piece = _KEEP_ALIVE
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece)
        self._is_silent = True

    def stop(self) -> None:
        """Be over."""
        self._is_stopping = True
        self._leave()

    def _leave(self) -> None:
        if self._scope is not None and self._scope.when() is None:
            self._scope.reschedule(asyncio.get_running_loop().time())
