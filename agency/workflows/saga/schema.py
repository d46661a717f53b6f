"""A codec whose type is a JSON Schema that somebody has declared."""

from __future__ import annotations

import functools
from typing import Any

from agency.core import json
from agency.core.limits import VALUE_BYTES_MAX
from agency.errors import Fault, InvalidInput, ValueTooLarge

FAULTS_MAX = 20
"""Faults of one value that are told."""


class SchemaCodec:
    """JSON as it is, checked against a schema when it is read."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    @functools.cached_property
    def _validator(self) -> Any:  # noqa: ANN401  of a library without types
        import jsonschema

        return jsonschema.Draft202012Validator(self._schema)

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  JSON value
        """Write a value; see `agency.engine.codec.Codec`."""
        body = json.encode(value)
        if len(body) > VALUE_BYTES_MAX:
            raise ValueTooLarge("The value", len(body), VALUE_BYTES_MAX)
        return body

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  JSON value
        """Read and check a value; see `agency.engine.codec.Codec`."""
        value = json.decode(body)
        found = []
        for fault in self._validator.iter_errors(value):
            where = "".join(f"/{_escaped(part)}" for part in fault.absolute_path)
            found.append(Fault(where or "/", fault.message[:500]))
            if len(found) == FAULTS_MAX:
                break
        if found:
            first = found[0]
            raise InvalidInput(f"The value does not fit: {first.where}: {first.what}", faults=found)
        return value

    def prepare(self) -> None:
        """Get ready; the schema was checked when it was declared."""
        assert self._validator is not None

    def schema(self) -> dict[str, Any]:
        """Give the schema itself."""
        return self._schema


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
