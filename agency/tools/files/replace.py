"""Where in a text an old piece is that a model wants replaced. Pure.

Models quote what they have read nearly right: the commonest slip is white space. A piece that is
there as it is quoted is taken; one that is there but for white space is taken when there is exactly
one such place, because then nothing else can be meant. Everything else is told, with what is
nearest.
"""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Sequence

from agency.core.records import dataclass

LINES_COMPARED_MAX = 20_000
"""Lines in which the nearest place is looked for: it takes some 40 microseconds for each."""

LINES_LIKENED_MAX = 20
"""Lines that are compared letter by letter: it takes some 10 milliseconds for each."""

LIKE = 0.5
"""Lines that are less alike than this are not taken for each other, from 0 to 1."""

PLACES_NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class Replaced:
    """The new text.

    Attributes:
        lines: Numbers of the lines where each replacement begins.
        is_loose: The place was only found by leaving white space out of account.
    """

    text: str
    lines: tuple[int, ...]
    is_loose: bool = False


@dataclass(frozen=True, slots=True)
class NotReplaced:
    """Why nothing is replaced, for the model to mend."""

    why: str


def replace(text: str, old: str, new: str, *, is_all: bool) -> Replaced | NotReplaced:
    """Replace a piece of a text.

    Args:
        is_all: Replace each place; else there must be one only.
    """
    if "\r\n" in text:  # models write \n
        old, new = (re.sub(r"\r?\n", "\r\n", one) for one in (old, new))
    if not old:
        return NotReplaced("old is empty. To write a whole file, use write_file.")
    if old == new:
        return NotReplaced("old and new are the same: there is nothing to change.")
    places = [found.start() for found in re.finditer(re.escape(old), text)]
    if len(places) > 1 and not is_all:
        lines = ", ".join(map(str, _lines_of(text, places[:PLACES_NAMED_MAX])))
        return NotReplaced(
            f"old is there {len(places)} times, at lines {lines}. Quote more of the lines around "
            "the one you mean, or set all to true."
        )
    if places:
        return Replaced(text.replace(old, new), _lines_of(text, places))
    return _replace_loosely(text, old, new)


def _lines_of(text: str, places: Sequence[int]) -> tuple[int, ...]:
    """Tell in which lines places are that rise."""
    found: list[int] = []
    line, before = 1, 0
    for place in places:
        line += text.count("\n", before, place)
        before = place
        found.append(line)
    return tuple(found)


def _replace_loosely(text: str, old: str, new: str) -> Replaced | NotReplaced:
    lines = text.splitlines(keepends=True)
    wanted = [_plain(line) for line in old.strip("\r\n").splitlines()]
    plain = [_plain(line) for line in lines]
    if any(wanted):
        size = len(wanted)
        places = _places_of(plain, wanted)
        if len(places) == 1:
            return _put(lines, places[0], size, old, new)
        if len(places) > 1:
            numbers = ", ".join(str(place + 1) for place in places)
            return NotReplaced(
                "old is not there exactly; but for white space it is there at lines "
                f"{numbers}. Quote it exactly, with more of the lines around it."
            )
    return NotReplaced(_nearest(text, lines, old, new))


def _places_of(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Find where some lines are among others, `PLACES_NAMED_MAX` times at most.

    As texts, because the time for that grows with their lengths only, whatever is in them.
    """
    text = "\n".join(["", *lines, ""])
    piece = "\n".join(["", *wanted, ""])
    found: list[int] = []
    place, line, before = text.find(piece), 0, 0
    while place >= 0 and len(found) < PLACES_NAMED_MAX:
        line += text.count("\n", before, place)
        before = place
        found.append(line)
        place = text.find(piece, place + 1)
    return found


def _put(lines: list[str], start: int, size: int, old: str, new: str) -> Replaced:
    """Replace whole lines; the new ones are indented as those were that are replaced."""
    there = lines[start : start + size]
    quoted = old.strip("\r\n").splitlines()
    given = new.strip("\r\n").splitlines() if new.strip() else []
    shifted = [_indented(line, there, quoted) for line in given]
    end = "\r\n" if there[0].endswith("\r\n") else "\n"
    block = end.join(shifted)
    if shifted and there[-1].endswith("\n"):
        block += end
    written = "".join([*lines[:start], block, *lines[start + size :]])
    return Replaced(written, (start + 1,), is_loose=True)


def _indented(line: str, there: list[str], quoted: list[str]) -> str:
    """Move a new line by as much as the quoted ones were off."""
    if not line.strip():
        return ""
    for real, said in zip(there, quoted, strict=True):
        if real.strip():
            wrong, right = _indent(said), _indent(real)
            if line.startswith(wrong):
                return right + line[len(wrong) :]
            break
    return line


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _plain(line: str) -> str:
    return " ".join(line.split())


def _nearest(text: str, lines: list[str], old: str, new: str) -> str:
    """Say what is nearest to a piece that is not there."""
    if new and new in text:
        return "old is not there, but new is: the change seems to have been made already."
    if not lines:
        return "The file is empty. Use write_file."
    start = _likeliest(lines[:LINES_COMPARED_MAX], old.strip("\r\n").splitlines() or [old])
    if start is None:
        return "old is not there, nor anything like it. Read the file before you edit it."
    end = min(len(lines), start + min(15, max(1, len(old.strip("\r\n").splitlines()))))
    shown = "".join(line[:300] for line in lines[start:end]).rstrip("\r\n")
    return (
        f"old is not there. The nearest is at lines {start + 1} to {end}:\n{shown}\n"
        "Quote the lines exactly as they are."
    )


def _likeliest(lines: list[str], wanted: list[str]) -> int | None:
    """Find where most of the wanted lines are; else where one is that looks like the longest."""
    plain = [_plain(line) for line in lines]
    counts: dict[int, int] = {}
    for offset, line in enumerate(wanted[:50]):
        if said := _plain(line):
            for number, there in enumerate(plain):
                if there == said and number >= offset:
                    counts[number - offset] = counts.get(number - offset, 0) + 1
    if counts:
        return max(counts, key=lambda start: (counts[start], -start))
    offset, first = max(enumerate(wanted[:50]), key=lambda one: len(one[1].strip()))
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(_plain(first)[:200])
    quick: list[tuple[float, int]] = []
    for number, there in enumerate(plain):
        matcher.set_seq1(there[:200])
        if matcher.real_quick_ratio() > LIKE and (ratio := matcher.quick_ratio()) > LIKE:
            quick.append((ratio, -number))
    best, best_ratio = None, LIKE
    for _, number in heapq.nlargest(LINES_LIKENED_MAX, quick):
        matcher.set_seq1(plain[-number][:200])
        ratio = matcher.ratio()
        if ratio > best_ratio:
            best, best_ratio = max(0, -number - offset), ratio
    return best
