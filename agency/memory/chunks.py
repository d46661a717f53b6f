"""Documents in pieces: along their structure, within a budget of tokens, overlapping a little.

A piece ends where a section ends, if it is not too short then; else where a paragraph, a sentence
or a word does. Each piece is a stretch of the text as it stands, so that it can be shown there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from agency.core.records import dataclass
from agency.domain.memory import Chunk

BYTES_PER_TOKEN = 3.3
"""Bytes of UTF-8 for a token: near for English, and on the safe side for scripts whose characters
have two or three bytes and about as many tokens more."""

SHORT_PART = 0.25
"""Sections that are shorter than this part of the budget share a piece with the next one."""

_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_MARKS = ".!?\u2026\u3002\uff01\uff1f"  # also those of Chinese and Japanese
_CLOSING = "\"'\u201d\u2019)\\]"
_SENTENCE_END = re.compile(f"(?<=[{_MARKS}])[{_CLOSING}]*\\s+|\\n+")
_SPACE = re.compile(r"\s+")

HEADING_CHARACTERS_MAX = 300
HEADINGS_DEEP_MAX = 6


@dataclass(frozen=True, slots=True)
class _Unit:
    """A stretch that is not parted."""

    start: int
    stop: int
    size: int
    heading: str
    begins_section: bool


def tokens_of(text: str) -> int:
    """Estimate how many tokens a text has."""
    return round(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)


def split(text: str, *, tokens_max: int, overlap_tokens: int) -> list[Chunk]:
    """Split a text.

    Args:
        text: Plain, or with headings and code as Markdown has them.
        tokens_max: Of one piece, about.
        overlap_tokens: So much of a piece, at the most, is repeated at the beginning of the next
            one of the same section.
    """
    bytes_max = max(8, round(tokens_max * BYTES_PER_TOKEN))
    overlap_bytes = min(bytes_max // 2, round(overlap_tokens * BYTES_PER_TOKEN))
    groups = _groups(list(_units(text, bytes_max)), bytes_max)
    chunks: list[Chunk] = []
    previous: list[_Unit] | None = None
    for group in groups:
        start, stop = group[0].start, group[-1].stop
        if previous is not None and not group[0].begins_section:
            start = _overlap_start(text, previous[0].start, previous[-1].stop, overlap_bytes)
        piece = text[start:stop]
        lead = len(piece) - len(piece.lstrip())
        piece = piece.strip()
        previous = group
        if piece:
            begin = start + lead
            chunks.append(
                Chunk(
                    position=len(chunks) + 1,
                    text=piece,
                    heading=group[0].heading,
                    start=begin,
                    stop=begin + len(piece),
                )
            )
    return chunks


def _groups(units: Sequence[_Unit], bytes_max: int) -> Iterator[list[_Unit]]:
    """Put units together as long as they fit."""
    group: list[_Unit] = []
    size = 0
    for unit in units:
        is_full = size + unit.size > bytes_max
        is_over = unit.begins_section and size >= bytes_max * SHORT_PART
        if group and (is_full or is_over):
            yield group
            group, size = [], 0
        group.append(unit)
        size += unit.size
    if group:
        yield group


def _units(text: str, bytes_max: int) -> Iterator[_Unit]:
    path: list[tuple[int, str]] = []
    begins = False
    for start, stop, heading in _paragraphs(text):
        if heading is not None:
            level, title = heading
            path = [one for one in path if one[0] < level] + [(level, title)]
            begins = True
        joined = " > ".join(title for _, title in path)[:HEADING_CHARACTERS_MAX]
        for first, last in _fitting(text, start, stop, bytes_max):
            size = len(text[first:last].encode("utf-8", "replace"))
            yield _Unit(first, last, size, joined, begins)
            begins = False


def _paragraphs(text: str) -> Iterator[tuple[int, int, tuple[int, str] | None]]:
    """Give paragraphs, blocks of code and headings, with the level and title of these."""
    start: int | None = None
    fence = ""
    at = 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        kind, mark = _kind_of(line, fence)
        if kind is _Line.TEXT:
            start = begin if start is None else start
            continue
        if kind is _Line.END:
            yield (begin if start is None else start), at, None
            start, fence = None, ""
            continue
        if start is not None:
            yield start, begin, None
        start = begin if kind is _Line.FENCE else None
        fence = mark if kind is _Line.FENCE else ""
        if kind is _Line.HEADING:
            yield begin, at, (len(mark), line[len(mark) :].strip().rstrip("#").rstrip())
    if start is not None:
        yield start, at, None


class _Line(Enum):
    TEXT = auto()
    BLANK = auto()
    HEADING = auto()
    FENCE = auto()
    END = auto()


def _kind_of(line: str, fence: str) -> tuple[_Line, str]:
    """Tell what a line is, and its mark; within a block of code everything but its end is text."""
    found = _FENCE.match(line)
    if fence:
        is_end = found is not None and found[1].startswith(fence)
        return (_Line.END if is_end else _Line.TEXT), fence
    if found is not None:
        return _Line.FENCE, found[1]
    mark = line[: len(line) - len(line.lstrip("#"))]
    if 0 < len(mark) <= HEADINGS_DEEP_MAX and line[len(mark) : len(mark) + 1] in {" ", "\t"}:
        return _Line.HEADING, mark
    return (_Line.TEXT if line.strip() else _Line.BLANK), ""


def _fitting(text: str, start: int, stop: int, bytes_max: int) -> Iterator[tuple[int, int]]:
    """Part a stretch that is too long: at sentences, else at blanks, else anywhere."""
    while start < stop:
        # No character has more than four bytes, and most have one.
        window = text[start : min(stop, start + bytes_max)]
        fits = len(window.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore"))
        fits = max(1, fits)
        if start + fits >= stop:
            yield start, stop
            return
        yield start, start + (cut := _cut(window[:fits]))
        start += cut


def _cut(window: str) -> int:
    """Choose where to part a text: as late as possible, but not in the first half."""
    for pattern in (_SENTENCE_END, _SPACE):
        ends = [found.end() for found in pattern.finditer(window, len(window) // 2)]
        if ends:
            return ends[-1]
    return len(window)


def _overlap_start(text: str, start: int, stop: int, overlap_bytes: int) -> int:
    """Find where the last sentences, or words, of a piece begin that fit into the overlap."""
    tail = text[max(start, stop - overlap_bytes) : stop]
    while tail and len(tail.encode("utf-8", "replace")) > overlap_bytes:
        tail = tail[1 + (len(tail.encode("utf-8", "replace")) - overlap_bytes) // 4 :]
    for pattern in (_SENTENCE_END, _SPACE):
        found = pattern.search(tail, 0, max(0, len(tail) - 1))
        if found is not None and found.end() < len(tail.rstrip()):
            return stop - len(tail) + found.end()
    return stop
