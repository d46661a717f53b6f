"""JSON in and out: one codec for everything that is stored or sent."""

from __future__ import annotations

from typing import Any

import orjson

_HINT = "Values must be plain JSON: objects, lists, strings, numbers, true, false, null."


class NotJson(ValueError):
    """A value cannot be written as JSON, or a text is not JSON."""


def encode(value: Any) -> bytes:  # noqa: ANN401  JSON enters here
    """Write a value as compact JSON in UTF-8.

    Dataclasses, enums, datetimes (RFC 3339) and UUIDs are written too.

    Raises:
        NotJson: the value holds something that is not JSON, for example a set or a NaN-like object.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise NotJson(f"{error}. {_HINT}") from error


def encode_canonical(value: Any) -> bytes:  # noqa: ANN401  JSON enters here
    """Write a value so that equal values give equal bytes: keys sorted, compact.

    Raises:
        NotJson: as `encode`.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise NotJson(f"{error}. {_HINT}") from error


def decode(text: bytes | str) -> Any:  # noqa: ANN401  JSON enters here
    """Read one JSON value.

    Raises:
        NotJson: the text is not one JSON value in UTF-8, or is nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from error
