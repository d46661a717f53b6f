"""Pages as text: what people would read."""

from __future__ import annotations

import time

import pytest

from agency.memory.pages import text_of_page

PAGE = """<!DOCTYPE html>
<html><head><title>Pumps</title><style>p { color: red }</style></head>
<body onload="x = 1">
<!-- nobody reads this -->
<h1>Pumps &amp; water</h1>
<p>A pump <b>moves</b>
   water.<br>It hums.</p>
<ul><li>one</li><li>two</li></ul>
<table><tr><td>a</td><td>b</td></tr></table>
<script>if (a < b) { "</p>" }</script>
<pre>def f():
    return 1</pre>
<p>3 < 4 &lt; 5</p>
</body></html>"""


def test_page_is_read_as_text_with_its_structure() -> None:
    assert [
        "# Pumps & water",
        "",
        "A pump moves water.",
        "It hums.",
        "",
        "- one",
        "",
        "- two",
        "",
        "a | b |",
        "",
        "```",
        "def f():",
        "    return 1",
        "```",
        "",
        "3 < 4 < 5",
    ] == text_of_page(PAGE).splitlines()


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>not closed", "not closed"),
        ("a < b", "a < b"),
        ("a <b", "a <b"),
        ("<!-- never closed", ""),
        ("<script>never closed", ""),
        ("&#x41;&#66;&nosuch;", "AB&nosuch;"),
        ("<P>big</P><IMG src=x>", "big"),
        ("\x00<p>\x00", "\x00\n\n\x00"),
    ],
    ids=range(10),
)
def test_strange_pages_are_read_as_far_as_they_go(page: str, wanted: str) -> None:
    assert wanted == text_of_page(page)


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a", "<div>", "<script>", "<!", "&", "<pre>", "</p>"]
)
def test_hostile_page_takes_no_longer_than_others(piece: str) -> None:
    started_s = time.process_time()
    text_of_page(piece * (2_000_000 // len(piece)))

    # Measured: below 1.5 s. What is quadratic takes minutes.
    assert time.process_time() - started_s < 15
