"""Every block of the documentation works as its page says, in the order of the page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.follower import open_follower
from tests.docs.likeness import HOME, Likeness
from tests.docs.page import Block, blocks_of, exchanges_of, name_of, pages
from tests.docs.terminal import as_shown

PROGRAMS = ("curl", "make", "tail")
NOT_RUN = (
    "needs root",
    "needs macOS",
    "needs systemd",
    "makes the environment that the tests run in",
    "runs all tests",
    "needs a server that demands a login",
    "the program is not part of this one",
)
"""Why a block may be left out. Anything else that cannot run does not belong on a page."""


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_page_can_be_followed(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    missing = [name for name in PROGRAMS if f"{name} " in text and shutil.which(name) is None]
    if missing or shutil.which("bash") is None:
        pytest.skip(f"{', '.join(missing or ['bash'])} is not installed")
    if "$ make run" in text and not (Path(sys.prefix) / ".stamp-run").exists():
        pytest.skip("the environment was not made by make, which would make it anew")
    blocks = list(blocks_of(text))

    with open_follower(tmp_path / "home") as follower:
        for block in blocks:
            follower.follow(block)


def test_what_is_not_run_has_a_known_reason() -> None:
    reasons = {
        (name_of(path), block.line): block.not_run
        for path in pages()
        for block in blocks_of(path.read_text())
        if block.not_run
    }

    assert {} == {place: why for place, why in reasons.items() if why not in NOT_RUN}
    assert set(NOT_RUN) == set(reasons.values())


def test_pages_have_no_blocks_that_are_only_indented() -> None:
    for path in pages():
        lines = path.read_text().splitlines()
        inside = False
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith("```"):
                inside = not inside
            is_block = line.startswith("    ") and not inside and lines[number - 2] == ""
            assert not is_block, f"{name_of(path)}:{number}: fence this block, so that it is run"


def test_transcript_is_split_at_its_commands() -> None:
    text = "$ curl -d '{\n  \"a\": 1}' \\\n  here\nanswer\n$ ls\na\n\nb"

    found = exchanges_of(Block(language="console", text=text, line=10))

    assert [
        ("curl -d '{\n  \"a\": 1}' \\\n  here", "answer", 11),
        ("ls", "a\n\nb", 15),
    ] == [(one.command, one.shown, one.line) for one in found]


def test_id_stands_for_the_one_that_was_seen_in_its_place() -> None:
    shown, seen, other = (f"{digit * 8}-1111-7111-8111-111111111111" for digit in "abc")
    likeness = Likeness(home="/tmp/x", port=4711)

    assert likeness.accepts(f"run {shown}\n{shown} pending", f"run  {seen}\n{seen} pending")
    assert f"agency runs show {seen}" == likeness.command(f"agency runs show {shown}")
    assert likeness.accepts(f"run {shown}", f"run {seen}")
    assert not likeness.accepts(f"run {shown}", f"run {other}")
    assert not likeness.accepts(f"run {other}", f"run {seen}")


@pytest.mark.parametrize(
    ("shown", "seen", "is_alike"),
    [
        ("at 2026-01-01T00:00:00.000000Z", "at 2027-05-06T07:08:09.1Z", True),
        ("serves at http://127.0.0.1:8080", "serves at http://127.0.0.1:4711", True),
        (f"data  {HOME}/var", "data /tmp/x/var", True),
        ("a … c", "a b b c", True),
        ("a\n…\nz", "a\nb\nc\nz", True),
        ("a\n…\nz", "a\nz", True),
        ("…\nb\n…", "a\nb\nc", True),
        ("…\nb\n…", "b", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
        ("", "anything", False),
        ("", "", True),
    ],
)
def test_what_differs_each_time_does_not_count(*, shown: str, seen: str, is_alike: bool) -> None:
    assert is_alike == Likeness(home="/tmp/x", port=4711).accepts(shown, seen)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\r\nb\r\n", "a\nb"),
        ("wait\r\x1b[2Kdone", "done"),
        ("\x1b[?25l⠋ wait\r\n\x1b[1A\x1b[2Kdone\x1b[?25h", "done"),
        ("\x1b[1mbold\x1b[0m", "bold"),
        ("abc\rX", "Xbc"),
    ],
)
def test_terminal_shows_what_is_left_on_the_screen(said: str, shown: str) -> None:
    assert shown == as_shown(said)
