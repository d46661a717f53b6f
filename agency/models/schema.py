"""Checking answers against the JSON Schema that was asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from agency.core import json
from agency.errors import ModelAnswerUnfit, ModelRefused
from agency.models.aside import aside
from agency.ports.model import ChatReply

Schema = Mapping[str, Any] | bool

ANSWER_CHARACTERS_MAX = 64 * 1024
"""Of an unfit answer that is handed on to be mended."""


class AnswerSchema:
    """A JSON Schema, ready to check values; draft by ``$schema``, else 2020-12.

    Making one imports ``jsonschema`` (0.15 s when it is the first time): see `check_answer`.
    """

    def __init__(self, schema: Schema) -> None:
        """Prepare ``schema``. References to other documents are never fetched.

        Raises:
            ModelRefused: it is not a JSON Schema.
        """
        jsonschema = importlib.import_module("jsonschema")
        referencing = importlib.import_module("referencing")
        self._unresolvable: type[Exception] = referencing.exceptions.Unresolvable
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise _not_a_schema(error.message) from error
        self._validator = kind(schema, registry=referencing.Registry())

    def fault(self, value: object) -> str | None:
        """Tell what is wrong with ``value``, with its JSON pointer; None when nothing is.

        Raises:
            ModelRefused: the schema refers to something that it does not hold.
        """
        try:
            for error in self._validator.iter_errors(value):
                pointer = "".join(f"/{part}" for part in error.absolute_path)
                return f"{pointer or '/'}: {error.message[:400]}"
        except self._unresolvable as error:
            raise _not_a_schema(str(error)) from error
        return None

    def is_valid_part(self, schema: Schema, value: object) -> bool:
        """Tell whether ``value`` obeys a part of this schema, whose references lead into it."""
        try:
            return bool(self._validator.evolve(schema=schema).is_valid(value))
        except self._unresolvable as error:
            raise _not_a_schema(str(error)) from error


async def check_answer(reply: ChatReply, schema: Mapping[str, Any]) -> None:
    """Make sure that the content of ``reply`` is JSON that obeys ``schema``.

    Raises:
        ModelAnswerUnfit: it is not.
        ModelRefused: the schema is none.
    """
    try:
        value = json.decode(reply.content)
    except json.NotJson as error:
        cut = " because it was cut off at its limit of tokens" if reply.ended_by == "length" else ""
        raise _unfit(reply, f"it is no JSON{cut} ({error})", broken=True) from error
    fault = await aside(lambda: AnswerSchema(schema).fault(value))
    if fault is not None:
        raise _unfit(reply, fault)


def _unfit(reply: ChatReply, fault: str, *, broken: bool = False) -> ModelAnswerUnfit:
    what = "is broken" if broken else "does not obey the schema"
    return ModelAnswerUnfit(
        f"The reply of the model {reply.model!r} {what}: {fault}.",
        text=reply.content[:ANSWER_CHARACTERS_MAX],
        fault=fault,
        ended_by=reply.ended_by,
    )


def _not_a_schema(reason: str) -> ModelRefused:
    return ModelRefused(
        f"The response schema is not a JSON Schema that can be used: {reason[:400]}.",
        hint="Correct the schema that the request asks for.",
    )
