"""``search_files`` and ``list_files``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agency.core import beneath, json
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.ports.tool import ToolContext, ToolRequest
from agency.ports.workspace import OWN, PACKAGES
from agency.tools.bounded import excerpt
from agency.tools.files import seeker
from agency.tools.files.place import attempt, failed, relative
from agency.tools.files.text import size_text, written
from agency.tools.programs import ask_program
from agency.tools.shape import describe, text, truth

SEARCH_S = 10.0
"""Longest search: patterns that take longer mostly would take for ever."""
MATCHES_MAX = 100
ENTRIES_MAX = 300
PATTERN_CHARACTERS_MAX = 1000
OUTPUT_BYTES_MAX = 1 << 20


class SearchFiles:
    """Finds lines that match a regular expression."""

    spec = describe(
        "search_files",
        "Find lines in files by a regular expression.",
        {
            "pattern": text("Regular expression.", maxLength=PATTERN_CHARACTERS_MAX),
            "path": text("Folder or file; else all files."),
            "glob": text("Only files like this, for example *.py."),
            "ignore_case": truth("Upper and lower case are the same."),
        },
        optional="path glob ignore_case",
    )
    effect = ToolEffect.REPEATABLE
    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = SEARCH_S + 10.0

    def __init__(self, *, characters_max: int, search_s: float = SEARCH_S) -> None:
        self._characters_max = characters_max
        self._search_s = search_s

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        return ToolRequest(question="Search the files?", show=dict(arguments), risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Search; see `Tool.call`."""
        folder = await context.workspace.folder()
        path = relative(arguments.get("path") or ".", folder)
        try:
            beneath.split(path)
        except beneath.Unreachable as error:
            return failed(error.strerror or str(error))
        wanted = {
            "beneath": beneath.__file__,
            "folder": str(folder),
            "path": path,
            "pattern": arguments["pattern"],
            "glob": arguments.get("glob") or "",
            "ignore_case": bool(arguments.get("ignore_case", False)),
            "matches_max": MATCHES_MAX,
        }
        found, end = await self._seek(wanted)
        if end.get("end") == "pattern":
            # A text with brackets, most likely, that was never meant as a pattern.
            found, end = await self._seek(wanted | {"pattern": re.escape(wanted["pattern"])})
            note = "\n[It is no regular expression, and was searched for as it is.]"
            return self._told(path, found, end, note)
        return self._told(path, found, end, "")

    async def _seek(self, wanted: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Run the program that looks; what it has found until it is killed counts."""
        said, _ = await ask_program(
            Path(seeker.__file__),
            json.encode(wanted),
            timeout_s=self._search_s,
            bytes_max=OUTPUT_BYTES_MAX,
        )
        found: list[str] = []
        end: dict[str, Any] = {}
        for line in said.split(b"\n"):
            try:
                one = json.decode(line)
            except json.NotJson:
                continue  # the last one, cut off
            if "end" in one:
                end = one
            else:
                found.append(f"{one['path']}:{one['line']}: {one['text']}")
        return found, end

    def _told(self, path: str, found: list[str], end: Mapping[str, Any], note: str) -> ToolOutput:
        match end.get("end"):
            case "missing":
                return failed(f"There is no {path!r}.")
            case "path":
                return failed(str(end["why"]))
            case "all" if not found:
                skipped = f", {end['skipped']} are too large" if end["skipped"] else ""
                return ToolOutput(content=f"Not found in {end['looked']} files{skipped}.{note}")
            case "all":
                pass
            case "many":
                note += f"\n[More than {MATCHES_MAX}: narrow the search.]"
            case _:
                note += f"\n[Stopped after {self._search_s:g} s: simplify the pattern.]"
                if not found:
                    return failed(f"Nothing was found within {self._search_s:g} s.{note}")
        body = excerpt("\n".join(found), self._characters_max, "Narrow the search")
        return ToolOutput(content=f"{body}{note}")


@dataclass(slots=True)
class _Listing:
    lines: list[str] = field(default_factory=list)
    files: int = 0
    more: int = 0

    def add(self, line: str) -> None:
        if len(self.lines) < ENTRIES_MAX:
            self.lines.append(line)
        else:
            self.more += 1


class ListFiles:
    """Lists what is in a folder and below."""

    spec = describe(
        "list_files",
        "List files and their sizes.",
        {
            "path": text("Folder; else the whole workspace."),
            "glob": text("Only files like this, for example *.py."),
        },
        optional="path glob",
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
        return ToolRequest(question="List the files?", show=dict(arguments), risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """List; see `Tool.call`."""
        glob = arguments.get("glob") or ""

        def look(folder: Path, path: str) -> tuple[str, _Listing]:
            found = _Listing()
            parts = beneath.split(path)
            with beneath.folder(folder, parts) as descriptor:
                _list(descriptor, "".join(f"{part}/" for part in parts), 0, glob, found)
            return path, found

        outcome = await attempt(context, self._threads, arguments.get("path") or ".", look)
        if isinstance(outcome, ToolOutput):
            return outcome
        path, found = outcome
        if not found.lines:
            like = f" like {glob!r}" if glob else ""
            return ToolOutput(content=f"There are no files{like} in {path!r}.")
        body = excerpt("\n".join(found.lines), self._characters_max, "List a folder of it")
        more = f"\n[{found.more} more: list a folder of it, or use glob.]" if found.more else ""
        return ToolOutput(content=f"{body}{more}")


def _list(descriptor: int, above: str, depth: int, glob: str, found: _Listing) -> None:
    with os.scandir(descriptor) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = f"{above}{name}"
        shown = written(path)
        try:
            looked = os.lstat(name, dir_fd=descriptor)
            if stat.S_ISDIR(looked.st_mode):
                if name in seeker.SKIPPED or path in {OWN, PACKAGES} or depth >= beneath.DEPTH_MAX:
                    if path != OWN and not glob:
                        found.add(f"{shown}/ (not looked into)")
                    continue
                if not glob:
                    found.add(f"{shown}/")
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(name, flags, dir_fd=descriptor)
                try:
                    _list(below, f"{path}/", depth + 1, glob, found)
                finally:
                    os.close(below)
            elif seeker.fits(path, glob):
                if stat.S_ISLNK(looked.st_mode):
                    found.add(f"{shown} -> {written(os.readlink(name, dir_fd=descriptor))}")
                else:
                    found.add(f"{shown} ({size_text(looked.st_size)})")
        except OSError:
            continue  # gone meanwhile, or not to be read
