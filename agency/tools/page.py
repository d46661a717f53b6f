"""Web pages as text: what people would read, without how it looks.

Run as a program of its own (see `agency.tools.programs`): there are pages of a hundred kilobytes
over which the standard library's parser sits for minutes. Standard input is a JSON object with the
page and its address, standard output the text. It imports nothing of Agency.
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from urllib.parse import urljoin

LINKS_MAX = 100
"""Addresses of links that are written out; pages of lists have thousands."""

_SPACE = "\x1f"
"""Stands for a blank that counts, until blanks that do not count are gone."""

_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "iframe"})
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption",
        "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li",
        "main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul",
    }
)  # fmt: skip
_MARKS = {
    "h1": "# ",
    "h2": "## ",
    "h3": "### ",
    "h4": "#### ",
    "li": "- ",
    "td": " | ",
    "th": " | ",
}


class _Reader(HTMLParser):
    def __init__(self, address: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self._address = address
        # Each once: the end of the outermost ends all that is in it.
        self._skipped: list[str] = []
        self._in_title = False
        self._kept = 0
        self._links: list[str] = []
        self._written = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
        elif tag in _SKIPPED and tag not in self._skipped:
            self._skipped.append(tag)
        if self._skipped:
            return
        given = dict(attrs)
        if tag in _BLOCKS:
            self.parts.append("\n")
        self.parts.append(_MARKS.get(tag, ""))
        if tag == "img" and given.get("alt"):
            self.parts.append(f"[{given['alt']}]")
        elif tag == "pre":
            self._kept += 1
        elif tag == "a":
            self._links.append(given.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._skipped:
            # A page that never closes what it has opened must not be lost as a whole.
            if tag in self._skipped:
                del self._skipped[self._skipped.index(tag) :]
            elif tag in {"html", "body"}:
                self._skipped.clear()
            return
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "pre":
            self._kept = max(0, self._kept - 1)
        elif tag == "a" and self._links:
            self._link(self._links.pop())

    def _link(self, href: str) -> None:
        if not href or href.startswith(("#", "javascript:", "data:")) or self._written >= LINKS_MAX:
            return
        try:
            target = urljoin(self._address, href)
        except ValueError:
            return
        self._written += 1
        self.parts.append(f" ({target[:500]})")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._skipped:
            kept = data.replace(" ", _SPACE) if self._kept else re.sub(r"\s+", " ", data)
            self.parts.append(kept)


def text_of(page: str, address: str) -> str:
    """Make text of a page in HTML.

    Args:
        address: Of the page, from which its links go.
    """
    reader = _Reader(address)
    reader.feed(page)
    reader.close()
    lines = [line.rstrip() for line in "".join(reader.parts).split("\n")]
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(line.lstrip(" ") for line in lines)).strip()
    body = body.replace(_SPACE, " ")
    title = " ".join("".join(reader.title).split())
    return f"{title}\n\n{body}" if title and not body.startswith(f"# {title}") else body


def main() -> None:
    """Read a page, and write its text."""
    given = json.load(sys.stdin.buffer)
    sys.stdout.buffer.write(text_of(given["page"], given["address"]).encode(errors="replace"))


if __name__ == "__main__":
    main()
