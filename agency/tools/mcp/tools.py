"""A connection's tools, as agents and sagas call them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agency.core.clock import monotonic_s
from agency.core.json import NotJson, encode
from agency.domain.approval import Risk
from agency.domain.connection import Connection, ServerTool, effect_of, permission_of
from agency.domain.tool import Asks, Capability, Permission, ToolEffect, ToolOutput
from agency.errors import ToolInterrupted, ToolUnavailable
from agency.ports.model import ToolSpec
from agency.ports.tool import Tool, ToolContext, ToolRequest
from agency.tools.mcp.calls import BrokenOff, CallRequest, TimedOut, is_task
from agency.tools.mcp.owner import Owner
from agency.tools.mcp.sent import idempotency_key

log = logging.getLogger(__name__)

LIST_WAIT_S = 10.0
"""How long a list of tools waits for a server that has never been asked."""

CANCEL_MARGIN_S = 3.0
"""How much longer than a call may take whoever has called should wait for its end."""


def timeout_of(tool: ServerTool, connection: Connection, default_s: float) -> float:
    """Give the longest call of a tool, in seconds."""
    setup = connection.setup
    return setup.timeouts_s.get(tool.name, setup.timeout_s or default_s)


class McpTool:
    """One tool of one server."""

    def __init__(self, tool: ServerTool, owner: Owner, timeout_s: float) -> None:
        self._tool = tool
        self._owner = owner
        self._timeout_s = timeout_s

    @property
    def spec(self) -> ToolSpec:
        """Name here, description and schema."""
        tool = self._tool
        return ToolSpec(
            name=tool.full_name, description=tool.description, parameters=tool.parameters
        )

    @property
    def effect(self) -> ToolEffect:
        """What becomes of an interrupted call."""
        return effect_of(self._tool, self._owner.connection.setup)

    @property
    def permission(self) -> Permission:
        """What holds when no policy says otherwise."""
        return permission_of(self._tool, self._owner.connection.setup)

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing: the server is what runs in the sandbox, and not a call."""
        return frozenset()

    @property
    def timeout_s(self) -> float:
        """Longest call, in seconds, with the time that it takes to cancel it at the server."""
        return self._timeout_s + CANCEL_MARGIN_S

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call: which server, which tool, which arguments."""
        del context
        name = self._owner.connection.name
        hints = self._tool.hints
        risk = Risk.HIGH if hints.destructive else Risk.LOW if hints.read_only else Risk.MEDIUM
        return ToolRequest(
            question=f"Call {self._tool.name!r} of the server {name!r}?",
            show={"connection": name, "tool": self._tool.name, "arguments": dict(arguments)},
            risk=risk,
        )

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput | Asks:
        """Call the server; see `agency.ports.tool.Tool.call`."""
        request = CallRequest(
            tool=self._tool.name,
            arguments=arguments,
            timeout_s=self._timeout_s,
            key=idempotency_key(context.call_key),
            effect=ToolEffect.REPEATABLE if is_task(context.state) else self.effect,
            progress=context.progress,
            folder=context.workspace.folder,
            put=context.workspace.put,
            answers=context.answers,
            state=context.state,
        )
        return await make(self._owner, request)


async def make(owner: Owner, request: CallRequest) -> ToolOutput | Asks:
    """Make a call; a repeatable one that broke off is made once more.

    Raises:
        ToolUnavailable, ToolInterrupted: as `agency.ports.tool.Tool.call`.
        InvalidInput: the state is none.
    """
    try:
        encode([dict(request.arguments), dict(request.answers)])
    except NotJson as error:
        # Half of a surrogate pair, as models write them now and then. It would end the session.
        return ToolOutput(content=f"The call cannot be sent: {error}", is_error=True)
    name = f"{owner.connection.name}'s {request.tool!r}"
    is_repeatable = request.effect is ToolEffect.REPEATABLE
    began_s = monotonic_s()
    try:
        try:
            return await owner.call(request)
        except BrokenOff as error:
            left_s = request.timeout_s - (monotonic_s() - began_s)
            if not is_repeatable or left_s <= 0:
                raise
            log.info("call made again", extra={"tool": request.tool, "reason": str(error)})
            return await owner.call(replace(request, timeout_s=left_s))
    except BrokenOff as error:
        raise ToolInterrupted(f"The call of {name} broke off: {error}.") from error
    except TimedOut as error:
        told = f"it took longer than {request.timeout_s:g} s and was cancelled"
        if is_task(request.state):
            # Nothing is lost by it: the task goes on, and is looked at later.
            raise ToolUnavailable(f"The task of {name} cannot be looked at: {told}.") from error
        if is_repeatable:
            # Made again it would take as long; whoever has called may ask for less.
            return ToolOutput(content=f"The call failed: {told}.", is_error=True)
        raise ToolInterrupted(f"The call of {name} broke off: {told}.") from error


class McpToolset:
    """The tools of one connection."""

    def __init__(self, owner: Owner, default_timeout_s: float) -> None:
        self._owner = owner
        self._default_timeout_s = default_timeout_s

    @property
    def name(self) -> str:
        """The connection's."""
        return self._owner.connection.name

    async def tools(self) -> Sequence[Tool]:
        """List what the server has offered last, those that are denied left to the gate.

        Raises:
            ToolUnavailable: it was never asked, and cannot be asked now.
        """
        owner = self._owner
        return [
            McpTool(tool, owner, timeout_of(tool, owner.connection, self._default_timeout_s))
            for tool in await owner.list_tools(timeout_s=LIST_WAIT_S)
        ]
