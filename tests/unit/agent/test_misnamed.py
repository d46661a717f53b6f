"""Names in an agent's policy that mean no tool."""

from __future__ import annotations

import pytest

from agency.config.schema import Agent
from agency.workflows.agent.misnamed import misnamed_tools

KNOWN = ("files", "read_file", "shell", "github")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        pytest.param(
            Agent(deny=["shel(rm *)"]),
            ["agents.writer.deny: there is no tool or toolset 'shel'; did you mean 'shell'?"],
            id="misspelt",
        ),
        pytest.param(
            Agent(tools=["zzz"], ask=["zzz"]),
            [
                "agents.writer.tools: there is no tool or toolset 'zzz'",
                "agents.writer.ask: there is no tool or toolset 'zzz'",
            ],
            id="like nothing",
        ),
        pytest.param(
            Agent(
                tools=["files", "github", "todo", "agent"],
                allow=["git__status", "read_*", "*"],
                deny=["delegate", "start_workflow", "look_at_image", "shell(rm *)"],
                delegation_depth=0,
            ),
            [],
            id="all known",
        ),
    ],
)
def test_names_that_mean_no_tool_are_told(agent: Agent, said: list[str]) -> None:
    assert said == misnamed_tools({"writer": agent}, KNOWN)
