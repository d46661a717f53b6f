"""What stands for a tool that is not there any more, and may have done something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency.core.records import dataclass
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.errors import InvalidInput
from agency.ports.model import ToolCall, ToolSpec
from agency.ports.tool import ToolContext, ToolRequest
from agency.workflows.agent.gate import Offer


def stand_in(call: ToolCall) -> Offer:
    """Make what stands for the tool of a call that was begun: it can be asked about, not made."""
    spec = ToolSpec(name=call.name, description="", parameters={"type": "object"})
    return Offer(_Gone(spec), "")


@dataclass(frozen=True, slots=True)
class _Gone:
    spec: ToolSpec
    effect: ToolEffect = ToolEffect.ONCE
    permission: Permission = Permission.DENY
    needs: frozenset[Capability] = frozenset()
    timeout_s: float = 1.0

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        del arguments, context
        raise self._missing()

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        del arguments, context
        raise self._missing()

    def _missing(self) -> InvalidInput:
        return InvalidInput(f"There is no tool {self.spec.name!r} any more.")
