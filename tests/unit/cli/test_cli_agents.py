from __future__ import annotations

from typing import Any

from tests.unit.cli.playing import Agency, PlayedDaemon, Reply

AGENT: dict[str, Any] = {
    "name": "writer",
    "description": "Writes.",
    "model": "qwen3:8b",
    "tools": ["files", "todo"],
    "permissions": {"allow": [], "ask": [], "deny": []},
    "budgets": {"turns": 8},
    "tools_per_turn": None,
    "workflows": [],
    "delegation_depth": 2,
    "sandbox": [],
}
TOOL = {
    "name": "shell",
    "toolset": "shell",
    "description": "Run a command.",
    "parameters": {"type": "object"},
    "effect": "restore",
    "permission": "ask",
    "timeout_s": 120.0,
    "levels": {"file_read": "enforced", "processes": "partial"},
}


def test_agents_are_listed(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/api/v1/agents", Reply({"agents": [AGENT], "next_cursor": None}))

    ended = agency("agents", "ls")

    assert (0, "writer\tqwen3:8b\tfiles, todo\tWrites.\n") == (ended.code, ended.out)
    assert [AGENT] == agency("agents", "ls", "--json").json["agents"]


def test_tools_are_listed_with_the_weakest_level(agency: Agency, daemon: PlayedDaemon) -> None:
    plain = {**TOOL, "name": "todo", "levels": {}}
    daemon.on(
        "GET", "/api/v1/tools", Reply({"tools": [TOOL, plain], "away": [], "next_cursor": None})
    )

    ended = agency("tools", "ls", "--agent", "writer")

    assert [
        "shell\tshell\task\trestore\tpartial: processes\tRun a command.",
        "todo\tshell\task\trestore\t-\tRun a command.",
    ] == ended.out.splitlines()


def test_settings_that_name_no_tool_are_told(agency: Agency, daemon: PlayedDaemon) -> None:
    listed = {"tools": [TOOL], "away": [], "unknown": ["shel", "x"], "next_cursor": None}
    daemon.on("GET", "/api/v1/tools", Reply(listed))

    ended = agency("tools", "ls", "--agent", "writer")

    assert 0 == ended.code
    assert (
        "[agents.writer] names what is no tool: 'shel' (did you mean 'shell'?); 'x'." in ended.err
    )


def test_more_than_are_shown_is_told(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/api/v1/agents", Reply({"agents": [AGENT], "next_cursor": "YQ"}))

    assert "there are more" in agency("agents", "ls", "--limit", "1").err
