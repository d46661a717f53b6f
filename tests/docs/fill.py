"""Print a page with what its commands show today: ``python -m tests.docs.fill PAGE``.

For whoever writes pages; what it prints is to be read before it is kept.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.follower import open_follower
from tests.docs.page import Exchange, blocks_of


def filled(path: Path) -> str:
    """Follow a page as far as possible; what was seen takes the place of what is not alike."""
    text = path.read_text()
    lines: list[str | None] = list(text.splitlines())

    def put(exchange: Exchange, seen: str) -> None:
        first = exchange.line + exchange.command.count("\n")
        indent = _indent(lines[exchange.line - 1])
        for number in range(first, first + len(exchange.shown.splitlines())):
            lines[number] = None
        lines[first - 1] = "\n".join(
            [str(lines[first - 1]), *(indent + line for line in seen.splitlines())]
        )

    with tempfile.TemporaryDirectory() as home, open_follower(Path(home), put) as follower:
        for block in blocks_of(text):
            try:
                follower.follow(block)
            except AssertionError as error:
                sys.stderr.write(f"{error}\n")
                break
    return "\n".join(line for line in lines if line is not None) + "\n"


def _indent(line: str | None) -> str:
    assert line is not None
    return line[: len(line) - len(line.lstrip())]


if __name__ == "__main__":
    sys.stdout.write(filled(Path(sys.argv[1])))
