"""The gate where calls are made: allowed, asked about, denied; also after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.config.schema import Agent as AgentSettings
from agency.domain.tool import Capability, Level, Permission, ToolEffect
from agency.errors import InvalidInput
from agency.ports.tool import ToolContext
from agency.testing.harness import Harness
from agency.workflows.agent.gate import Gate, Offer, parse_pattern
from tests.integration.agent.world import TEXT, PlainSet, PlainTool, World, call, taking


async def run_it(context: ToolContext, command: str) -> str:
    return f"ran {command}"


SHELL = PlainTool("shell", run_it, taking(command=TEXT), permission=Permission.ASK)


@pytest.mark.parametrize(
    ("rules", "command", "expected"),
    [
        ({}, "ls", "ask"),
        ({"allow": ["shell"]}, "rm -rf /", "allow"),
        ({"allow": ["shell(git *)"]}, "git status", "allow"),
        ({"allow": ["shell(git *)"]}, "git status; rm -rf /", "ask"),
        ({"allow": ["shell(git *)"]}, "git status && rm x", "ask"),
        ({"allow": ["shell(git *)"]}, "git log | sh", "ask"),
        ({"allow": ["shell(git *)"]}, "git log $(rm x)", "ask"),
        ({"allow": ["shell(git *)"]}, "git log `rm x`", "ask"),
        ({"allow": ["shell(git *)"]}, "git log\nrm x", "ask"),
        ({"allow": ["shell(git *)"]}, "git log > /x", "ask"),
        ({"allow": ["shell(cat src/*)"]}, "cat src/../../etc/passwd", "ask"),
        ({"allow": ["shell"], "ask": ["shell(git push*)"]}, "git push", "ask"),
        ({"allow": ["shell(git status)"], "ask": ["shell"]}, "git status", "allow"),
        ({"allow": ["shell"], "deny": ["shell(rm *)"]}, "ls && rm -rf x", "deny"),
        ({"allow": ["shell"], "deny": ["shell(rm *)"]}, "echo $(rm -rf x)", "deny"),
        ({"allow": ["shell"], "deny": ["shell(command=rm *)"]}, "rm x", "deny"),
        ({"allow": ["shell"], "deny": ["exec"]}, "ls", "deny"),
        ({"deny": ["shell(GIT_DIR=* git*)"]}, "GIT_DIR=x git gc", "deny"),
        ({"deny": ["shell(A=1, x)"]}, "A=1, x", "deny"),
        ({"allow": ["shell(LANG=C make*)"]}, "LANG=C make all", "allow"),
        ({"tools": ["files"]}, "ls", "deny"),
        ({"tools": []}, "ls", "deny"),
        ({"tools": ["exec"], "allow": ["exec"]}, "ls", "allow"),
        ({"tools": ["sh*"]}, "ls", "ask"),
    ],
)
def test_patterns_decide(rules: dict[str, Any], command: str, expected: str) -> None:
    gate = Gate(AgentSettings(**rules))

    assert expected == gate.permission(Offer(SHELL, "exec"), {"command": command}).value


FETCH = PlainTool("fetch", run_it, taking(url=TEXT, method=TEXT), permission=Permission.ASK)


@pytest.mark.parametrize(
    ("rules", "url", "expected"),
    [
        ({"allow": ["fetch(https://*.example.com/*)"]}, "https://a.example.com/x", "allow"),
        ({"allow": ["fetch(https://*.example.com/*)"]}, "https://evil.com/x.example.com/", "ask"),
        ({"allow": ["fetch(https://*.example.com/*)"]}, "https://evil.com#.example.com/", "ask"),
        ({"allow": ["fetch(https://*.example.com/*)"]}, r"https://evil.com\.example.com/", "ask"),
        ({"allow": ["fetch(https://example.com*)"]}, "https://example.com@evil.com/", "ask"),
        ({"allow": ["fetch(*://example.com/*)"]}, "http://example.com/a", "allow"),
        ({"allow": ["fetch(*)"]}, "http://u@example.com/a", "allow"),
        ({"allow": ["fetch(url=https://a/*, method=GET)"]}, "https://a/x", "allow"),
        ({"allow": ["fetch(url=https://a/1,2)"]}, "https://a/1,2", "allow"),
        ({"deny": ["fetch(url=https://a/1,2)"]}, "https://a/1,2", "deny"),
        ({"deny": ["fetch(url=https://a/*, method=PUT)"]}, "https://a/x", "ask"),
    ],
)
def test_patterns_for_addresses_reach_no_other_host(
    rules: dict[str, Any], url: str, expected: str
) -> None:
    gate = Gate(AgentSettings(**rules))

    found = gate.permission(Offer(FETCH, "web"), {"url": url, "method": "GET"})

    assert expected == found.value


@pytest.mark.parametrize("wanted", [[], ["other"], ["files"]])
def test_run_narrows_what_its_agent_may(wanted: list[str]) -> None:
    gate = Gate(AgentSettings(allow=["shell"]), wanted)

    assert Permission.DENY is gate.permission(Offer(SHELL, "exec"), {"command": "ls"})


def test_long_argument_is_allowed_by_no_pattern_and_caught_by_each() -> None:
    command = "git " + "x" * 100_000

    assert Permission.ASK is Gate(AgentSettings(allow=["shell(git *)"])).permission(
        Offer(SHELL, "exec"), {"command": command}
    )
    assert Permission.DENY is Gate(AgentSettings(deny=["shell(rm *)"])).permission(
        Offer(SHELL, "exec"), {"command": command}
    )


@pytest.mark.parametrize("text", ["", "shell(", "a b", "(x)"])
def test_pattern_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_pattern(text)


def asking(world: World) -> None:
    world.extra.append(PlainSet("exec", [SHELL]))
    world.model.plays("Run", call("shell", command="ls -l"), "Done.")


def test_call_waits_for_its_approval_and_shows_what_exactly(harness: Harness, world: World) -> None:
    asking(world)

    run = harness.run("agent", {"message": "Run."})
    wait = run.wait("shell")
    assert "approval" == wait.kind
    assert "{'command': 'ls -l'}" == wait.show["show"]["command"]
    assert {"command": "ls -l"} == wait.show["show"]["arguments"]
    run = harness.approve(run)

    assert "ran ls -l" == run.step("call-1.0").value["content"]


def test_call_is_approved_after_a_restart(harness: Harness, world: World) -> None:
    asking(world)

    run = harness.run("agent", {"message": "Run."})
    harness.restart()
    run = harness.approve(run)

    assert ("completed", "Done.") == (run.status, run.output["response"])
    assert 2 == len(world.model.requests)


def test_arguments_are_edited_and_checked(harness: Harness, world: World) -> None:
    asking(world)

    run = harness.run("agent", {"message": "Run."})
    with pytest.raises(InvalidInput):
        harness.approve(run, value={"command": 3})
    run = harness.approve(run, value={"command": "ls"})

    record = run.step("call-1.0").value
    assert ("ran ls", {"command": "ls"}) == (record["content"], record["arguments"])
    told = world.model.requests[-1].messages[-1].content
    assert 'A person has changed the arguments to {"command":"ls"}.' in told


def test_denial_reaches_the_model_with_its_comment(harness: Harness, world: World) -> None:
    asking(world)

    run = harness.run("agent", {"message": "Run."})
    run = harness.deny(run, comment="Use the file tools.")

    assert "Use the file tools." in world.model.requests[-1].messages[-1].content
    assert run.step("call-1.0").value["denied"]
    assert "completed" == run.status


def test_edit_cannot_go_around_a_deny(harness: Harness, world: World) -> None:
    asking(world)
    world.agents["default"] = AgentSettings(deny=["shell(rm *)"])

    run = harness.run("agent", {"message": "Run."})
    run = harness.approve(run, value={"command": "rm x"})

    assert "is not allowed" in run.step("call-1.0").value["content"]


def test_tool_that_may_not_be_used_is_not_offered_and_not_called(
    harness: Harness, world: World
) -> None:
    world.agents["strict"] = AgentSettings(tools=["read"])
    world.model.plays("Go", call("write", path="a", text="b"), "I cannot.")

    run = harness.run("agent", {"message": "Go.", "agent": "strict"})

    assert {"read"} == {tool.name for tool in world.model.requests[0].tools}
    assert "completed" == run.status
    assert [] == run.output["files"]


def test_call_in_words_is_refused_by_the_gate_as_well(harness: Harness, world: World) -> None:
    world.agents["strict"] = AgentSettings(deny=["send(to=boss*)"])
    world.model.plays("Go", call("send", to="boss@x"), call("send", to="me@x"), "Done.")

    run = harness.run("agent", {"message": "Go.", "agent": "strict"})

    assert "is not allowed" in run.step("call-1.0").value["content"]
    assert {"me@x": 1} == world.sent


def test_permitted_tool_is_called_although_the_turn_does_not_offer_it(
    harness: Harness, world: World
) -> None:
    world.agents["default"] = AgentSettings(tools=["files", "mail"], tools_per_turn=1)
    world.model.plays("Read", call("send", to="you"), "Sent.")

    run = harness.run("agent", {"message": "Read it."})

    assert "send" not in [spec.name for spec in world.model.requests[0].tools]
    assert ("completed", {"you": 1}) == (run.status, dict(world.sent))


def test_run_without_tools_offers_none(harness: Harness, world: World) -> None:
    world.model.plays("Go", "Done.")

    harness.run("agent", {"message": "Go.", "tools": []})

    assert () == tuple(world.model.requests[0].tools)


def test_agent_that_is_not_there_is_refused_with_the_nearest(
    harness: Harness, world: World
) -> None:
    world.agents["writer"] = AgentSettings()

    with pytest.raises(InvalidInput, match="There is no agent 'writr'") as refused:
        harness.run("agent", {"message": "Go.", "agent": "writr"})

    assert "Did you mean 'writer'?" in refused.value.hint
    assert [] == world.model.requests


def test_weak_sandbox_is_refused_where_the_agent_demands_more(
    harness: Harness, world: World
) -> None:
    tool = PlainTool("shell", run_it, taking(command=TEXT), needs=frozenset(Capability))
    world.extra.append(PlainSet("exec", [tool]))
    world.agents["default"] = AgentSettings(sandbox=["network"])
    world.levels[Capability.NETWORK] = Level.PARTIAL
    world.model.plays("Run", call("shell", command="ls"), "It is weak.")

    run = harness.run("agent", {"message": "Run."})

    assert "demands that the sandbox enforces network" in run.step("call-1.0").value["content"]


@pytest.mark.parametrize("is_gone", [False, True], ids=["denied", "gone"])
def test_call_that_may_have_happened_is_asked_about_whatever_is_allowed_since(
    harness: Harness, world: World, *, is_gone: bool
) -> None:
    begun: list[int] = []

    async def hang(context: ToolContext, to: str) -> str:
        begun.append(1)
        await asyncio.Event().wait()
        return "never"

    world.extra.append(
        PlainSet("post", [PlainTool("mail", hang, taking(to=TEXT), ToolEffect.ONCE)])
    )
    world.model.plays("Mail", call("mail", to="you"), "Done.")
    run = harness.start("agent", {"message": "Mail."})
    harness._run(_until(begun))

    if is_gone:
        world.extra.clear()
    else:
        world.agents["default"] = AgentSettings(deny=["mail"])
    harness.restart()
    run = harness.settle(run)
    assert ["decision"] == [wait.kind for wait in run.waits]
    run = harness.answer(run, {"decision": "done", "result": "It has arrived."})

    assert ("completed", "It has arrived.") == (run.status, run.step("call-1.0").value)
    assert [1] == begun


def test_cancelling_ends_the_call_in_flight(harness: Harness, world: World) -> None:
    ended = asyncio.Event()
    begun: list[int] = []

    async def hang(context: ToolContext) -> str:
        begun.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    world.extra.append(PlainSet("far", [PlainTool("hang", hang, taking())]))
    world.model.plays("Go", call("hang"), "never")

    run = harness.start("agent", {"message": "Go."})
    harness._run(_until(begun))
    run = harness.cancel(run)

    assert ("cancelled", True) == (run.status, ended.is_set())


async def _until(begun: list[int]) -> None:
    async with asyncio.timeout(5):
        while not begun:
            await asyncio.sleep(0.005)
