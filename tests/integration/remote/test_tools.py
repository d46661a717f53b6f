"""Agents elsewhere as tools of ours, and as legs of sagas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from agency.config.schema import RemoteAgent
from agency.core.clock import SystemClock
from agency.testing.harness import Harness
from agency.tools.a2a.agents import A2aAgents
from agency.workflows.remote.call_agent import CallAgent
from agency.workflows.remote.tool import RemoteToolset
from agency.workflows.saga.declared import parse
from tests.integration.agent.world import PlainSet, World, call
from tests.integration.remote.conftest import Peer


def agents_of(peer: Peer) -> A2aAgents:
    given = {
        "tester": RemoteAgent(url=peer.url(), permission="allow"),
        "careful": RemoteAgent(url=peer.url(), description="Ask it gently."),
        "off": RemoteAgent(url=peer.url(), enabled=False),
        "away": RemoteAgent(url="http://127.0.0.1:1"),
    }
    return A2aAgents(given, clock=SystemClock())


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.threads.shutdown()


@pytest.fixture
def harness(world: World, peer: Peer) -> Iterator[Harness]:
    agents = agents_of(peer)
    # It needs no more than what all sources of tools have.
    world.extra.append(cast(PlainSet, RemoteToolset(agents)))
    with Harness(make_agent=world.make_agent) as opened:
        opened.model = world.model
        opened.add(CallAgent(agents, hops_max=3).definition())
        yield opened


def results(world: World) -> list[str]:
    """Give the results of tools that the model was shown last."""
    return [one.content for one in world.model.requests[-1].messages if one.role == "tool"]


async def test_each_agent_that_is_on_is_a_tool_described_by_its_card(peer: Peer) -> None:
    tools = {one.spec.name: one.spec for one in await RemoteToolset(agents_of(peer)).tools()}

    assert ["ask_away", "ask_careful", "ask_tester"] == sorted(tools)
    assert "Does what it is told. It can: Echo: Says it again." in tools["ask_tester"].description
    assert "It says of itself" in tools["ask_tester"].description
    assert "Ask it gently." == tools["ask_careful"].description
    assert "away" in tools["ask_away"].description


def test_answer_comes_to_the_model_as_not_to_be_trusted(harness: Harness, world: World) -> None:
    world.model.plays("Say", call("ask_tester", message="echo hello"), "Done.")

    run = harness.run("agent", {"message": "Say it"})

    [shown] = results(world)
    assert "completed" == run.status
    assert "hello" in shown
    assert "[context_id: " in shown
    assert run.step("call-1.0").value["is_untrusted"]


def test_files_that_come_are_in_the_workspace(harness: Harness, world: World) -> None:
    world.model.plays(
        "Get", call("ask_tester", message="data"), call("read", path="received/2-a.png"), "Done."
    )

    run = harness.run("agent", {"message": "Get it"})

    assert "completed" == run.status
    assert ["received/2-a.png"] == run.step("call-1.0").value["files"]
    assert any("received/2-a.png" in shown for shown in results(world))


def test_file_of_the_run_is_sent(harness: Harness, world: World, peer: Peer) -> None:
    world.model.plays(
        "Send",
        call("write", path="letter.txt", text="Dear all"),
        call("ask_tester", message="echo letter", files=["*.txt"]),
        "Done.",
    )

    harness.run("agent", {"message": "Send it"})

    [sent] = peer.messages(word="echo letter")
    assert "letter.txt" == sent["parts"][1]["filename"]


def test_call_waits_for_approval_unless_the_settings_allow_it(
    harness: Harness, world: World, peer: Peer
) -> None:
    world.model.plays("Ask", call("ask_careful", message="echo careful"), "Done.")
    run = harness.run("agent", {"message": "Ask it"})
    before = len(peer.messages(word="echo careful"))

    done = harness.approve(run)

    assert ("suspended", 0) == (run.status, before)
    assert "completed" == done.status
    assert 1 == len(peer.messages(word="echo careful"))


def test_failure_is_told_to_the_model(harness: Harness, world: World) -> None:
    world.model.plays("Fail", call("ask_tester", message="fail"), "I see.")

    run = harness.run("agent", {"message": "Fail"})

    assert "completed" == run.status
    assert "no luck" in results(world)[0]


def test_leg_of_a_saga_calls_an_agent(harness: Harness) -> None:
    legs: list[dict[str, Any]] = [
        {
            "id": "ask",
            "action": {"kind": "a2a", "agent": "tester", "message": "echo ${input.word}"},
        }
    ]
    harness.add(parse({"name": "asking", "legs": legs}, lambda _: None))

    run = harness.run("asking", {"word": "leg"})

    assert "completed" == run.status
    assert "leg" == run.output["ask"]["text"], run.output
