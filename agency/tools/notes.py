"""``note`` and ``read_notes``: what an agent writes down for itself, beside its conversation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agency.core import beneath
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.ports.tool import ToolContext, ToolRequest
from agency.ports.workspace import OWN
from agency.tools.files.place import failed
from agency.tools.shape import describe, text

NOTE_CHARACTERS_MAX = 4000
NOTES_BYTES_MAX = 32 << 10
"""Of all notes: more would not be read again."""


def _path_of(agent: str) -> str:
    return f"{OWN}/notes/{re.sub(r'[^A-Za-z0-9_.-]+', '-', agent)[:64] or 'agent'}.md"


def _read(folder: Path, agent: str) -> str:
    try:
        with beneath.file(folder, _path_of(agent)) as file:
            return beneath.read_all(file, NOTES_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


class Note:
    """Adds a note."""

    spec = describe(
        "note",
        "Write down something you need later.",
        {"text": text("The note.", maxLength=NOTE_CHARACTERS_MAX)},
    )
    effect = ToolEffect.RESTORE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 10.0

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        return ToolRequest(question="Take a note?", show=dict(arguments), risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Add it; see `Tool.call`."""
        note = arguments["text"].strip()
        if not note:
            return failed("The note is empty.")
        before = _read(await context.workspace.folder(), context.agent)
        written = f"{before}- {note}\n".encode(errors="replace")
        if len(written) > NOTES_BYTES_MAX:
            return failed(f"The notes are full: {NOTES_BYTES_MAX} bytes. Use a file instead.")
        await context.workspace.put(_path_of(context.agent), written)
        return ToolOutput(content="Noted.")


class ReadNotes:
    """Shows all notes."""

    spec = describe("read_notes", "Read your notes.", {})
    effect = ToolEffect.REPEATABLE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 10.0

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del arguments, context
        return ToolRequest(question="Read the notes?", show={}, risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Read them; see `Tool.call`."""
        del arguments
        notes = _read(await context.workspace.folder(), context.agent)
        return ToolOutput(content=notes or "There are no notes.")
