"""What a validation finds wrong, in our words: where, what, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from agency.core.limits import FAULTS_MAX
from agency.errors import Fault, InvalidInput


def invalid_input(error: ValidationError, model: type[BaseModel], where: str) -> InvalidInput:
    """Turn a failed validation into an error of ours with its first faults.

    Args:
        where: ``body`` for JSON pointers, ``query`` for the names of parameters.
    """
    faults = [
        _fault(dict(found), model, is_body=where == "body")
        for found in islice(
            error.errors(include_url=False, include_context=True, include_input=True), FAULTS_MAX
        )
    ]
    first = faults[0]
    place = f"{first.where}: " if first.where else ""
    more = f" ({error.error_count() - 1} more)" if len(faults) > 1 else ""
    return InvalidInput(
        f"The {where} is not valid: {place}{first.what}{more}",
        faults=faults,
        hint=first.hint or "See `errors` for all that is wrong.",
    )


def pointer_of(path: Sequence[str | int]) -> str:
    """Write a JSON pointer. Source: RFC 6901, section 3."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Suggest the known name that is nearest, or list them all when they are few."""
    if near := difflib.get_close_matches(name, known, n=1):
        return f"Did you mean {near[0]!r}?"
    return f"Known are: {', '.join(known)}."


def _fault(found: Mapping[str, Any], model: type[BaseModel], *, is_body: bool) -> Fault:
    path = [_printable(part) for part in found["loc"]]
    where = pointer_of(path) if is_body else ".".join(str(part) for part in path[:1])
    kind = found["type"]
    if kind == "missing":
        return Fault(where, "This is needed and missing.")
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), list(model.model_fields)) if len(path) == 1 else ""
        return Fault(where, "There is no such member." if is_body else "No such parameter.", hint)
    if kind in {"model_type", "model_attributes_type"}:
        return Fault(where, f"An object is needed, not {_kind_of(found['input'])}.")
    message = found["msg"].removeprefix("Value error, ").removesuffix(".")
    if kind.endswith(("_type", "_parsing")):
        message = f"{message}, not {_kind_of(found['input'])}"
    return Fault(where, f"{message}.")


def _printable(part: str | int) -> str | int:
    return part if isinstance(part, int) else part[:128]


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string" if len(value) > 40 else f"the string {value!r}"
        case dict():
            return "an object"
        case _:
            return "an array"
