"""Content that a run hands out before its end, made of what its author gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agency.core import json
from agency.domain.content import PARTS_MAX, Content, Part, data_part, text_part
from agency.engine.codec import codec_for
from agency.engine.journal import MARKS
from agency.errors import InvalidInput

NAME_CHARACTERS_MAX = 128
"""Longest name of a content; it is part of keys."""


def content_for(name: str, parts: Sequence[Any], *, append: bool, is_last: bool) -> Content:
    """Make content of parts and of values that are to be parts.

    Raises:
        InvalidInput: the name cannot be one, or there are no parts or too many.
        NotJson: a value is not JSON.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise InvalidInput(
            f"The name of a content is a text of 1 to {NAME_CHARACTERS_MAX} characters."
        )
    if not 1 <= len(parts) <= PARTS_MAX:
        raise InvalidInput(f"A content has 1 to {PARTS_MAX} parts, and not {len(parts)}.")
    made = [_part_for(part) for part in parts]
    return Content(parts=made, name=name, append=append, is_last=is_last)


def _part_for(value: Any) -> Part:  # noqa: ANN401  author's value
    if isinstance(value, Part):
        return value
    if isinstance(value, str):
        return text_part(value)
    return data_part(json.decode(codec_for(type(value)).encode(value)))


def label_of(name: str) -> str:
    """Write a name as keys may have it."""
    return "".join("-" if one in MARKS or not one.isprintable() else one for one in name)
