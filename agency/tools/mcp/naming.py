"""What the tools of servers are called here: in letters that models accept, and told apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

NAME_CHARACTERS_MAX = 64
"""Longest name of a tool that the common model servers accept."""

SEPARATOR = "__"

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")
_DIGITS = 6


def full_names(connection: str, names: Sequence[str]) -> Mapping[str, str]:
    """Give each tool of a connection its name here, ``connection__tool``.

    What models do not accept becomes an underscore. A name that is cut, or that would then be
    another's, ends in a digest of the server's own name, so that it stays the same whatever else
    the server offers beside those two.

    Returns:
        The names here by the server's own; each is there once, and so the way back is unique.
    """
    own = dict.fromkeys(names)
    clean = {name: _NOT_ALLOWED.sub("_", name) or "_" for name in own}
    taken = {name for name in own if clean[name] == name}
    changed: dict[str, int] = {}
    for name in own:
        if clean[name] != name:
            changed[clean[name]] = changed.get(clean[name], 0) + 1
    found = {}
    for name in own:
        short = clean[name]
        is_shared = short != name and (short in taken or changed[short] > 1)
        found[name] = _fit(f"{connection}{SEPARATOR}{short}", name, is_shared=is_shared)
    return found


def _fit(text: str, name: str, *, is_shared: bool) -> str:
    if len(text) <= NAME_CHARACTERS_MAX and not is_shared:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{text[: NAME_CHARACTERS_MAX - _DIGITS - 1]}_{digest}"
