"""Texts that match a regular expression, as far as that is easily done."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PARTS_MAX = 20_000
"""Parts written for one text, repeats counted: nested repeats grow without bound otherwise."""

GROWTHS = (0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Repeats beyond the least. The first two are always tried, more only for a longer text: the
caller matches each text, and nested repeats make that slower with each sign."""


def matching_texts(pattern: str, *, least: int = 0) -> Iterator[str]:
    """Yield texts that most likely match, the shortest first; none if the pattern is beyond us.

    Look-around, word boundaries and back references are not solved, so the caller checks.

    Args:
        pattern: Regular expression as Python reads it.
        least: Signs wanted; texts grow until they have them.
    """
    # The standard library's parser is private, but has kept its form since 1997; writing another
    # for a stand-in would be worse. If it should vanish, patterns are simply not solved.
    try:
        parser: Any = importlib.import_module("re._parser")
        parsed = parser.parse(pattern)
    except (ImportError, re.error, OverflowError, RecursionError):
        return
    found = None
    for growth in GROWTHS:
        writer = _Writer(growth)
        try:
            text = writer.sequence(parsed)
        except (_Unsolved, RecursionError):
            return
        if text != found:
            yield text
        if growth >= 1 and len(text) >= least:
            return
        found = text


class _Unsolved(Exception):
    """The pattern holds something that is not solved here."""


class _Writer:
    """Writes the text of one way through a pattern; ``growth`` repeats beyond the least."""

    def __init__(self, growth: int) -> None:
        self._growth = growth
        self._left = PARTS_MAX
        self._groups: dict[int, str] = {}

    def sequence(self, parts: Any) -> str:  # noqa: ANN401  a private class of the standard library
        return "".join(self._part(str(kind), value) for kind, value in parts)

    def _part(self, kind: str, value: Any) -> str:  # noqa: ANN401  as above
        self._left -= 1
        if self._left < 0:
            raise _Unsolved
        match kind:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                return _sign(kind, value)
            case "BRANCH":
                return self.sequence(value[1][0])
            case "SUBPATTERN":
                text = self.sequence(value[3])
                if value[0] is not None:
                    self._groups[value[0]] = text
                return text
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, part = value
                repeats = min(int(most), int(least) + self._growth)
                return "".join(self.sequence(part) for _ in range(repeats))
            case "GROUPREF":
                return self._groups.get(value, "")
            case "AT" | "ASSERT" | "ASSERT_NOT":
                return ""
        raise _Unsolved


def _sign(kind: str, value: Any) -> str:  # noqa: ANN401  as above
    match kind:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return "b" if chr(value) == "a" else "a"
        case "IN":
            return _one_of(value)
        case _:
            return "a"


_SAMPLES = "a0 A_-.z9Z!/:@"
_CATEGORIES: Mapping[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda sign: not sign.isdigit(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda sign: not sign.isspace(),
    "CATEGORY_WORD": lambda sign: sign.isalnum() or sign == "_",
    "CATEGORY_NOT_WORD": lambda sign: not (sign.isalnum() or sign == "_"),
}


def _one_of(members: Any) -> str:  # noqa: ANN401  as above
    is_negated = str(members[0][0]) == "NEGATE"
    if is_negated:
        for sign in _SAMPLES:
            if not any(_holds(str(kind), value, sign) for kind, value in members[1:]):
                return sign
        raise _Unsolved
    kind, value = members[0]
    match str(kind):
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return chr(value[0])
        case "CATEGORY":
            return next(sign for sign in _SAMPLES if _holds("CATEGORY", value, sign))
        case _:
            raise _Unsolved


def _holds(kind: str, value: Any, sign: str) -> bool:  # noqa: ANN401  as above
    match kind:
        case "LITERAL":
            return chr(value) == sign
        case "RANGE":
            return bool(value[0] <= ord(sign) <= value[1])
        case "CATEGORY":
            return _CATEGORIES[str(value)](sign)
        case _:
            raise _Unsolved
