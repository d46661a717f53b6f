"""What agents elsewhere ask, brought into what may be asked here. Pure.

A schema of somebody else judges what people here answer. Only keywords that cost nothing are kept:
no patterns, which may take for ever, and no references, which may lead anywhere. What is left is
wider than what was meant, and the agent judges the answer itself anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agency.core import json
from agency.core.limits import QUESTION_CHARACTERS_MAX

SCHEMA_BYTES_MAX = 16 * 1024
"""A longer schema is left out: it is part of each list that the question is in."""

DATA_BYTES_MAX = 16 * 1024
"""What is shown beside the question, for the same reason."""

OPTIONS_MAX = 50
DEPTH_MAX = 16
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_FORMATS = frozenset({"date", "date-time", "email", "uri", "uuid"})


def schema_in(data: Any) -> dict[str, Any] | None:  # noqa: ANN401  a JSON value
    """Find the JSON Schema that a question comes with; None where it has none that can be used."""
    if not isinstance(data, dict):
        return None
    options = data.get("options")
    if isinstance(options, list) and 0 < len(options) <= OPTIONS_MAX and _are_texts(options):
        # Of an approval: its schema is that of what may be changed, and not of the answer.
        return {"type": "string", "enum": options}
    found = data.get("schema")
    if not isinstance(found, dict) or len(json.encode(found)) > SCHEMA_BYTES_MAX:
        return None
    return _plain(found, 0)


def url_in(data: Any) -> str:  # noqa: ANN401  a JSON value
    """Find the address at which something is to be authorized, or nothing."""
    url = data.get("url") if isinstance(data, dict) else None
    is_good = isinstance(url, str) and url.startswith(("https://", "http://"))
    return str(url) if is_good and len(str(url)) <= QUESTION_CHARACTERS_MAX else ""


def shown_data(data: Any) -> Any:  # noqa: ANN401  a JSON value
    """Give what may be shown beside the question; None when it is too much."""
    return data if len(json.encode(data)) <= DATA_BYTES_MAX else None


def _plain(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        return {}
    kept = {
        key: schema[key] for key, fits in _KEYWORDS.items() if key in schema and fits(schema[key])
    }
    properties = schema.get("properties")
    if isinstance(properties, dict):
        kept["properties"] = {
            name: _plain(one, depth + 1)
            for name, one in properties.items()
            if isinstance(one, dict)
        }
    if isinstance(schema.get("items"), dict):
        kept["items"] = _plain(schema["items"], depth + 1)
    for key in ("anyOf", "oneOf"):
        choices = schema.get(key)
        if isinstance(choices, list) and choices and all(isinstance(one, dict) for one in choices):
            kept[key] = [_plain(one, depth + 1) for one in choices]
    return kept


def _is_type(value: object) -> bool:
    if isinstance(value, list):
        return 0 < len(value) == len(set(map(str, value))) and all(_is_name(one) for one in value)
    return _is_name(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value in _TYPES


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(one, str) for one in value)
        and len(set(value)) == len(value)
    )


def _is_list(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_format(value: object) -> bool:
    return isinstance(value, str) and value in _FORMATS


def _is_anything(_: object) -> bool:
    return True


_KEYWORDS: Mapping[str, Callable[[object], bool]] = {
    "type": _is_type,
    "title": _is_text,
    "description": _is_text,
    "default": _is_anything,
    "const": _is_anything,
    "enum": _is_list,
    "required": _are_texts,
    "additionalProperties": _is_truth,
    "minimum": _is_number,
    "maximum": _is_number,
    "minLength": _is_count,
    "maxLength": _is_count,
    "minItems": _is_count,
    "maxItems": _is_count,
    "uniqueItems": _is_truth,
    "format": _is_format,
}
