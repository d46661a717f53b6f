"""What a command has written: head and tail are kept, the middle is dropped and counted."""

from __future__ import annotations

import math
from collections import deque

KEPT_BYTES_MAX = 16 << 20
"""Output that is held in memory, also where a command's own bound is larger, or there is none."""


class HeadAndTail:
    """Keeps the first and the last bytes of a stream of any length."""

    def __init__(self, bytes_max: float) -> None:
        bound = KEPT_BYTES_MAX if math.isinf(bytes_max) else min(int(bytes_max), KEPT_BYTES_MAX)
        self._head_max = bound // 2
        self._tail_max = bound - self._head_max
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.total_bytes = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self.total_bytes += len(piece)
        room = self._head_max - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if piece:
            self._tail.append(piece)
            self._tail_bytes += len(piece)
            while self._tail_bytes - len(self._tail[0]) >= self._tail_max:
                self._tail_bytes -= len(self._tail.popleft())

    @property
    def dropped_bytes(self) -> int:
        """How much of the middle is missing."""
        return self.total_bytes - len(self._head) - min(self._tail_bytes, self._tail_max)

    def whole(self) -> bytes:
        """Head and tail, with a line between them that says what was left out."""
        tail = b"".join(self._tail)[-self._tail_max :]
        dropped = self.dropped_bytes
        between = b"\n[... %d bytes left out ...]\n" % dropped if dropped else b""
        return bytes(self._head) + between + tail

    def tail(self, bytes_max: int) -> bytes:
        """The last bytes, ``bytes_max`` at most."""
        if bytes_max <= 0:
            return b""
        end = b"".join(self._tail)[-self._tail_max :]
        if len(end) < bytes_max and self.dropped_bytes == 0:
            end = bytes(self._head) + end
        return end[-bytes_max:]
