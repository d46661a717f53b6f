"""How tools describe themselves to models: few words, flat schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.ports.model import ToolSpec


def describe(
    name: str, description: str, properties: Mapping[str, Mapping[str, Any]], *, optional: str = ""
) -> ToolSpec:
    """Make what is told of a tool.

    Args:
        properties: Schemas of the arguments, by name, in the order in which models write them.
        optional: Names of arguments that may be left out, separated by spaces.
    """
    left_out = set(optional.split())
    assert left_out <= properties.keys(), left_out
    return ToolSpec(
        name=name,
        description=description,
        parameters={
            "type": "object",
            "properties": dict(properties),
            "required": [one for one in properties if one not in left_out],
            "additionalProperties": False,
        },
    )


def text(description: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON schema
    """Describe an argument that is a text."""
    return {"type": "string", "description": description, **more}


def whole(description: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON schema
    """Describe an argument that is a whole number."""
    return {"type": "integer", "description": description, **more}


def truth(description: str) -> dict[str, Any]:
    """Describe an argument that is true or false."""
    return {"type": "boolean", "description": description}
