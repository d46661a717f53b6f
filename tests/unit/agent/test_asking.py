"""Whoever decides about a call sees what it is."""

from __future__ import annotations

from typing import Any

import pytest

from agency.core import json
from agency.core.limits import APPROVAL_SHOW_BYTES_MAX
from agency.ports.tool import ToolRequest
from agency.tools.shell import COMMAND_CHARACTERS_MAX
from agency.workflows.agent.asking import ToolQuestion, tool_wait
from tests.unit.engine.test_verdict import RUN


def _shown(arguments: dict[str, Any]) -> Any:
    asked = ToolQuestion(
        tool="shell",
        arguments=arguments,
        request=ToolRequest(question="Run a command?", show=arguments),
        schema={"type": "object"},
    )
    wait = tool_wait(RUN, "key", asked)
    assert len(json.encode(wait.show)) <= APPROVAL_SHOW_BYTES_MAX
    return wait.show["show"]


def test_longest_command_is_shown_as_a_whole() -> None:
    command = "true;" * (COMMAND_CHARACTERS_MAX // 5)

    assert command == _shown({"command": command})["arguments"]["command"]


@pytest.mark.parametrize("character", ["x", "é", "\x01", '"'])
def test_what_is_left_out_is_said(character: str) -> None:
    shown = json.encode(_shown({"code": character * 100_000})).decode()

    assert "all 100000 have the SHA-256" in shown
