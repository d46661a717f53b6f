"""Lines out of chunks."""

from __future__ import annotations

from collections.abc import Iterator


class LineSplitter:
    r"""Splits a stream of bytes at ``\n`` alone, and leaves blank lines out.

    Not at what Unicode calls a line end: U+0085 and U+2028 may stand inside a JSON text. A line
    may have megabytes and come in many chunks, so what was searched once is not searched again.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._pieces: list[bytes] = []

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """Take in a chunk and yield the lines that it completes."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join([*self._pieces, end]).strip()
            self._pieces.clear()
            if line:
                yield line
        if rest:
            self._pieces.append(rest)

    def finish(self) -> Iterator[bytes]:
        """Yield what is left when the stream has ended without a line end."""
        line = b"".join(self._pieces).strip()
        self._pieces.clear()
        if line:
            yield line
