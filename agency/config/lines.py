"""On which line of a TOML text a key stands, because the parser does not say.

A small scanner that follows strings, comments and brackets, and nothing else. It is used on texts that
the parser has accepted, so it need not refuse anything; a key that it misses costs a line number.
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
    for line, keys, is_header in _statements(text):
        path = keys if is_header else table + keys
        if is_header:
            table = keys
        for length in range(len(table) + 1 if not is_header else 1, len(path) + 1):
            found.setdefault(path[:length], line)
    return found


def line_of(path: Path, lines: Mapping[Path, int]) -> int:
    """Find the line of a path or of its nearest parent; 0 when there is none."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


def _statements(text: str) -> Iterator[tuple[int, Path, bool]]:
    """Go through the headers and assignments: line, keys, and whether it is a header."""
    line, started, depth = 1, 1, 0
    keys: list[str] = []
    is_header = is_value = False
    for piece in _PIECE.finditer(text):
        kind, content = piece.lastgroup, piece.group()
        if kind == "line" and depth == 0:
            if keys and (is_header or is_value):
                yield started, tuple(keys), is_header
            keys, is_header, is_value = [], False, False
        elif kind == "mark" and content in "[{":
            if not is_value and not keys:
                is_header = True
            elif is_value:
                depth += 1
        elif kind == "mark" and content in "]}":
            depth -= 1 if is_value and depth else 0
        elif kind == "mark" and content == "=":
            is_value = True
        elif kind in {"word", "text"} and not is_value:
            if not keys:
                started = line
            keys.append(_unquote(content) if kind == "text" else content)
        line += content.count("\n")
    if keys and (is_header or is_value):
        yield started, tuple(keys), is_header


def _unquote(content: str) -> str:
    inner = content[1:-1]
    return inner if content[0] == "'" else _ESCAPE.sub(r"\1", inner)
