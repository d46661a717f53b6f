"""Pages in HTML as text with headings, lists and code as Markdown has them.

A page is read once from front to back, whatever is in it: what is not closed, or nested without
end, costs no more than what is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "title"})
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt",
        "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main",
        "nav", "ol", "p", "section", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
    }
)  # fmt: skip
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_TAG_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_BLANKS = re.compile(r"[ \t\r\n\f\v\xa0]+")
_MANY_LINES = re.compile(r"\n{3,}")


def text_of_page(page: str) -> str:
    """Read a page as text. Scripts, styles and what else nobody reads are left out."""
    parts: list[str] = []
    skipped = ""
    kept = 0  # within <pre> blanks count
    for tag, text in _tokens(page):
        name = (tag or "").lstrip("/")
        is_end = tag is not None and tag.startswith("/")
        if skipped:
            # A page that never closes what it has opened is not lost as a whole.
            skipped = "" if is_end and name == skipped else skipped
        elif tag is None:
            plain = html.unescape(text)
            parts.append(plain if kept else _BLANKS.sub(" ", plain))
        elif name in _SKIPPED:
            skipped = "" if is_end else name
        else:
            if name == "pre":
                kept = max(0, kept + (-1 if is_end else 1))
            parts.append(_mark_of(name, is_end=is_end))
    lines = (line.rstrip() for line in "".join(parts).split("\n"))
    # A blank at the beginning is one between two tags; code has more of them, or none.
    text = "\n".join(line[1:] if line[:1] == " " != line[1:2] else line for line in lines)
    return _MANY_LINES.sub("\n\n", text).strip()


def _mark_of(name: str, *, is_end: bool) -> str:
    """Write what stands for a tag."""
    if name in _HEADINGS:
        return "\n\n" if is_end else "\n\n" + _HEADINGS[name]
    if name == "pre":
        return "\n```\n"
    if name == "li" and not is_end:
        return "\n- "
    if name in {"td", "th"}:
        return " | " if is_end else ""
    if name == "p":
        return "\n\n"
    return "\n" if name in _BLOCKS else ""


def _tokens(page: str) -> Iterator[tuple[str | None, str]]:
    """Give tags by their names, and texts between them.

    The first ``>`` ends a tag, also within an attribute: looking for the end of each quotation
    would let a page take as long as it wants.
    """
    end, size = 0, len(page)
    comments_end = tags_end = True  # there may be another one
    while end < size:
        start = page.find("<", end)
        if start < 0:
            yield None, page[end:]
            return
        if start > end:
            yield None, page[end:start]
        if page.startswith("<!--", start):
            close = page.find("-->", start + 4) if comments_end else -1
            comments_end = close >= 0
            end = close + 3 if close >= 0 else size
            continue
        found = _TAG_NAME.match(page, start + 1)
        if found is None and not page.startswith(("<!", "<?"), start):
            yield None, "<"
            end = start + 1
            continue
        close = page.find(">", start) if tags_end else -1
        tags_end = close >= 0
        if close < 0:
            yield None, page[start:]
            return
        if found is not None:
            yield found[0].lower(), ""
        end = close + 1
