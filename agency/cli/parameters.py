"""Values of options: spans of time, and JSON from the command line, a file or a pipe."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from agency.core.json import NotJson, decode
from agency.core.limits import VALUE_BYTES_MAX

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Span(click.ParamType[float]):
    """A span of time, in seconds: ``90``, ``90s``, ``1.5m``, ``2h``."""

    name = "span"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        if isinstance(value, float):
            return value
        match = _SPAN.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a span of time; write 90s, 5m or 2h.", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


SPAN = Span()


def read_json(text: str, option: str) -> Any:  # noqa: ANN401  JSON value
    """Read a JSON value: as it is typed, from ``@file``, or from the pipe with ``-``.

    Raises:
        click.UsageError: it cannot be read, or is not JSON.
    """
    if text == "-":
        content, source = read_pipe(), "stdin"
    elif text.startswith("@"):
        content, source = _read_file(text[1:], option), text[1:]
    else:
        content, source = text.encode("utf-8", "surrogateescape"), option
    try:
        return decode(content)
    except NotJson as error:
        example = "" if source != option else ' Quote it as one word: \'{"key": "value"}\'.'
        raise click.UsageError(f"{source} is not JSON: {error}.{example}") from error


def read_pipe() -> bytes:
    """Read all of stdin.

    Raises:
        click.UsageError: there is none, or more than `limits.VALUE_BYTES_MAX`.
    """
    if sys.stdin is None:
        raise click.UsageError("There is no stdin to read from.")
    content = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    if len(content) > VALUE_BYTES_MAX:
        raise click.UsageError(f"stdin has more than {VALUE_BYTES_MAX} bytes.")
    return content


def read_pipe_text() -> str:
    """Read all of stdin as UTF-8.

    Raises:
        click.UsageError: as `read_pipe`, or it is not UTF-8.
    """
    try:
        return read_pipe().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not text in UTF-8 (byte {error.start + 1}).") from error


def _read_file(name: str, option: str) -> bytes:
    try:
        with open(name, "rb") as file:  # noqa: PTH123  also of /dev/stdin and named pipes
            content = file.read(VALUE_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"{option}: {name!r} cannot be read: {error.strerror}.") from error
    if len(content) > VALUE_BYTES_MAX:
        raise click.UsageError(f"{option}: {name!r} has more than {VALUE_BYTES_MAX} bytes.")
    return content
