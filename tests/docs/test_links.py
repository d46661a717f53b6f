"""Links of the documentation lead somewhere, and its sources have one sentence to a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.page import ROOT, name_of, pages

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
MARKER = re.compile(r"^\s*(?:[-*]|\d+\.) +")
CODE = re.compile(r"`[^`\n]*`")
SENTENCE_ENDS = re.compile(r"(?<!\be\.g)(?<!\bi\.e)[.!?]\)? +(?=[A-Z`*])")


def documents() -> list[Path]:
    """List all pages, generated ones as well."""
    return sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines of a page outside of blocks and comments, with their numbers."""
    is_block = False
    is_comment = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_block = not is_block
            continue
        if line.startswith("<!--"):
            is_comment = True
        if not is_block and not is_comment:
            yield number, line
        if "-->" in line:
            is_comment = False


def anchors(path: Path) -> set[str]:
    """Make the anchors of a page's headings, as GitHub does."""
    found: dict[str, int] = {}
    names = set()
    for _, line in prose(path):
        if match := re.match(r"#+ +(.*)", line):
            text = re.sub(r"[^\w\- ]", "", match[1].lower()).replace(" ", "-")
            count = found.get(text, 0)
            found[text] = count + 1
            names.add(f"{text}-{count}" if count else text)
    return names


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_relative_links_resolve(path: Path) -> None:
    broken = []
    for number, line in prose(path):
        for target in LINK.findall(CODE.sub("", line)):
            if "://" in target or target.startswith("mailto:"):
                continue
            file, _, anchor = target.partition("#")
            place = (path.parent / file).resolve() if file else path
            is_sound = place.exists() and (not anchor or anchor in anchors(place))
            if not is_sound or not place.is_relative_to(ROOT):
                broken.append(f"{name_of(path)}:{number}: {target}")

    assert [] == broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        for _, line in prose(path):
            for target in LINK.findall(CODE.sub("", line)):
                place = (path.parent / target.partition("#")[0]).resolve()
                if "://" not in target and place.is_file():
                    waiting.append(place)

    assert [] == [name_of(path) for path in (ROOT / "docs").rglob("*.md") if path not in seen]


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_source_has_one_sentence_to_a_line(path: Path) -> None:
    crowded = [
        f"{name_of(path)}:{number}: {line}"
        for number, line in prose(path)
        if not line.startswith(("|", "#"))
        and SENTENCE_ENDS.search(CODE.sub("x", MARKER.sub("", line)))
    ]

    assert [] == crowded
