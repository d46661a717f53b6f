"""Putting two JSON Schemas into one that asks for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any] | bool


def merge(first: Schema, second: Schema) -> Schema:
    """Join two schemas, so that what obeys the result most likely obeys both.

    Not exact, and need not be: what is made from it is checked against the original.
    """
    if first is False or second is False:
        return False
    if first is True:
        return second
    if second is True:
        return first
    assert isinstance(first, Mapping)
    assert isinstance(second, Mapping)
    merged: dict[str, Any] = dict(first)
    for key, value in second.items():
        if key not in merged or merged[key] == value:
            merged[key] = value
        elif key in _JOINS:
            merged[key] = _JOINS[key](merged[key], value)
        elif key in {"anyOf", "oneOf"}:
            # Each way of the one with each way of the other.
            merged[key] = [{"allOf": [a, b]} for a in merged[key] for b in value]
        elif key == "$ref":
            merged["allOf"] = [*merged.get("allOf", ()), {"$ref": value}]
    if merged.get("type") == []:
        return False
    return merged


def _both(first: Schema, second: Schema) -> Schema:
    return {"allOf": [first, second]}


def _per_name(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(first)
    for name, schema in second.items():
        joined[name] = _both(joined[name], schema) if name in joined else schema
    return joined


def _types(first: str | Sequence[str], second: str | Sequence[str]) -> list[str]:
    wanted = [second] if isinstance(second, str) else list(second)
    offered = [first] if isinstance(first, str) else list(first)
    if "number" in wanted:
        wanted.append("integer")
    if "number" in offered:
        offered.append("integer")
    return [kind for kind in offered if kind in wanted]


def _in_both(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    return [value for value in first if value in second]


def _any_name(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


_JOINS: Mapping[str, Callable[[Any, Any], Any]] = {
    "type": _types,
    "enum": _in_both,
    "required": _any_name,
    "allOf": lambda first, second: [*first, *second],
    "properties": _per_name,
    "patternProperties": _per_name,
    "$defs": _per_name,
    "additionalProperties": _both,
    "items": _both,
    "contains": _both,
    "propertyNames": _both,
    "not": lambda first, second: {"anyOf": [first, second]},
    "minimum": max,
    "exclusiveMinimum": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "minLength": max,
    "maxLength": min,
    "minItems": max,
    "maxItems": min,
    "minProperties": max,
    "maxProperties": min,
    "uniqueItems": lambda first, second: first or second,
    "multipleOf": lambda first, second: first * second,
}
