"""Words for JSON values: what a text means where a schema says what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.core import json
from agency.engine.answers import check_schema
from agency.errors import InvalidInput

_TEXT = {"type": "string"}


class NotUnderstood(Exception):
    """A text means no value of the schema."""


def value_of(text: str, schema: Any) -> Any:  # noqa: ANN401  JSON Schema; JSON value
    """Understand a text as a value that fits a schema.

    Text is taken as it is where text fits. Else it may be JSON, or stand for an object whose only
    required member is a text.

    Raises:
        NotUnderstood: it means none.
    """
    # Most workflows take text; nothing has to be checked then.
    if not schema or schema == _TEXT or _fits(schema, text):
        return text
    try:
        value = json.decode(text)
    except json.NotJson:
        pass
    else:
        if _fits(schema, value):
            return value
    member = sole_text_member(schema)
    if member is not None and _fits(schema, {member: text}):
        return {member: text}
    raise NotUnderstood


def _fits(schema: Any, value: Any) -> bool:  # noqa: ANN401  JSON Schema; JSON value
    try:
        check_schema(schema, value, what="", at="")
    except InvalidInput:
        return False
    return True


def sole_text_member(schema: Mapping[str, Any]) -> str | None:
    """Find the one member of an object that a text can be: the only required, or the only one."""
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        return None
    names = schema.get("required") or list(properties)
    if len(names) != 1:
        return None
    member = properties.get(names[0])
    is_text = isinstance(member, Mapping) and member.get("type") == "string"
    return str(names[0]) if is_text else None
