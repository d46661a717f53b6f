"""Finding secrets in texts, as they are and in the encodings in which they are often met.

Each secret is searched for in some ten spellings. That a text holds none of them, the common case,
is found out at the speed at which memory is read, because the search for a long text skips most of
what it looks through.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from agency.domain.secret import REDACTED_CHARACTERS_MIN
from agency.ports.vault import REFERENCE

LINE_CHARACTERS_MIN = 16
"""A value of several lines, such as a key, is found also when only one of them is there."""

_ROUNDS_MAX = 2
"""JSON inside JSON: how often what is escaped is escaped again."""


class Redactor:
    """Replaces secrets by their references. Never changes: another set is another redactor."""

    def __init__(self, values: Iterable[tuple[str, str]]) -> None:
        """Search for values, given with their names; a name may have several."""
        found: dict[str, str] = {}
        for name, value in values:
            for spelling in _spellings(value):
                found.setdefault(spelling, REFERENCE + name)
        # A secret that holds another one is found before it.
        self._needles = sorted(found.items(), key=lambda one: -len(one[0]))

    def redact(self, text: str) -> str:
        """Replace all that is found; the same text comes back when nothing is."""
        for needle, reference in self._needles:
            if needle in text:
                text = text.replace(needle, reference)
        return text

    def redact_json(self, value: Any) -> Any:  # noqa: ANN401  JSON
        """Do so in all texts of a JSON value, names of members included."""
        if not self._needles:
            return value
        return self._json(value)

    def _json(self, value: Any) -> Any:  # noqa: ANN401  JSON
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self._json(name): self._json(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._json(part) for part in value]
        return value


def is_redacted(value: str) -> bool:
    """Tell whether texts are searched for a value."""
    return len(value) >= REDACTED_CHARACTERS_MIN


def _spellings(value: str) -> Iterator[str]:
    if not is_redacted(value):
        return
    yield value
    stripped = value.strip()
    if is_redacted(stripped):  # what is written to a header or file often loses its line feed
        yield stripped
    yield from _escaped(value)
    data = value.encode()
    yield data.hex()
    yield data.hex().upper()
    yield from _base64(data)
    yield from _of_lines(value)


def _escaped(value: str) -> Iterator[str]:
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted
        yield _lower_escapes(quoted)
    yield html.escape(value)
    yield repr(value)[1:-1]
    plain, pure = value, value
    for _ in range(_ROUNDS_MAX):
        plain = json.dumps(plain, ensure_ascii=False)[1:-1]
        pure = json.dumps(pure)[1:-1]
        yield plain
        yield pure


def _lower_escapes(text: str) -> str:
    """Write ``%2f`` for ``%2F``; both are right."""
    first, *parts = text.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in parts)])


def _base64(data: bytes) -> Iterator[str]:
    """Give what base64 makes of the data wherever it begins within a longer text.

    Each character stands for six bits, so there are three ways, by the number of bytes before. The
    characters at both ends that neighbours have a part in are left out.
    """
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        start = (before * 8 + 5) // 6
        end = (before + len(data)) * 8 // 6
        core = whole[start:end]
        if len(core) >= REDACTED_CHARACTERS_MIN:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _of_lines(value: str) -> Iterator[str]:
    if "\n" not in value.strip():
        return
    for line in value.splitlines():
        bare = line.strip()
        # Headings such as BEGIN PRIVATE KEY are no secret.
        if len(bare) >= LINE_CHARACTERS_MIN and not bare.startswith("-----"):
            yield bare
