"""What is handed to an agent from this machine: files, and a schema."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from agency.cli.parameters import read_json

FILES_MAX = 256
"""As many as an agent's run takes."""
FILE_BYTES_MAX = 8 << 20
"""One file; larger ones are fetched by the run."""
FILES_BYTES_MAX = 12 << 20
"""All of them: they are part of one request."""


def read_files(paths: Sequence[Path]) -> dict[str, Any]:
    """Read files for a workspace: name to text, or to base64.

    Raises:
        click.UsageError: one cannot be read, or they are too many, too large or of one name.
    """
    found: dict[str, Any] = {}
    for path, content in read_contents(paths).items():
        if path.name in found:
            raise click.UsageError(f"--file: two files are called {path.name!r}.")
        try:
            found[path.name] = content.decode()
        except UnicodeDecodeError:
            found[path.name] = {"base64": base64.b64encode(content).decode()}
    return found


def read_contents(paths: Sequence[Path]) -> Mapping[Path, bytes]:
    """Read files within the limits.

    Raises:
        click.UsageError: as `read_files`.
    """
    if len(paths) > FILES_MAX:
        raise click.UsageError(f"--file: {FILES_MAX} files at most.")
    found: dict[Path, bytes] = {}
    total = 0
    for path in paths:
        try:
            with path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            why = error.strerror
            raise click.UsageError(f"--file: {str(path)!r} cannot be read: {why}.") from error
        total += len(content)
        if len(content) > FILE_BYTES_MAX:
            raise click.UsageError(f"--file: {str(path)!r} has more than {FILE_BYTES_MAX} bytes.")
        if total > FILES_BYTES_MAX:
            raise click.UsageError(f"--file: more than {FILES_BYTES_MAX} bytes together.")
        found[path] = content
    return found


def read_schema(text: str) -> dict[str, Any]:
    """Read a JSON Schema: as it is typed, or from a file, with or without ``@``.

    Raises:
        click.UsageError: it cannot be read, or is no object.
    """
    is_place = not text.lstrip().startswith("{") and not text.startswith("@") and text != "-"
    found = read_json(f"@{text}" if is_place else text, "--schema")
    if not isinstance(found, dict):
        raise click.UsageError("--schema: a JSON Schema is an object.")
    return found
