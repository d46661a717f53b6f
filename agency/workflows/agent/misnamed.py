"""Names in an agent's policy that mean no tool of our own: a misspelt ``deny`` denies nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agency.config.schema import Agent as AgentSettings
from agency.core.suggestions import nearest
from agency.workflows.agent.delegation import own_tools
from agency.workflows.agent.gate import parse_pattern
from agency.workflows.agent.own_tools import TOOLSET, StartWorkflow

KEYS = ("tools", "allow", "ask", "deny")
OF_A_SERVER = "__"
"""Is in the names of tools of MCP servers, which come and go."""


def misnamed_tools(agents: Mapping[str, AgentSettings], known: Collection[str]) -> list[str]:
    """Say of each name that means no tool where it is, with what was probably meant.

    Globs and what may be a server's tool are left out.

    Args:
        agents: Settings by the agent's name; their patterns can be read.
        known: Names of tools and toolsets that there are, without the run's own tools.
    """
    said = []
    for agent, settings in sorted(agents.items()):
        # So that tools count that only this agent, or only its helpers, do not have.
        own = {one.spec.name for one in own_tools(settings, depth=-1, sees=True)}
        names = {*known, *own, TOOLSET, StartWorkflow(()).spec.name}
        for key in KEYS:
            for name in dict.fromkeys(parse_pattern(text).tool for text in getattr(settings, key)):
                if name in names or OF_A_SERVER in name or any(sign in name for sign in "*?"):
                    continue
                likely = nearest(name, names)
                hint = f"; did you mean {likely!r}?" if likely else ""
                said.append(f"agents.{agent}.{key}: there is no tool or toolset {name!r}{hint}")
    return said
