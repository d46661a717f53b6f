"""``write_file`` and ``undo_edit``."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from agency.core import beneath
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.errors import InvalidInput, WorkspaceTooLarge
from agency.ports.tool import ToolContext, ToolRequest
from agency.tools.files.place import attempt, failed, own_refusal, relative
from agency.tools.files.text import size_text, written
from agency.tools.shape import describe, text

DIFFERENCE_CHARACTERS_MAX = 16_000
"""Of a difference that is shown for approval; `limits.APPROVAL_SHOW_BYTES_MAX` holds it."""

COMPARED_BYTES_MAX = 200_000
"""Larger files are not compared line by line: it would hold up everything else."""

COMPARISONS_MAX = 50_000_000
"""Pairs of equal lines by lines, which is what a comparison takes at worst; 3 ns each, measured."""

CONTEXT_LINES = 3
SPARED_LINES = 50
"""Lines that are compared before and after what differs: where lines repeat, a change may be shown
at another place than the first."""


def difference(path: str, before: str, after: str) -> str:
    """Write the unified difference between two texts, bounded."""
    if len(before) + len(after) > COMPARED_BYTES_MAX:
        return f"{path} is replaced: {len(before)} characters by {len(after)}."
    written = "\n".join([f"--- a/{path}", f"+++ b/{path}", *_hunks(before, after)])
    if len(written) > DIFFERENCE_CHARACTERS_MAX:
        return f"{written[:DIFFERENCE_CHARACTERS_MAX]}\n[… the difference goes on …]"
    return written


def _hunks(before: str, after: str) -> Sequence[str]:
    """Write what is changed: line by line, or as a whole where that would take too long."""
    old, new = before.splitlines(), after.splitlines()
    most = min(len(old), len(new))
    same = next((at for at in range(most) if old[at] != new[at]), most)
    most -= same
    same_at_end = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    first = max(0, same - SPARED_LINES)
    last = max(0, same_at_end - SPARED_LINES)
    old, new = old[first : len(old) - last], new[first : len(new) - last]
    counts = Counter(new)
    pairs = sum(counts[line] for line in old)
    if pairs * min(len(old), len(new)) > COMPARISONS_MAX:
        return [
            f"@@ -{first + 1},{len(old)} +{first + 1},{len(new)} @@",
            *(f"-{line}" for line in old),
            *(f"+{line}" for line in new),
        ]
    hunks = list(difflib.unified_diff(old, new, lineterm="", n=CONTEXT_LINES))[2:]
    return [_moved(line, first) if line.startswith("@@") else line for line in hunks]


def _moved(head: str, lines: int) -> str:
    """Move a hunk down by some lines."""
    return re.sub(r"([-+])(\d+)", lambda found: f"{found[1]}{int(found[2]) + lines}", head)


def current(context: ToolContext, path: str) -> str | None:
    """Read a file as it is, to show what would become of it; None when there is none to show."""
    folder: Path = context.workspace.path
    try:
        with beneath.file(folder, relative(path, folder)) as file:
            return beneath.read_all(file, COMPARED_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


class WriteFile:
    """Writes a file as a whole."""

    spec = describe(
        "write_file",
        "Write a whole file; makes folders, replaces what was there.",
        {
            "path": text("File, relative to the workspace."),
            "content": text("All of the new content."),
        },
    )
    effect = ToolEffect.RESTORE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 30.0

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        path, content = arguments["path"], arguments["content"]
        before = current(context, path)
        show = {"path": path, "difference": difference(path, before or "", content)}
        verb = "Write" if before is None else "Replace"
        return ToolRequest(question=f"{verb} the file {path!r}?", show=show, risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Write; see `Tool.call`."""
        content: str = arguments["content"]
        folder = await context.workspace.folder()
        path = relative(arguments["path"], folder)
        if (refusal := own_refusal(path)) is not None:
            return failed(refusal)
        before = await attempt(context, self._threads, path, _lines)
        try:
            await context.workspace.put(path, content.encode(errors="replace"))
        except (InvalidInput, WorkspaceTooLarge) as error:
            return failed(error.message)
        lines = len(content.splitlines())
        was = "" if isinstance(before, ToolOutput) else f"; it had {before} lines"
        size = size_text(len(content.encode(errors="replace")))
        return ToolOutput(content=f"Wrote {path}: {lines} lines, {size}{was}.", files=[path])


def _lines(folder: Path, path: str) -> int:
    with beneath.file(folder, path) as file:
        return len(beneath.read_all(file, COMPARED_BYTES_MAX).splitlines())


class UndoEdit:
    """Takes back the last call that has changed files."""

    spec = describe("undo_edit", "Take back the last change of files.", {})
    effect = ToolEffect.RESTORE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 60.0

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del arguments, context
        return ToolRequest(question="Take back the last change of files?", show={}, risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Undo; see `Tool.call`."""
        del arguments
        await context.workspace.folder()
        paths = [*map(written, await context.workspace.undo())]
        if not paths:
            return failed("There is no change of files to take back.")
        return ToolOutput(content=f"Taken back. Changed: {named(paths)}.", files=paths)


def named(paths: Sequence[str]) -> str:
    """Name some paths, bounded."""
    shown = ", ".join(paths[:20])
    return f"{shown} and {len(paths) - 20} more" if len(paths) > 20 else shown
