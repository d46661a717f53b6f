"""Files as text: what can be shown of one, and what cannot."""

from __future__ import annotations

import os
import struct

from agency.core import beneath
from agency.core.records import dataclass

LOOK_BYTES = 8192
"""Of a file that are looked at to tell text from anything else."""

LINE_CHARACTERS_MAX = 2000
"""Of one line that are shown: minified code has lines of megabytes."""

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)


def kind_of(head: bytes) -> str | None:
    """Tell what a file is that is no text, from its beginning; None for a text."""
    for magic, name in _PICTURES:
        if head.startswith(magic) and (name != "BMP" or b"\0" in head):
            size = ""
            if name == "PNG" and len(head) >= 24:
                width, height = struct.unpack(">II", head[16:24])
                size = f" of {width} x {height} pixels"
            return f"a {name} picture{size}"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP picture"
    if head.startswith(b"%PDF-"):
        return "a PDF document"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    return "binary" if b"\0" in head else None


def encoding_of(head: bytes) -> str:
    """Tell how a text is encoded; what is not UTF-8 comes back as it was when written again."""
    return "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some lines of a file.

    Attributes:
        first: Number of the first, from 1.
        total: Lines of the whole file.
        next: Line to go on with, or None at the end.
    """

    lines: list[str]
    first: int
    total: int
    next: int | None
    size_bytes: int


def read_slice(descriptor: int, *, first: int, lines_max: int, characters_max: int) -> Slice | str:
    """Read some lines, in the memory of a line.

    Returns:
        The lines, or what the file is when it is no text.
    """
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, LOOK_BYTES, 0)
    if (kind := kind_of(head)) is not None:
        return kind
    encoding = encoding_of(head)
    if encoding == "utf-16":
        whole = beneath.read_all(descriptor, 4 << 20).decode("utf-16", "replace")
        return _cut(whole.splitlines(), first, lines_max, characters_max, size)
    lines: list[str] = []
    room = characters_max
    number = 0
    going_on: int | None = None
    with os.fdopen(os.dup(descriptor), "rb") as file:
        while line := file.readline(LINE_CHARACTERS_MAX * 4):
            is_whole = line.endswith(b"\n")
            number += 1
            if number >= first and going_on is None:
                shown = _shown(line)
                room -= len(shown) + 1
                if lines and (room < 0 or len(lines) >= lines_max):
                    going_on = number
                else:
                    lines.append(shown)
            while not is_whole and (rest := file.readline(1 << 20)):
                is_whole = rest.endswith(b"\n")
    return Slice(lines, first, number, going_on, size)


def _cut(lines: list[str], first: int, lines_max: int, characters_max: int, size: int) -> Slice:
    chosen: list[str] = []
    room = characters_max
    for line in lines[first - 1 : first - 1 + lines_max]:
        room -= len(line) + 1
        if chosen and room < 0:
            break
        chosen.append(line[:LINE_CHARACTERS_MAX])
    after = first + len(chosen)
    return Slice(chosen, first, len(lines), after if after <= len(lines) else None, size)


def _shown(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8-sig", "replace")
    if len(text) > LINE_CHARACTERS_MAX:
        return f"{text[:LINE_CHARACTERS_MAX]} [… the line goes on …]"
    return text


def written(path: str) -> str:
    """Write a path on one line, whatever its bytes are."""
    shown = path.encode(errors="surrogateescape").decode(errors="replace")
    return shown.replace("\n", "\\n")


def size_text(size_bytes: int) -> str:
    """Write a size as people read it."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    for unit in ("KB", "MB"):
        size_bytes_in = size_bytes / 1024 if unit == "KB" else size_bytes / (1 << 20)
        if size_bytes_in < 1024:
            return f"{size_bytes_in:.1f} {unit}"
    return f"{size_bytes / (1 << 30):.1f} GB"
