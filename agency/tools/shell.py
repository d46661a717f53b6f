"""``shell``, ``shell_tail`` and ``shell_stop``: commands in the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agency.core import beneath
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.ports.tool import ToolContext, ToolRequest
from agency.ports.workspace import OWN
from agency.tools.background import Background, Work, handle_of, is_handle
from agency.tools.bounded import excerpt
from agency.tools.commands import Commands, Wish, readable_text, status_of
from agency.tools.files.place import failed
from agency.tools.shape import describe, text, truth, whole

COMMAND_CHARACTERS_MAX = 12_000
"""What an approval shows of a command is all of it; longer ones belong into a file."""
TAIL_BYTES = 64 << 10
"""Read of what a command in the background has written; less is shown."""
HELD_BYTES = 2 * TAIL_BYTES
"""Held of it: half of that is its beginning."""

_BEGUN = f"{OWN}/background"
"""Where it is written down which commands were started, for when the daemon has forgotten them."""


class Shell:
    """Runs a shell command in the workspace, without network unless the settings say otherwise."""

    spec = describe(
        "shell",
        "Run a shell command in the workspace.",
        {
            "command": text("The command.", maxLength=COMMAND_CHARACTERS_MAX),
            "background": truth("Let it work on; look at it with shell_tail."),
            "timeout_s": whole("Seconds it may take.", minimum=1),
        },
        optional="background timeout_s",
    )

    def __init__(self, commands: Commands, background: Background) -> None:
        self._commands = commands
        self._background = background

    @property
    def effect(self) -> ToolEffect:
        """See `Commands.effect`."""
        return self._commands.effect

    @property
    def permission(self) -> Permission:
        """See `Commands.permission`."""
        return self._commands.permission

    @property
    def needs(self) -> frozenset[Capability]:
        """As ``[tools] command_needs`` says."""
        return self._commands.needs

    @property
    def timeout_s(self) -> float:
        """See `Commands.timeout_s`."""
        return self._commands.timeout_s

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        show: dict[str, Any] = dict(arguments)
        if hosts := list(self._commands.settings.command_hosts):
            show["network"] = hosts
        where = "in the background" if arguments.get("background") else "in the workspace"
        risk = Risk.HIGH if hosts else Risk.MEDIUM
        return ToolRequest(question=f"Run a command {where}?", show=show, risk=risk)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Run it; see `Tool.call`."""
        line: str = arguments["command"]
        if not line.strip() or "\0" in line:
            return failed("The command is empty, or holds a NUL character.")
        argv = (self._commands.shell, "-c", line)
        if arguments.get("background"):
            return await self._start(line, argv, context)
        wish = Wish(argv=argv, timeout_s=self._commands.timeout_of(arguments.get("timeout_s")))
        end = await self._commands.run(wish, context)
        return await self._commands.told(end, context, "shell")

    async def _start(self, line: str, argv: tuple[str, ...], context: ToolContext) -> ToolOutput:
        settings = self._commands.settings
        handle = handle_of(context.call_key)
        works = self._background.of(context.run_id)
        at_work = [one for one in works.values() if not one.is_over]
        if any(one.handle == handle for one in at_work):
            return self._started(handle)  # by an earlier try of this very call
        if len(at_work) >= settings.commands_max:
            handles = ", ".join(one.handle for one in at_work)
            return failed(f"{len(at_work)} commands work already: {handles}. Stop one first.")
        wish = Wish(argv=argv, timeout_s=settings.background_timeout_s)
        command = await self._commands.command(await context.workspace.folder(), wish)
        # Of its output only the end can be seen, so only that is held: for hours, and for many.
        command = replace(command, bounds=replace(command.bounds, output_bytes_max=HELD_BYTES))
        await context.workspace.put(f"{_BEGUN}/{handle}.txt", line.encode(errors="replace"))
        process = await self._commands.sandbox.start(command)
        process.close_input()
        self._background.add(context.run_id, handle, line, process)
        return self._started(handle)

    def _started(self, handle: str) -> ToolOutput:
        said = f"Started as {handle}. See its output with shell_tail, end it with shell_stop."
        return ToolOutput(
            content=said, structured={"handle": handle}, sandbox=self._commands.sandbox.levels
        )


class _OfBackground:
    """What `ShellTail` and `ShellStop` have in common."""

    permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s = 60.0

    def __init__(self, commands: Commands, background: Background) -> None:
        self._commands = commands
        self._background = background

    async def _find(self, handle: str, context: ToolContext) -> Work | ToolOutput:
        works = self._background.of(context.run_id)
        handle = handle.strip()
        found = works.get(handle)
        if found is not None:
            return found
        line = _begun(await context.workspace.folder(), handle) if is_handle(handle) else None
        if line is None:
            known = ", ".join(works) or "none was started"
            return failed(f"There is no command {handle[:100]!r}. There are: {known}.")
        return failed(
            f"{handle} does not run any more: it ended when the daemon was stopped or restarted, "
            f"and its output is lost. It was:\n{line}\nStart it again if you need it."
        )

    def _told(self, work: Work, lines: int | None) -> ToolOutput:
        end = work.end
        output = readable_text(work.process.tail(TAIL_BYTES)).rstrip()
        if lines is not None:
            output = "\n".join(output.split("\n")[-lines:])
        body = excerpt(
            output or "(no output yet)",
            self._commands.settings.result_characters_max,
            "Write it to a file to see all of it",
        )
        status = "still running" if end is None else status_of(end)
        if end is None and work.is_over:
            status = f"it could not be run: {work.failure}"
        return ToolOutput(
            content=f"{body}\n[{work.handle}: {status}]",
            is_error=work.is_over and (end is None or end.code != 0),
            sandbox=None if end is None else end.levels,
            is_untrusted=end is not None and bool(end.hosts),
        )


def _begun(folder: Path, handle: str) -> str | None:
    """Read which command was started under a handle; None if none was."""
    try:
        with beneath.file(folder, f"{_BEGUN}/{handle}.txt") as file:
            return beneath.read_all(file, 2000).decode("utf-8", "replace")
    except OSError:
        return None


class ShellTail(_OfBackground):
    """Shows the end of what a command in the background has written."""

    spec = describe(
        "shell_tail",
        "See what a command in the background has written last.",
        {
            "handle": text("As shell has told it."),
            "lines": whole("Lines at most.", minimum=1),
            "wait_s": whole("Wait so long for its end.", minimum=0, maximum=50),
        },
        optional="lines wait_s",
    )
    effect = ToolEffect.REPEATABLE

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        return ToolRequest(
            question="See the output of a command?", show=dict(arguments), risk=Risk.LOW
        )

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Show it; see `Tool.call`."""
        import asyncio

        work = await self._find(arguments["handle"], context)
        if isinstance(work, ToolOutput):
            return work
        if (wait_s := arguments.get("wait_s") or 0) > 0:
            await asyncio.wait([work.waiting], timeout=wait_s)
        return self._told(work, arguments.get("lines"))


class ShellStop(_OfBackground):
    """Ends a command in the background."""

    spec = describe(
        "shell_stop",
        "End a command in the background.",
        {"handle": text("As shell has told it.")},
    )
    # What it has written until then is kept.
    effect = ToolEffect.RESTORE

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        return ToolRequest(question="End a command?", show=dict(arguments), risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """End it; see `Tool.call`."""
        work = await self._find(arguments["handle"], context)
        if isinstance(work, ToolOutput):
            return work
        await self._background.end(work)
        told = self._told(work, None)
        return ToolOutput(content=told.content, sandbox=told.sandbox)
