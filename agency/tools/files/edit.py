"""``edit_file``: one piece of a file, replaced."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from agency.core import beneath
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.errors import InvalidInput, WorkspaceTooLarge
from agency.ports.tool import ToolContext, ToolRequest
from agency.tools.files.place import attempt, failed, own_refusal, relative
from agency.tools.files.replace import NotReplaced, Replaced, replace
from agency.tools.files.text import LOOK_BYTES, kind_of, size_text
from agency.tools.files.write import current, difference
from agency.tools.shape import describe, text, truth

FILE_BYTES_MAX = 8 << 20
"""Larger files are not edited by quoting from them."""


class EditFile:
    """Replaces a quoted piece of a file, which must be there once."""

    spec = describe(
        "edit_file",
        "Replace a piece of a file. Quote old exactly; it must be there once.",
        {
            "path": text("File, relative to the workspace."),
            "old": text("What is there now, exactly."),
            "new": text("What takes its place."),
            "all": truth("Replace each place."),
        },
        optional="all",
    )
    effect = ToolEffect.RESTORE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 60.0

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        path = arguments["path"]
        show: dict[str, Any] = {"path": path}
        before = current(context, path)
        outcome = None if before is None else _replace(before, arguments)
        if before is not None and isinstance(outcome, Replaced):
            show["difference"] = difference(path, before, outcome.text)
        else:
            why = outcome.why if isinstance(outcome, NotReplaced) else "There is no such text file."
            show |= {"old": arguments["old"], "new": arguments["new"], "fault": why}
        return ToolRequest(question=f"Edit the file {path!r}?", show=show, risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Edit; see `Tool.call`."""
        folder = await context.workspace.folder()
        path = relative(arguments["path"], folder)
        if (refusal := own_refusal(path)) is not None:
            return failed(refusal)

        def edit(folder: Path, path: str) -> Replaced | NotReplaced:
            with beneath.file(folder, path) as file:
                content = beneath.read_all(file, FILE_BYTES_MAX + 1)
            if len(content) > FILE_BYTES_MAX:
                return NotReplaced(f"It has more than {size_text(FILE_BYTES_MAX)}.")
            if (kind := kind_of(content[:LOOK_BYTES])) is not None:
                return NotReplaced(f"It is {kind}, not text.")
            # Bytes that are no UTF-8 come back as they were.
            return _replace(content.decode("utf-8", "surrogateescape"), arguments)

        outcome = await attempt(context, self._threads, path, edit)
        if isinstance(outcome, ToolOutput):
            return outcome
        if isinstance(outcome, NotReplaced):
            return failed(f"{path} was not changed. {outcome.why}")
        try:
            await context.workspace.put(path, outcome.text.encode(errors="surrogateescape"))
        except UnicodeEncodeError:
            return failed("new holds half of a character, which no file can hold.")
        except (InvalidInput, WorkspaceTooLarge) as error:
            return failed(error.message)
        places = ", ".join(map(str, outcome.lines[:10]))
        what = "one place" if len(outcome.lines) == 1 else f"{len(outcome.lines)} places"
        loosely = " (found by leaving white space out of account)" if outcome.is_loose else ""
        said = f"Edited {path}: {what} replaced, from line {places} on{loosely}."
        return ToolOutput(content=said, files=[path])


def _replace(content: str, arguments: Mapping[str, Any]) -> Replaced | NotReplaced:
    return replace(
        content, arguments["old"], arguments["new"], is_all=bool(arguments.get("all", False))
    )
