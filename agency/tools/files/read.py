"""``read_file``: lines of a text file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from agency.core import beneath
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.ports.tool import ToolContext, ToolRequest
from agency.tools.files.place import attempt, failed
from agency.tools.files.text import Slice, read_slice, size_text
from agency.tools.shape import describe, text, whole

LINES_DEFAULT = 400


class ReadFile:
    """Shows lines of a file; what is too much is read on with ``offset``."""

    spec = describe(
        "read_file",
        "Read a text file. Long files: read on with offset.",
        {
            "path": text("File, relative to the workspace."),
            "offset": whole("First line, from 1.", minimum=1),
            "limit": whole("Lines at most.", minimum=1),
        },
        optional="offset limit",
    )
    effect = ToolEffect.REPEATABLE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 30.0

    def __init__(self, threads: Executor, *, characters_max: int) -> None:
        self._threads = threads
        self._characters_max = characters_max

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        path = arguments["path"]
        return ToolRequest(question=f"Read the file {path!r}?", show=dict(arguments), risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Read; see `Tool.call`."""
        first = arguments.get("offset") or 1
        lines_max = arguments.get("limit") or LINES_DEFAULT

        def read(folder: Path, path: str) -> tuple[str, Slice | str, int]:
            with beneath.file(folder, path) as file:
                size = os.fstat(file).st_size
                found = read_slice(
                    file,
                    first=first,
                    lines_max=lines_max,
                    characters_max=self._characters_max,
                )
                return path, found, size

        outcome = await attempt(context, self._threads, arguments["path"], read)
        if isinstance(outcome, ToolOutput):
            return outcome
        path, found, size = outcome
        if isinstance(found, str):
            return failed(f"{path!r} is {found} ({size_text(size)}), not text.")
        return ToolOutput(content=_told(path, found))


def _told(path: str, found: Slice) -> str:
    if found.total == 0:
        return f"{path!r} is empty."
    if not found.lines:
        return f"{path!r} has only {found.total} lines."
    last = found.first + len(found.lines) - 1
    body = "\n".join(found.lines)
    if found.first == 1 and found.next is None:
        return body
    more = f"; go on with offset={found.next}" if found.next is not None else ""
    return f"{body}\n[lines {found.first} to {last} of {found.total}{more}]"
