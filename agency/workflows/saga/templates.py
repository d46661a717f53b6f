"""References in declared sagas: ``${input.x}``, ``${results.leg.y}``.

A text that is one reference becomes the value itself, of whatever type; inside a longer text a
value is written as text, everything but a text as JSON. ``$${`` stands for ``${``. There is
nothing else: no conditions, no calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agency.core import json
from agency.errors import Fault, InvalidInput

_PLACE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[^.\[\]\s]+|\[[0-9]{1,6}\])*")
_PART = re.compile(r"\.([^.\[\]\s]+)|\[([0-9]{1,6})\]")


class ReferenceMissing(InvalidInput):
    """What a reference names is not there."""

    code = "reference_missing"
    hint = "Look at the input and the results of the legs before."

    def __init__(self, reference: str, missing: str, known: Sequence[str]) -> None:
        names = ", ".join(sorted(known)[:10])
        super().__init__(
            f"The reference ${{{reference}}} cannot be followed: there is no {missing!r}"
            + (f" among {names}." if names else ".")
        )
        self.reference = reference
        self.missing = missing


def references(value: Any, where: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  JSON value
    """Find all references in a value, each with the JSON pointer of the text that it is in.

    A reference that is not well formed comes as the empty text.
    """
    match value:
        case str():
            for place in _PLACE.finditer(value):
                if place[0] != "$${":
                    path = (place[1] or "").strip()
                    yield where, path if _PATH.fullmatch(path) else ""
        case dict():
            for name, item in value.items():
                below = f"{where}/{name.replace('~', '~0').replace('/', '~1')}"
                yield from references(name, below)
                yield from references(item, below)
        case list():
            for position, item in enumerate(value):
                yield from references(item, f"{where}/{position}")


def root_of(reference: str) -> tuple[str, str]:
    """Split a reference into what it begins with and the first name below, or an empty text."""
    root = re.split(r"[.\[]", reference, maxsplit=1)[0]
    part = _PART.match(reference, len(root))
    return root, (part[1] or part[2]) if part else ""


def render(
    value: Any,  # noqa: ANN401  JSON value
    scope: Mapping[str, Any],
    *,
    escape: Callable[[str], str] = str,
) -> Any:  # noqa: ANN401  JSON value
    """Put in what the references of a value stand for.

    Args:
        value: A value whose references are well formed.
        scope: What references begin with.
        escape: Applied to what is put into a longer text.

    Raises:
        ReferenceMissing: what a reference names is not there.
    """
    match value:
        case str():
            whole = _PLACE.fullmatch(value)
            if whole is not None and whole[1] is not None:
                return follow(whole[1].strip(), scope)
            return _PLACE.sub(lambda place: _text(place, scope, escape), value)
        case dict():
            return {
                render_text(name, scope): render(item, scope, escape=escape)
                for name, item in value.items()
            }
        case list():
            return [render(item, scope, escape=escape) for item in value]
        case _:
            return value


def render_text(value: str, scope: Mapping[str, Any], *, escape: Callable[[str], str] = str) -> str:
    """As `render`, of a text that has to be a text."""
    return _as_text(render(value, scope, escape=escape))


def follow(reference: str, scope: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON value
    """Find what a reference stands for.

    Raises:
        ReferenceMissing: it is not there.
    """
    root, _ = root_of(reference)
    if root not in scope:
        raise ReferenceMissing(reference, root, list(scope))
    found = scope[root]
    for part in _PART.finditer(reference, len(root)):
        found = _below(reference, found, part)
    return found


def check_well_formed(where: str) -> Fault:
    """Tell that a reference is not well formed."""
    return Fault(
        where,
        "A reference here is not well formed.",
        "Write it as ${input.name}, ${results.leg.items[0]}; write $${ for ${.",
    )


def _below(reference: str, value: Any, part: re.Match[str]) -> Any:  # noqa: ANN401  JSON value
    name, position = part[1], part[2]
    if position is not None:
        if not isinstance(value, list) or int(position) >= len(value):
            raise ReferenceMissing(reference, f"[{position}]", [])
        return value[int(position)]
    if not isinstance(value, Mapping) or name not in value:
        raise ReferenceMissing(reference, name, list(value) if isinstance(value, Mapping) else [])
    return value[name]


def _text(place: re.Match[str], scope: Mapping[str, Any], escape: Callable[[str], str]) -> str:
    if place[1] is None:
        return "${"
    return escape(_as_text(follow(place[1].strip(), scope)))


def _as_text(value: Any) -> str:  # noqa: ANN401  JSON value
    return value if isinstance(value, str) else json.encode(value).decode()
