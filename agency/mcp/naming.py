"""Names of tools: they stand for agents and workflows, whose own names may be of any form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence

from agency.web.published import Published, PublishedKind

NAME_CHARACTERS_MAX = 64
"""What the models behind most clients take; the protocol itself would take 128."""

ASK = "ask_"
"""What the tools begin with that ask an agent."""

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_MARK_CHARACTERS = 6


def tool_names(
    published: Sequence[Published], reserved: Collection[str]
) -> Mapping[str, Published]:
    """Give all that is published by the names of its tools, in the order of these names.

    A name that fits is taken as it is. One that does not, or that is taken, ends in a mark that is
    made of the whole of it: it stays the same whatever else is published.
    """
    wanted = {one.name: _plain(one) for one in published}
    taken = set(reserved)
    found: dict[str, Published] = {}
    # Those that are as their authors have written them come first: others have to give way.
    for one in sorted(published, key=lambda one: (_is_marked(one, wanted[one.name]), one.name)):
        name = wanted[one.name]
        if name in taken or _is_marked(one, name):
            name = _marked(one)
        taken.add(name)
        found[name] = one
    return dict(sorted(found.items()))


def is_plain(name: str, reserved: Collection[str]) -> bool:
    """Tell whether the tool of this name can only be the workflow of this name."""
    is_fit = _UNFIT.search(name) is None and len(name) <= NAME_CHARACTERS_MAX
    return is_fit and name not in reserved and not name.startswith(ASK)


def _plain(one: Published) -> str:
    prefix = ASK if one.kind is PublishedKind.AGENT else ""
    return prefix + one.name


def _is_marked(one: Published, name: str) -> bool:
    return bool(_UNFIT.search(name)) or len(name) > NAME_CHARACTERS_MAX


def _marked(one: Published) -> str:
    digest = hashlib.sha256(f"{one.kind}:{one.name}".encode()).hexdigest()[:_MARK_CHARACTERS]
    plain = _UNFIT.sub("_", _plain(one))
    return f"{plain[: NAME_CHARACTERS_MAX - _MARK_CHARACTERS - 1]}_{digest}"
