"""Files that go into a run's workspace with its input, and come out with its output."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agency.core import beneath
from agency.errors import Fault, InvalidInput
from agency.ports.workspace import OWN
from agency.workflows.agent.records import FILES_BYTES_MAX, FILES_MAX, EncodedFile, FileContent

LOOKED_AT_MAX = 20_000
"""Files that are looked through for those that a pattern means."""


def contents_of(files: Mapping[str, FileContent | Mapping[str, Any]]) -> dict[str, bytes]:
    """Decode the files of an input.

    Raises:
        InvalidInput: a path leads out of the workspace, something is no base64, or all of it is
            too large; all faults are named.
    """
    faults: list[Fault] = []
    found: dict[str, bytes] = {}
    for path, content in files.items():
        where = f"/files/{path.replace('~', '~0').replace('/', '~1')}"
        try:
            if not beneath.split(path):
                raise beneath.Unreachable(0, "The path names no file.")  # noqa: TRY301
            found[path] = _decoded(content)
        except beneath.Unreachable as error:
            faults.append(Fault(where, str(error.strerror or error)))
        except (binascii.Error, ValueError) as error:
            faults.append(Fault(f"{where}/base64", f"This is not base64: {error}."))
    size_bytes = sum(len(content) for content in found.values())
    if size_bytes > FILES_BYTES_MAX:
        what = f"The files have {size_bytes} bytes; {FILES_BYTES_MAX} are the most."
        faults.append(Fault("/files", what))
    if faults:
        raise InvalidInput(f"The files cannot be used: {faults[0].what}", faults=faults)
    return found


def _decoded(content: FileContent | Mapping[str, Any]) -> bytes:
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    text = content.base64 if isinstance(content, EncodedFile) else str(content["base64"])
    return base64.b64decode(text, validate=True)


def encoded(content: bytes) -> Any:  # noqa: ANN401  JSON value
    """Write a file's content as an input has it."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def read_files(root: Path, patterns: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Read the files of a folder that patterns mean; blocking, for a thread.

    Args:
        root: The folder; links in it are not followed.
        patterns: Paths, or globs in which ``*`` also stands for ``/``.

    Returns:
        Contents by path, and what was asked for and left out, in sentences.
    """
    contents: dict[str, Any] = {}
    left_out: list[str] = []
    room = FILES_BYTES_MAX
    for path in _meant(root, patterns, left_out):
        if path in contents:
            continue
        if len(contents) >= FILES_MAX:
            left_out.append(f"More than {FILES_MAX} files were asked for.")
            break
        try:
            with beneath.file(root, path) as opened:
                size_bytes = os.fstat(opened).st_size
                if size_bytes * 4 // 3 > room:
                    left_out.append(f"{path}: there is no room for its {size_bytes} bytes.")
                    continue
                content = beneath.read_all(opened, size_bytes)
        except FileNotFoundError:
            left_out.append(f"{path}: there is no such file.")
            continue
        except OSError as error:
            left_out.append(f"{path}: {error.strerror or error}")
            continue
        contents[path] = encoded(content)
        room -= len(content) * 4 // 3
    return contents, left_out


def _meant(root: Path, patterns: Sequence[str], left_out: list[str]) -> Iterator[str]:
    globs = [one for one in patterns if any(mark in one for mark in "*?[")]
    yield from (one for one in patterns if one not in globs)
    if not globs:
        return
    looked_at = 0
    for folder, folders, names, _ in os.fwalk(root, follow_symlinks=False):
        below = os.path.relpath(folder, root)
        folders[:] = sorted(one for one in folders if one != OWN or below != ".")
        for name in sorted(names):
            looked_at += 1
            if looked_at > LOOKED_AT_MAX:
                left_out.append(f"Only the first {LOOKED_AT_MAX} files were looked at.")
                return
            path = name if below == "." else f"{below}/{name}"
            if any(fnmatch.fnmatchcase(path, glob) for glob in globs):
                yield path
