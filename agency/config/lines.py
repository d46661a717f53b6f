"""On which line of a TOML text a key stands, because the parser does not say.

A small scanner that follows strings, comments and brackets, and nothing else. It is used on texts
that the parser has accepted, so it need not refuse anything; a key that it misses costs a line
number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_PIECE = re.compile(
    r"""(?P<text>\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
    r"""|(?P<comment>\#[^\n]*)|(?P<line>\n)|(?P<mark>[\[\]{}=,.])|(?P<word>[A-Za-z0-9_-]+)"""
    r"""|(?P<space>[^\n])""",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(["\\])')

Path = tuple[str, ...]


def find_lines(text: str) -> Mapping[Path, int]:
    """Map the path of each table and key, ``("llm", "model")``, to its line, counted from 1.

    Keys inside inline tables and arrays are not listed; their nearest listed parent is.
    """
    found: dict[Path, int] = {}
    table: Path = ()
    for statement in _statements(text):
        keys = tuple(statement.keys)
        table, path = (keys, keys) if statement.is_header else (table, table + keys)
        for length in range(1, len(path) + 1):
            found.setdefault(path[:length], statement.line)
    return found


def line_of(path: Path, lines: Mapping[Path, int]) -> int:
    """Find the line of a path or of its nearest parent; 0 when there is none."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


class _Statement:
    """A header or an assignment, as far as it has been read."""

    def __init__(self) -> None:
        self.line = 0
        self.keys: list[str] = []
        self.is_header = False
        self._is_value = False
        self._depth = 0

    @property
    def is_open(self) -> bool:
        """Inside an array or inline table, where a line's end ends nothing."""
        return self._depth > 0

    def take_mark(self, mark: str) -> None:
        if mark == "=":
            self._is_value = True
        elif mark in "[{":
            self._depth += self._is_value
            self.is_header = self.is_header or not (self._is_value or self.keys)
        elif mark in "]}":
            self._depth -= self._is_value

    def take_word(self, word: str, line: int) -> None:
        if not self._is_value:
            self.line = self.line or line
            self.keys.append(word)


def _statements(text: str) -> Iterator[_Statement]:
    line, statement = 1, _Statement()
    for piece in _PIECE.finditer(text):
        kind, content = piece.lastgroup, piece.group()
        if kind == "line" and not statement.is_open:
            if statement.keys:
                yield statement
            statement = _Statement()
        elif kind == "mark":
            statement.take_mark(content)
        elif kind in {"word", "text"}:
            statement.take_word(_unquote(content) if kind == "text" else content, line)
        line += content.count("\n")
    if statement.keys:
        yield statement


def _unquote(content: str) -> str:
    inner = content[1:-1]
    return inner if content[0] == "'" else _ESCAPE.sub(r"\1", inner)
