"""References to secrets within JSON values: found, and replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agency.domain.secret import NAME
from agency.ports.vault import REFERENCE

_REFERENCE = re.compile(f"{re.escape(REFERENCE)}({NAME.pattern})?")


def find_references(value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  JSON
    """Give where each reference is, as a JSON pointer, and to what; an empty name is a slip.

    Source of the pointers: RFC 6901.
    """
    yield from _find(value, "")


def _find(value: Any, place: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  JSON
    if isinstance(value, str):
        for number, found in enumerate(_REFERENCE.finditer(value)):
            yield (f"{place}#{number}" if number else place, found[1] or "")
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _find(part, f"{place}/{_token(str(name))}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _find(part, f"{place}/{number}")


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def replace_references(value: Any, values: Callable[[str], str]) -> Any:  # noqa: ANN401  JSON
    """Replace each reference by what ``values`` gives for its name; names of members stay."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: values(found[1] or ""), value)
    if isinstance(value, Mapping):
        return {name: replace_references(part, values) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [replace_references(part, values) for part in value]
    return value
