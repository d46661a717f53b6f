"""What agents there are, and what each may use: for whoever asks from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.core.records import dataclass
from agency.domain.tool import Capability, Level, Permission, ToolEffect
from agency.errors import ToolUnavailable
from agency.workflows.agent.delegation import own_tools
from agency.workflows.agent.gate import Gate, Offer, unknown_names
from agency.workflows.agent.means import Means
from agency.workflows.agent.own_tools import TOOLSET


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLine:
    """A tool, and what holds for one agent.

    Attributes:
        permission: What becomes of a call that no pattern for arguments fits.
        levels: What of its needs the sandbox enforces now.
    """

    name: str
    toolset: str
    description: str
    parameters: Mapping[str, Any]
    effect: ToolEffect
    permission: Permission
    timeout_s: float
    needs: Sequence[Capability]
    levels: Mapping[Capability, Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolList:
    """Tools by name, and the toolsets that cannot be asked now.

    Attributes:
        unknown: What the agent's settings, or the names that were asked about, mean no tool by.
    """

    tools: Sequence[ToolLine]
    away: Sequence[str]
    unknown: Sequence[str]


class Catalogue:
    """Reads what agents work with."""

    def __init__(self, means: Means) -> None:
        """Take what the agents of this daemon have."""
        self._means = means

    def agents(self) -> Mapping[str, AgentSettings]:
        """Give all agents by name, in alphabetical order."""
        return dict(sorted(self._means.agents.items()))

    def model_of(self, agent: AgentSettings) -> str:
        """Name the model that an agent asks first."""
        return agent.model or self._means.settings.model

    async def tools(
        self, agent: str | None = None, *, named: Sequence[str] | None = None
    ) -> ToolList:
        """List all tools with what one agent may do with them.

        Args:
            named: Patterns to look at for unknown names, in place of the agent's own.

        Raises:
            InvalidInput: there is no such agent, or a pattern cannot be read.
        """
        _, settings = self._means.agent(agent)
        gate = Gate(settings)
        away: list[str] = []
        offers: dict[str, Offer] = {}
        for toolset in self._means.toolsets.all() if self._means.toolsets is not None else ():
            try:
                found = await toolset.tools()
            except ToolUnavailable:
                away.append(toolset.name)
                continue
            for tool in found:
                offers.setdefault(tool.spec.name, Offer(tool, toolset.name))
        for own in own_tools(settings, depth=0, sees=self._means.sees):
            offers.setdefault(own.spec.name, Offer(own, TOOLSET))
        levels = self._means.levels() if self._means.levels is not None else {}
        lines = [_line(offer, gate, levels) for _, offer in sorted(offers.items())]
        own_names = (*settings.tools, *settings.allow, *settings.ask, *settings.deny)
        unknown = unknown_names(own_names if named is None else named, list(offers.values()), away)
        return ToolList(tools=lines, away=away, unknown=unknown)


def _line(offer: Offer, gate: Gate, levels: Mapping[Capability, Level]) -> ToolLine:
    tool = offer.tool
    needs = sorted(tool.needs)
    return ToolLine(
        name=offer.name,
        toolset=offer.toolset,
        description=tool.spec.description,
        parameters=tool.spec.parameters,
        effect=tool.effect,
        permission=gate.permission(offer, {}),
        timeout_s=tool.timeout_s,
        needs=needs,
        levels={one: levels.get(one, Level.ABSENT) for one in needs},
    )
