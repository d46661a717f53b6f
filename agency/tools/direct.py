"""Calls of tools that no agent makes: those of the legs of sagas.

Nobody is asked there, so only tools are called that need no asking, by what they are themselves or
because the settings say so.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from agency.core import json
from agency.domain.tool import Asks, Permission, ToolEffect, ToolOutput
from agency.errors import InvalidInput, ToolNotAllowed, UnknownTool
from agency.ports.tool import Tool, ToolContext
from agency.ports.workspace import Workspaces
from agency.tools.toolsets import ToolsetRegistry

log = logging.getLogger(__name__)

FAULTS_SHOWN = 5


class DirectCalls:
    """Makes calls; the promises are those of `agency.ports.tool.ToolCalls`."""

    def __init__(
        self, toolsets: ToolsetRegistry, workspaces: Workspaces, *, allow: Sequence[str]
    ) -> None:
        """Take the sources of tools.

        Args:
            allow: Names, or patterns of names, of tools that are called although they would ask.
        """
        self._toolsets = toolsets
        self._workspaces = workspaces
        self._allow = tuple(allow)
        # Legs beside each other share a folder, and only one call at a time may change it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        run_id: str,
        caller: str,
        call_key: str,
        principal: str = "",
    ) -> ToolOutput | Asks:
        """Call a tool over the newest state of the run's workspace; see `ToolCalls.call`."""
        tool = await self._toolsets.find(name)
        if tool is None:
            raise UnknownTool(name)
        if not self._may_call(tool):
            raise ToolNotAllowed(name)
        check_arguments(tool, arguments)
        workspace = self._workspaces.of(run_id)
        context = ToolContext(
            run_id=run_id,
            agent=caller,
            session_id=None,
            principal=principal,
            call_key=call_key,
            workspace=workspace,
            progress=_unheard,
        )
        async with self._turn(run_id):
            await self._workspaces.reopen(run_id)
            async with asyncio.timeout(tool.timeout_s):
                output = await tool.call(arguments, context)
                while isinstance(output, Asks) and output.is_begun and not output.questions:
                    # The work goes on elsewhere, and is looked at.
                    await asyncio.sleep(output.again_s)
                    output = await tool.call(arguments, replace(context, state=output.state))
            if tool.effect is not ToolEffect.REPEATABLE:
                await workspace.keep()
                if workspace.left_out:
                    log.warning(
                        "some of the run's files are not kept",
                        extra={"run_id": run_id, "reasons": list(workspace.left_out)},
                    )
        return output

    def _may_call(self, tool: Tool) -> bool:
        is_named = any(fnmatch.fnmatchcase(tool.spec.name, one) for one in self._allow)
        return tool.permission is Permission.ALLOW or (
            is_named and tool.permission is not Permission.DENY
        )

    def _turn(self, run_id: str) -> asyncio.Lock:
        turn = self._turns.get(run_id)
        if turn is None:
            turn = self._turns[run_id] = asyncio.Lock()
        return turn


def check_arguments(tool: Tool, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that do not fit the tool's schema.

    Raises:
        InvalidInput: they do not.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(tool.spec.parameters)
    found = sorted(validator.iter_errors(dict(arguments)), key=lambda fault: list(fault.path))
    if found:
        said = "; ".join(
            f"/{'/'.join(map(str, fault.path))}: {fault.message[:300]}"
            for fault in found[:FAULTS_SHOWN]
        )
        raise InvalidInput(
            f"The arguments do not fit the tool {tool.spec.name!r}: {said}.",
            hint=f"Its schema is {json.encode(dict(tool.spec.parameters)).decode()[:2000]}",
        )


def _unheard(_: str) -> None:
    """Nobody watches a leg's tool."""
