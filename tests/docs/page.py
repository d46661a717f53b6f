"""A page of the documentation: its blocks, in order, and what is said about them.

Blocks are fenced. Comments of HTML just above a block say how it is treated:

- ``<!-- not run: REASON -->``: it cannot run here, for that reason; only its syntax is checked.
- ``<!-- stays -->``: its one command keeps running, in a terminal of its own.
- ``<!-- run COMMANDS -->``: no block; commands that readers are spared.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^( *)```(\w*)$")
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
_FILE = re.compile(r"^# ([\w./-]+\.(?:py|toml))$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block, or with the language ``hidden`` a comment with commands.

    Attributes:
        line: Where it begins in its page, from 1.
        not_run: Why it cannot run here, or empty.
        is_talk: Its command asks, and what is typed stands behind its prompts.
    """

    language: str
    text: str
    line: int
    not_run: str = ""
    stays: bool = False
    is_talk: bool = False

    @property
    def file_name(self) -> str:
        """Name of the file that the block shows, from its first line; empty if it names none."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A command of a transcript and what it shows; ``line`` is the command's in its page."""

    command: str
    shown: str
    line: int


def pages() -> list[Path]:
    """List the pages that people write; generated ones and decisions have no commands to follow."""
    found = [ROOT / "README.md"]
    for folder in ("", "tutorial", "how-to", "explanation", "operations"):
        found += sorted((ROOT / "docs" / folder).glob("*.md"))
    return found


def name_of(path: Path) -> str:
    """Name a page as its readers do."""
    return str(path.relative_to(ROOT))


def blocks_of(text: str) -> Iterator[Block]:
    """Find the blocks of a page.

    Raises:
        ValueError: a fence is not closed, or a comment means nothing.
    """
    lines = text.splitlines()
    marks: dict[str, str] = {}
    position = 0
    while position < len(lines):
        start = position
        if lines[position].lstrip().startswith("<!--"):
            while "-->" not in lines[position]:
                position += 1
            word, rest = _comment("\n".join(lines[start : position + 1]))
            if word == "run":
                yield Block(language="hidden", text=rest, line=start + 1)
            else:
                marks[word] = rest
        elif found := _FENCE.match(lines[position]):
            indent, language = found.groups()
            position += 1
            while position < len(lines) and lines[position] != f"{indent}```":
                position += 1
            if position == len(lines):
                raise ValueError(f"The block of line {start + 1} is not closed.")
            body = [line.removeprefix(indent) for line in lines[start + 1 : position]]
            yield Block(
                language=language,
                text="\n".join(body),
                line=start + 1,
                not_run=marks.pop("not run", ""),
                stays="stays" in marks,
                is_talk="talk" in marks,
            )
            marks.clear()
        position += 1


def _comment(text: str) -> tuple[str, str]:
    found = _COMMENT.search(text)
    body = found[1] if found else ""
    if body in {"stays", "talk"}:
        return body, ""
    if body.startswith("run"):
        return "run", body.removeprefix("run").strip()
    word, _, rest = body.partition(": ")
    if word != "not run" or not rest:
        raise ValueError(f"The comment {body!r} means nothing here.")
    return word, rest


def exchanges_of(block: Block) -> list[Exchange]:
    """Split a transcript: commands begin with ``$ `` and may go on over several lines."""
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append((number, [line.removeprefix("$ ")], []))
        elif not found:
            raise ValueError(f"Line {number}: a transcript begins with a command.")
        elif not is_whole("\n".join(found[-1][1])):
            found[-1][1].append(line)
        else:
            found[-1][2].append(line)
    return [Exchange("\n".join(said), "\n".join(shown), line) for line, said, shown in found]


def is_whole(command: str) -> bool:
    """Tell whether a shell would wait for another line."""
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True
