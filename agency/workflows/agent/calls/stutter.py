"""Endless repetition in a reply: seen while it streams, so that it costs seconds, not minutes.

Ollama has a guard of its own against one token repeated 30 times; this one sees phrases and lines
as well. Tables, rulers and data repeat too, so what is taken for a stutter is long: at least
`REPEATED_CHARACTERS_MIN` characters made of one unit, at least `REPEATS_MIN` times in a row.
"""

from __future__ import annotations

UNIT_CHARACTERS_MAX = 400
"""Longest unit that is looked for."""

REPEATS_MIN = 6
"""A unit that stands there this often in a row is no coincidence."""

REPEATED_CHARACTERS_MIN = 1_200
"""Shorter repetition is left alone: rulers, tables, lists of zeros."""

LOOK_EVERY_CHARACTERS = 400
"""New text between two looks; a look costs some microseconds."""

_TAIL = UNIT_CHARACTERS_MAX * REPEATS_MIN
_PROBE = 24


class Stutter:
    """Watches one stream; feed it each piece of text."""

    def __init__(self) -> None:
        self._tail = ""
        self._unseen = 0

    def feed(self, piece: str) -> str | None:
        """Take the next piece; hand back the unit that is repeated, once it is certain."""
        self._tail = (self._tail + piece)[-_TAIL:]
        self._unseen += len(piece)
        if self._unseen < LOOK_EVERY_CHARACTERS:
            return None
        self._unseen = 0
        return find_stutter(self._tail)


def find_stutter(text: str) -> str | None:
    """Find the unit that the end of ``text`` repeats; None when it does not."""
    tail = text.rstrip("\n\r\t ")[-_TAIL:]
    if len(tail) < REPEATED_CHARACTERS_MIN:
        return None
    # A repeated tail holds its own last characters one unit earlier, or some units earlier.
    probe = tail[-_PROBE:]
    place = len(tail) - _PROBE
    while True:
        place = tail.rfind(probe, 0, place + _PROBE - 1)
        if place < 0:
            return None
        length = len(tail) - _PROBE - place
        if length > UNIT_CHARACTERS_MAX:
            return None
        if _is_repeated(tail, length):
            return tail[-length:]


def _is_repeated(tail: str, length: int) -> bool:
    repeats = max(REPEATS_MIN, -(-REPEATED_CHARACTERS_MIN // length))
    if repeats * length > len(tail):
        return False
    # What is shifted by its own period equals itself.
    wanted = tail[-repeats * length :]
    return wanted[length:] == wanted[:-length]
