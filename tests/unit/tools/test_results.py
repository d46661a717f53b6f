"""How results look to models."""

from __future__ import annotations

import time

import pytest

from agency.tools.bounded import excerpt
from agency.tools.commands import readable_text
from agency.tools.files.seeker import fits
from agency.tools.page import text_of


def test_short_text_is_not_cut() -> None:
    assert "abc" == excerpt("abc", 3, "x")


def test_long_text_keeps_head_and_tail_at_ends_of_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(1000))

    cut = excerpt(text, 500, "It is in x")

    assert len(cut) < 600
    head, tail = cut.split("\n[…", 1)
    assert text.startswith(head + "\n")
    assert text.endswith("\n" + tail.partition("…]\n")[2])
    assert "It is in x" in tail


def test_text_without_lines_is_cut_anywhere() -> None:
    cut = excerpt("x" * 10_000, 1000, "w")
    assert 1000 == cut.count("x")
    assert "9000 characters, 0 lines left out" in cut


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"\x1b[1;32mok\x1b[0m\r\n", "ok\n"),
        (b"10%\r50%\r100%\nend", "100%\nend"),
        (b"\x1b]0;title\x07x", "x"),
        (b"a\0b\x08", "ab"),
        ("äöü".encode(), "äöü"),
        (b"\xff", "\ufffd"),
    ],
)
def test_output_is_what_people_would_read(output: bytes, text: str) -> None:
    assert text == readable_text(output)


@pytest.mark.parametrize(
    ("path", "glob", "is_fit"),
    [
        ("src/a.py", "*.py", True),
        ("src/a.py", "src/*.py", True),
        ("src/b/a.py", "**/*.py", True),
        ("src/a.py", "*.rs", False),
        ("a.py", "", True),
    ],
)
def test_globs_are_for_names_or_paths(*, path: str, glob: str, is_fit: bool) -> None:
    assert is_fit is fits(path, glob)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("<script>never closed", ""),
        ("<style>x</style>y", "y"),
        ("<a href='/x'>t</a>", "t (http://h/x)"),
        ("<a href='javascript:x()'>t</a>", "t"),
        ("<table><tr><td>1<td>2</table>", "| 1 | 2"),
        ("<img alt='a dog'>", "[a dog]"),
        ("&lt;b&gt; &#65;", "<b> A"),
        ("<" * 1000, "<" * 1000),
        ("<p>a<br>b", "a\nb"),
    ],
)
def test_page_is_read_as_people_do(page: str, text: str) -> None:
    assert text == text_of(page, "http://h/")


@pytest.mark.parametrize(
    "piece", ["<svg></p>", "<title><b>xx", "<iframe><svg></iframe>", "<a href=x>"]
)
def test_time_for_a_page_grows_with_its_length_only(piece: str) -> None:
    began_s = time.process_time()

    text_of(piece * 40_000, "http://h/")

    # Measured: 1 s. What grew with the square took minutes.
    assert time.process_time() - began_s < 10
