"""Whether what was seen is what a page shows, save what differs each time: ids, moments, places.

A page shows real ids. The first time that one is shown it stands for the one that was seen there,
and it is put in its place in all commands that come after. ``…`` stands for anything in its line,
and alone in a line for any number of lines.
"""

from __future__ import annotations

import re

HOME = "/home/ada"
"""Home of whoever follows the pages."""
PORT = "8080"

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PARTS = re.compile(
    rf"(?P<id>{_UUID})"
    r"|(?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"
    r"|(?P<uptime>\d+h \d+m \d+s)"
    r"|(?P<hash>\b[0-9a-f]{12}\b)"
    r"|(?P<token>\bagy_[\w-]{40,})"
    r"|(?P<prefix>\bagy_[\w-]{8}\b)"
    r"|(?P<pid>(?<=\bprocess id )\d+|(?<=`kill )\d+)"
    r"|(?P<anything>…)"
    r"|(?P<blank>[ \t]+)"
)
_FORMS = {
    "moment": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "uptime": r"\d+h \d+m \d+s",
    "hash": r"[0-9a-f]{12}",
    "token": r"agy_[\w-]{40,}",
    "prefix": r"agy_[\w-]{8}",
    "pid": r"\d+",
    "anything": r"[^\n]*",
    "blank": r"[ \t]+",
}


class Likeness:
    """What stands for what on one page."""

    def __init__(self, *, home: str, port: int) -> None:
        self._home = home
        self._port = str(port)
        self._ids: dict[str, str] = {}

    def command(self, text: str) -> str:
        """Put the ids and the port of this run into a command."""
        for shown, seen in self._ids.items():
            text = text.replace(shown, seen)
        return re.sub(rf"\b{PORT}\b", self._port, text)

    def seen(self, text: str) -> str:
        """Put the page's ids, home and port into what was seen."""
        for shown, seen in self._ids.items():
            text = text.replace(seen, shown)
        return re.sub(rf"\b{self._port}\b", PORT, text.replace(self._home, HOME))

    def accepts(self, shown: str, seen: str) -> bool:
        """Tell whether they are alike, and remember the new ids if they are."""
        found = self.pattern(shown).fullmatch(self.seen(seen) + "\n" if seen else "")
        if found is None or any(each in self._ids for each in found.groups()):
            return False
        new = [each for each in dict.fromkeys(re.findall(_UUID, shown)) if each not in self._ids]
        self._ids.update(zip(new, found.groups(), strict=True))
        return True

    def pattern(self, shown: str) -> re.Pattern[str]:
        """Make the pattern of what may be seen; its groups are the ids that are new."""
        new: list[str] = []
        lines = []
        for line in shown.splitlines():
            if line.strip() == "…":
                lines.append(r"(?:[^\n]*\n)*?")
            else:
                lines.append(self._line(line, new) + r"[ \t]*\n")
        return re.compile("".join(lines))

    def _line(self, line: str, new: list[str]) -> str:
        parts = []
        end = 0
        for found in _PARTS.finditer(line):
            parts.append(re.escape(line[end : found.start()]))
            end = found.end()
            kind = found.lastgroup
            assert kind is not None
            parts.append(self._id(found[0], new) if kind == "id" else _FORMS[kind])
        return "".join([*parts, re.escape(line[end:])])

    def _id(self, shown: str, new: list[str]) -> str:
        if shown in self._ids:
            return re.escape(shown)
        if shown in new:
            return rf"\{new.index(shown) + 1}"
        new.append(shown)
        return rf"({_UUID})"
