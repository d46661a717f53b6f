"""Where log lines go: a thread of its own writes them, so that nobody waits for a log.

A pipe whose reader has stopped, a full disk or a slow terminal would otherwise hold up the event
loop. Lines that find the queue full are dropped and counted; the count is written when there is
room again.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

LINES_MAX = 8192
"""Lines that wait to be written; beyond that they are dropped."""

WAITING_BYTES_MAX = 8 << 20
"""Bytes that wait to be written; beyond that lines are dropped, because some have tracebacks."""


def _tell_lost(count: int) -> bytes:
    return b"%d log lines were lost\n" % count


class Sink:
    """Writes lines to a file descriptor, which stays the caller's."""

    def __init__(self, descriptor: int, *, tell_lost: Callable[[int], bytes] = _tell_lost) -> None:
        """Begin to write. ``tell_lost`` makes the line about lines that were lost."""
        self._descriptor = descriptor
        self._tell_lost = tell_lost
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_writing = False
        # A daemon thread: a reader that never reads again must not hold up the exit.
        self._thread = threading.Thread(target=self._serve, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Hand over one line, its line feed included. Never waits, never raises."""
        with self._changed:
            waiting_bytes = self._waiting_bytes + len(line)
            if len(self._lines) >= LINES_MAX or waiting_bytes > WAITING_BYTES_MAX:
                self._dropped += 1
                return
            self._lines.append(line)
            self._waiting_bytes = waiting_bytes
            self._changed.notify_all()

    def flush(self, *, timeout_s: float) -> bool:
        """Wait until everything handed over so far is written; tell whether it was in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._lines and not self._is_writing, timeout=timeout_s
            )

    def close(self, *, timeout_s: float) -> None:
        """Write what waits, as far as that can be done in time, and end the thread."""
        self.flush(timeout_s=timeout_s)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._is_closing)
                if not self._lines:
                    return
                batch = b"".join(self._lines)
                self._lines.clear()
                self._waiting_bytes = 0
                if self._dropped:
                    batch += self._tell_lost(self._dropped)
                    self._dropped = 0
                self._is_writing = True
            self._write(batch)

    def _write(self, batch: bytes) -> None:
        rest = memoryview(batch)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                # Closed pipe, full disk: there is nobody left to tell, and the work goes on.
                with self._changed:
                    self._dropped += batch.count(b"\n")
                return
