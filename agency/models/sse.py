"""Server-sent events out of chunks, as model servers stream them."""

from __future__ import annotations

from collections.abc import Iterator

from agency.core.records import dataclass
from agency.errors import ModelReplyBroken

EVENT_BYTES_MAX = 16 * 1024 * 1024
"""Of one event: a whole file may stand in the argument of a call."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its type (``message`` when none was named) and its data."""

    name: str
    data: bytes


class EventSplitter:
    r"""Puts events together from a stream of bytes that is cut anywhere.

    Lines end with ``\n``, ``\r\n`` or ``\r``; comments and unknown fields are left out. llama.cpp
    writes errors as a field ``error`` of its own; its value comes out as the data of an event
    ``error``. The last event counts also without the blank line after it, because some servers
    hang up right there.
    Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._line: list[bytes] = []
        self._size = 0
        self._is_first = True
        self._skips_newline = False
        self._name = ""
        self._data: list[bytes] = []

    def add(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Take in a chunk and yield the events that it completes.

        Raises:
            ModelReplyBroken: one event is too large.
        """
        if self._skips_newline and chunk:
            self._skips_newline = False
            chunk = chunk.removeprefix(b"\n")
        if chunk.endswith(b"\r"):
            self._skips_newline = True
        *ends, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for end in ends:
            line = b"".join([*self._line, end])
            self._line.clear()
            self._grow(len(end))
            event = self._take(line)
            if event is not None:
                yield event
        if rest:
            self._line.append(rest)
            self._grow(len(rest))

    def finish(self) -> Iterator[ServerEvent]:
        """Yield what is left when the stream has ended."""
        line = b"".join(self._line)
        self._line.clear()
        for last in (line, b""):
            event = self._take(last)
            if event is not None:
                yield event

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > EVENT_BYTES_MAX:
            raise ModelReplyBroken(f"An event of the reply has more than {EVENT_BYTES_MAX} bytes.")

    def _take(self, line: bytes) -> ServerEvent | None:
        if self._is_first:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._is_first = False
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"error":
            self._name, self._data = "error", [*self._data, value]
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self._size = "", [], 0
        return ServerEvent(name, b"\n".join(data)) if data else None
