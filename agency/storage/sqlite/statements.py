"""The named statements of the ``.sql`` files.

A statement begins with ``-- name: x`` and ends before the next one. A list of columns that several
statements share begins with ``-- fragment: x`` and is put in wherever ``{x}`` stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "sql"

_HEADING = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_PLACE = re.compile(r"\{(\w+)\}")
_ROW = re.compile(r"\(\s*\?(?:,\s*\?)+\)")

ENTRY_VALUES = 7
"""Parameters of one row of the statement ``record_entries``."""

END_VALUES = 7
"""Parameters of one row of the statement ``finish_runs``."""

RECORD_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Rows of the prepared forms of ``record_entries``; what is between is filled up with NULL."""

END_SIZES = (1, 4, 16, 64)
"""The same of ``finish_runs``."""

START_VALUES = 28
"""Parameters of one row of the statement ``insert_runs``."""

START_SIZES = (1, 2, 4, 8, 16, 32, 64)
"""The same of ``insert_runs``."""


def parse(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Split a file into its statements and its fragments, comments left out.

    Raises:
        ValueError: a name is used twice.
    """
    parts = _HEADING.split(text)
    statements: dict[str, str] = {}
    fragments: dict[str, str] = {}
    for sort, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found = statements if sort == "name" else fragments
        if name in found:
            raise ValueError(f"The {sort} {name!r} is there twice.")
        lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
        found[name] = "\n".join(lines).strip()
    return statements, fragments


@cache
def load_statements() -> Mapping[str, str]:
    """Read all statements, by name, with their fragments put in.

    Raises:
        ValueError: a name is used twice, or a fragment is not there.
    """
    statements: dict[str, str] = {}
    fragments: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.sql")):
        named, shared = parse(path.read_text("utf-8"))
        for found, known in ((named, statements), (shared, fragments)):
            twice = found.keys() & known.keys()
            if twice:
                raise ValueError(f"{path.name} has names that another file has: {sorted(twice)}.")
            known.update(found)
    return {name: _fill(text, fragments) for name, text in statements.items()}


def _fill(text: str, fragments: Mapping[str, str]) -> str:
    while _PLACE.search(text):
        try:
            text = _PLACE.sub(lambda place: fragments[place[1]], text)
        except KeyError as error:
            raise ValueError(f"There is no fragment {error.args[0]!r}.") from error
    return text


@cache
def load_record_statements() -> Mapping[int, str]:
    """Read ``record_entries`` in all its sizes, by its number of rows."""
    return _sized("record_entries", RECORD_SIZES)


@cache
def load_end_statements() -> Mapping[int, str]:
    """Read ``finish_runs`` in all its sizes, by its number of rows."""
    return _sized("finish_runs", END_SIZES)


@cache
def load_start_statements() -> Mapping[int, str]:
    """Read ``insert_runs`` in all its sizes, by its number of rows."""
    return _sized("insert_runs", START_SIZES)


def _sized(name: str, sizes: Sequence[int]) -> Mapping[int, str]:
    one = load_statements()[name]
    row = _ROW.search(one)
    assert row is not None, name
    return {size: one.replace(row[0], ", ".join([row[0]] * size)) for size in sizes}
