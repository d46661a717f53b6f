"""Shapes of tools: JSON Schemas of inputs and outputs as the protocol wants them, and back.

The input of a tool is an object, and so is its structured output. A workflow may take and give any
JSON value; what is no object stands in one, as its member ``input`` or ``output``.

Source: MCP 2025-11-25, tools, sections "Tool" and "Output Schema".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.domain.content import CONTENT_KEY
from agency.domain.run import RunStatus

Schema = Mapping[str, Any]

INPUT, OUTPUT = "input", "output"

CHECKED_VALUES_MAX = 10_000
"""Values of an output that is held against its schema: each takes 20 to 50 µs."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

RUN_SCHEMA: Schema = {
    "type": "object",
    "title": "Run",
    "description": "Where the run is, when it goes on or what came out has another form.",
    "required": ["run_id", "status", "uri"],
    "properties": {
        "run_id": {"type": "string"},
        "status": {"enum": [str(status) for status in RunStatus]},
        "uri": {"type": "string", "description": "Resource that shows the run."},
        "output": {"description": "What came out."},
        "progress": {"description": "How far it is, as it says itself."},
        "waits": {
            "type": "array",
            "description": "What it waits for.",
            "items": {"type": "object"},
        },
        "next": {"type": "string", "description": "How to go on."},
    },
}
"""What a call is answered with that takes longer, or that waits for somebody."""


def is_object(schema: Schema) -> bool:
    """Tell whether all that fits a schema is an object, as far as it says so at its top."""
    return schema.get("type") == "object"


NO_INPUT: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
"""Of the arguments of a tool that takes none."""


def input_schema(schema: Schema, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Make the input schema of a tool.

    Args:
        schema: Of the workflow's input; empty: any JSON value.
        without: Members that are not the caller's to give.
    """
    if not is_object(schema):
        return _wrapped(schema, INPUT)
    made = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    properties = {
        name: value for name, value in schema.get("properties", {}).items() if name not in without
    }
    made["properties"] = properties
    if without and "required" in made:
        made["required"] = [name for name in made["required"] if name not in without]
    return made


def input_of(schema: Schema, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON value
    """Give the workflow's input that the arguments of a call are."""
    if is_object(schema):
        return dict(arguments)
    return arguments.get(INPUT)


def output_schema(schema: Schema) -> dict[str, Any] | None:
    """Make the output schema of a tool; None where anything may come out, or content does.

    A call that takes longer than a client waits is answered with where its run is, so this is
    allowed beside what the workflow returns.
    """
    if not schema or _is_content(schema):
        return None
    shape = dict(schema) if is_object(schema) else _wrapped(schema, OUTPUT)
    definitions = shape.pop("$defs", None)
    for key in ("$schema", "$id"):
        shape.pop(key, None)
    made: dict[str, Any] = {"$schema": _DRAFT, "type": "object", "anyOf": [shape, dict(RUN_SCHEMA)]}
    if definitions:
        made["$defs"] = definitions
    return made


def structured(output: Any) -> dict[str, Any]:  # noqa: ANN401  JSON value
    """Write an output as an object."""
    return output if isinstance(output, dict) else {OUTPUT: output}


def fits(schema: Schema, value: Any) -> bool:  # noqa: ANN401  JSON value
    """Tell whether a value fits a schema of ours. Slow, see `CHECKED_VALUES_MAX`; in a thread."""
    import jsonschema

    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def can_be_checked(written: bytes) -> bool:
    """Tell whether JSON has so few values that it is known soon whether they fit."""
    # Counted without reading it; what stands in texts is counted as well, which does no harm.
    return sum(written.count(mark) for mark in (b",", b"[", b"{")) < CHECKED_VALUES_MAX


def _wrapped(schema: Schema, member: str) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    definitions = inner.pop("$defs", None)
    made: dict[str, Any] = {
        "type": "object",
        "properties": {member: inner},
        "additionalProperties": False,
    }
    # A member without a type may be left out: nothing is a JSON value, too.
    if inner.get("type") not in {None, "null"}:
        made["required"] = [member]
    if definitions:
        made["$defs"] = definitions
    return made


def _is_content(schema: Schema) -> bool:
    return schema.get("title") == "Content" and CONTENT_KEY in schema.get("properties", {})
