"""``python``: code that a model has written, run in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.ports.tool import ToolContext, ToolRequest
from agency.tools.commands import Commands, Wish
from agency.tools.files.place import failed
from agency.tools.packages import lost_packages
from agency.tools.shape import describe, text, whole

CODE_CHARACTERS_MAX = 100_000


class Python:
    """Runs Python code in the workspace; what it prints is the result."""

    spec = describe(
        "python",
        "Run Python code in the workspace. Print what you want to see.",
        {
            "code": text("The code.", maxLength=CODE_CHARACTERS_MAX),
            "timeout_s": whole("Seconds it may take.", minimum=1),
        },
        optional="timeout_s",
    )

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

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
        return ToolRequest(question="Run Python code?", show=dict(arguments))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Run it; see `Tool.call`."""
        code: str = arguments["code"]
        if not code.strip():
            return failed("There is no code.")
        folder = await context.workspace.folder()
        wish = Wish(
            # The folder is on the path, so that modules of the run are found.
            argv=(self._commands.python_of(folder), "-"),
            stdin=code.encode(errors="replace"),
            timeout_s=self._commands.timeout_of(arguments.get("timeout_s")),
        )
        end = await self._commands.run(wish, context)
        told = await self._commands.told(
            end, context, "python", if_silent="(nothing was printed; print what you want to see)"
        )
        lost = lost_packages(folder) if end.code != 0 else ""
        return (
            told
            if not lost
            else ToolOutput(
                content=f"{told.content}\n[{lost}]",
                is_error=told.is_error,
                sandbox=told.sandbox,
                is_untrusted=told.is_untrusted,
                structured=told.structured,
            )
        )
