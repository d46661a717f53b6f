"""What a server writes: its messages, line by line, and the end of what it says beside them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from agency.core.records import dataclass

MESSAGE_BYTES_MAX = 8 << 20
"""Longest message of a server: reading one holds up everything else for some 50 ms."""

WAITING_BYTES_MAX = 16 << 20
"""Messages that wait to be read; from here on the server's output is not read."""

FLOOD_BYTES_MAX = 64 << 20
"""Messages that wait although reading was paused; more ends the server."""

LOG_BYTES_MAX = 64 << 10
"""What is kept of a server's standard error: its end."""

EDGE_BYTES = 256
"""What is kept of each end of a message that is too long, to find out whose answer it is."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """A message of more than `MESSAGE_BYTES_MAX`, of which only the ends were kept."""

    head: bytes
    tail: bytes
    size_bytes: int


Line = bytes | TooLong


class Lines:
    """Splits what comes into lines; one reader waits for them.

    Attributes:
        is_flooded: More came than anybody could read; what follows is dropped.
    """

    def __init__(self) -> None:
        self.is_flooded = False
        self.hold: Callable[[], object] = _nothing
        """Called when no more should be read."""
        self.release: Callable[[], object] = _nothing
        """Called when it may be again."""
        self._parts: list[bytes] = []
        self._size = 0
        self._ready: deque[Line] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._is_ended = False
        self._wake: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Take a piece of output; an empty one says that there is no more."""
        if not data:
            self._is_ended = True
        elif not self.is_flooded:
            *whole, rest = data.split(b"\n")
            for part in whole:
                self._add(part)
                self._finish()
            self._add(rest)
            self._judge()
        self._tell()

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if not part:
            return
        self._parts.append(part)
        if self._size > MESSAGE_BYTES_MAX:
            joined = b"".join(self._parts)
            self._parts = [joined[:EDGE_BYTES], joined[-EDGE_BYTES:]]

    def _finish(self) -> None:
        line = b"".join(self._parts)
        size, self._size, self._parts = self._size, 0, []
        if size > MESSAGE_BYTES_MAX:
            self._ready.append(TooLong(line[:EDGE_BYTES], line[-EDGE_BYTES:], size))
            self._waiting_bytes += 2 * EDGE_BYTES
        elif line.strip():
            self._ready.append(line)
            self._waiting_bytes += size

    def _judge(self) -> None:
        self.is_flooded = self._waiting_bytes > FLOOD_BYTES_MAX
        if self._waiting_bytes > WAITING_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            self.hold()

    def _tell(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self) -> Line | None:
        """Wait for the next line; None when there is no more."""
        while not self._ready:
            if self._is_ended or self.is_flooded:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        line = self._ready.popleft()
        self._waiting_bytes -= 2 * EDGE_BYTES if isinstance(line, TooLong) else len(line)
        if self._is_paused and self._waiting_bytes <= WAITING_BYTES_MAX // 2:
            self._is_paused = False
            self.release()
        return line


def _nothing() -> None:
    """Nothing can be held."""


class Log:
    """The end of a text that may go on for ever."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Take a piece; older ones make room."""
        data = data[-LOG_BYTES_MAX:]
        self._pieces.append(data)
        self._size += len(data)
        while self._size > LOG_BYTES_MAX:
            over = self._size - LOG_BYTES_MAX
            first = self._pieces.popleft()
            if len(first) > over:
                self._pieces.appendleft(first[over:])
                over_now = over
            else:
                over_now = len(first)
            self._size -= over_now
            self._dropped += over_now

    def say(self, sentence: str) -> None:
        """Add a line of our own."""
        self.add(f"[agency] {sentence}\n".encode())

    def text(self) -> str:
        """Give what is kept; what is no UTF-8 is replaced."""
        told = f"[agency] {self._dropped} earlier bytes were dropped\n" if self._dropped else ""
        return told + b"".join(self._pieces).decode("utf-8", "replace")
