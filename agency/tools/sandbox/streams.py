"""Pipes to and from a command, on the event loop: read as they fill, written as they empty."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_PIECE_BYTES = 65536

FLOOD_BYTES = 1 << 20
"""After so much beyond its bound a command's output is read at a slower pace."""

FLOOD_PAUSE_S = 0.02
"""Pause of a flood: 50 MiB in a second are dropped, and the loop is free for others meanwhile."""


class Outlet:
    """The end of a pipe that a command writes to."""

    def __init__(
        self,
        descriptor: int,
        take: Callable[[bytes], object],
        *,
        free_bytes: float,
        tells_end: bool = False,
    ) -> None:
        """Read from now on.

        Args:
            descriptor: Closed at the end of the stream.
            free_bytes: What is read at full speed.
            tells_end: Hand over an empty piece at the end.
        """
        self._tells_end = tells_end
        self._descriptor = descriptor
        self._take = take
        self._free_bytes = free_bytes
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._is_open = True
        self.ended = asyncio.Event()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._descriptor, _PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # The other end of a terminal went away; a pipe has no such errors.
            piece = b""
        if not piece:
            self.close()
            return
        self._take(piece)
        self._free_bytes -= len(piece)
        if self._free_bytes < -FLOOD_BYTES:
            self._free_bytes += FLOOD_BYTES
            self._loop.remove_reader(self._descriptor)
            self._pause = self._loop.call_later(FLOOD_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._is_open:
            self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Read no more; may be called twice."""
        if self._is_open:
            self._is_open = False
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.ended.set()
            if self._tells_end:
                self._take(b"")


class Inlet:
    """The end of a pipe that a command reads from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._is_open = True
        os.set_blocking(descriptor, False)

    async def write(self, data: bytes) -> None:
        """Write everything, in the order of the calls; waits for a slow reader.

        Raises:
            BrokenPipeError: nobody reads any more, or the pipe was closed.
        """
        async with self._turn:
            rest = memoryview(data)
            while rest:
                if not self._is_open:
                    raise BrokenPipeError("the command's input was closed")
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except (BlockingIOError, InterruptedError):
                    await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._room = room = self._loop.create_future()
        self._loop.add_writer(self._descriptor, _wake, room)
        try:
            await room
        finally:
            if self._is_open:
                self._loop.remove_writer(self._descriptor)
            self._room = None

    def close(self) -> None:
        """Say that there is no more; may be called twice."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            if self._room is not None:
                _wake(self._room)


def _wake(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
