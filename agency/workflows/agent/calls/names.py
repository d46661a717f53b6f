"""The tools that are offered, by the names that models give them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from agency.ports.model import ToolSpec

NAME_CHARACTERS_MAX = 128
"""Longest name of a tool that is looked up; longer ones are cut for messages."""

_PREFIXES = ("functions.", "function.", "tools.", "tool.", "default_api.", "functions::")
_SIGNS = re.compile(r"[\W_]+")


class OfferedTools:
    """Looks tools up. Cheap to make: once per set of tools."""

    def __init__(self, offered: Sequence[ToolSpec]) -> None:
        self.specs = {spec.name: spec for spec in offered}
        alike: dict[str, list[str]] = {}
        for name in self.specs:
            alike.setdefault(_plain(name), []).append(name)
        self._alike = {plain: names[0] for plain, names in alike.items() if len(names) == 1}

    def find(self, name: str) -> ToolSpec | None:
        """Find the tool that a name means beyond doubt, or None.

        Case, ``-`` and ``_``, and a prefix such as ``functions.`` do not count; anything else does:
        a name that is only near is told to the model, never taken for another.
        """
        found = self.specs.get(name)
        if found is not None or len(name) > NAME_CHARACTERS_MAX:
            return found
        bare = name.strip()
        for prefix in _PREFIXES:
            bare = bare.removeprefix(prefix)
        known = self._alike.get(_plain(bare))
        return self.specs[known] if known is not None else None

    def nearest(self, name: str, *, limit: int = 3) -> list[str]:
        """Name the tools whose names are most alike, best first; maybe none."""
        plain = {_plain(known): known for known in self.specs}
        close = difflib.get_close_matches(
            _plain(name[:NAME_CHARACTERS_MAX]), plain, n=limit, cutoff=0.6
        )
        return [plain[one] for one in close]


def _plain(name: str) -> str:
    return _SIGNS.sub("", name).lower()
