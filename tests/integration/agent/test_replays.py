"""What is recorded is only taken in: a restart decides nothing about the past again."""

from __future__ import annotations

from typing import Any

import pytest

from agency.config.schema import Agent as AgentSettings
from agency.ports.model import ChatRequest, ContextLimits
from agency.ports.tool import ToolContext
from agency.testing.harness import Harness
from agency.workflows.agent.context.estimate import units_of_request
from tests.integration.agent.test_budgets import retry
from tests.integration.agent.world import TEXT, PlainSet, PlainTool, Played, World, call, taking

TOKENS = 2048
BYTES_PER_TOKEN = 6


@pytest.mark.parametrize(
    ("budgets", "turns"), [({}, 4), ({"turns": 3}, 3)], ids=["as_much_again", "more"]
)
def test_run_that_goes_on_keeps_what_it_was_given_anew_over_a_restart(
    harness: Harness, world: World, budgets: dict[str, float], turns: int
) -> None:
    world.agents["default"] = AgentSettings(ask=["send"])
    writes = [call("write", path="a.txt", text=str(i)) for i in range(3)]
    world.model.plays("Count", *writes[:2], call("send", to="boss"), writes[2], "Counted.")
    run = harness.run("agent", {"message": "Count.", "max_steps": 2})
    assert "limit_reached" == run.status

    run = retry(harness, run, **budgets)
    assert "suspended" == run.status
    harness.restart()
    run = harness.approve(run)

    assert ("limit_reached", turns) == (run.status, run.output["usage"]["turns"])


def test_run_that_goes_on_sees_of_its_session_what_it_saw_before(
    harness: Harness, world: World
) -> None:
    world.model.plays("First", call("read", path="a"), "First is done.")
    world.model.plays("Other", "Other is done.")
    run = harness.run("agent", {"message": "First.", "max_steps": 1}, session_id="s")
    assert "limit_reached" == run.status
    harness.run("agent", {"message": "Other."}, session_id="s")
    sent = len(world.model.requests)

    run = retry(harness, run)

    assert ("completed", "First is done.") == (run.status, run.output["response"])
    (request,) = world.model.requests[sent:]
    assert not any("Other" in one.content for one in request.messages)


class Wordy(Played):
    """A small context, and tokens of six bytes, which a daemon learns from what is counted."""

    async def context(self, model: str) -> ContextLimits:
        return ContextLimits(configured=TOKENS)

    async def chat(self, request: ChatRequest, **more: Any) -> Any:
        self.prompt_tokens = units_of_request(request) // BYTES_PER_TOKEN
        return await super().chat(request, **more)


async def tell(context: ToolContext, text: str) -> str:
    return text * 400


def test_restart_makes_no_room_before_replies_that_are_recorded(
    harness: Harness, world: World
) -> None:
    world.model = harness.model = Wordy()
    source = Counted("far", [PlainTool("tell", tell, taking(text=TEXT))])
    world.extra.append(source)
    world.agents["default"] = AgentSettings(tools=["far", "send"], ask=["send"])
    short = [call("tell", text="") for _ in range(2)]
    world.model.plays(
        "Tell",
        *[one for i in range(8) for one in (call("tell", text=f"{i % 2}"), *short[:1])],
        call("send", to="boss"),
        "Told.",
    )
    run = harness.run("agent", {"message": "Tell it."})
    assert "suspended" == run.status, run.error
    before = [step.name for step in run.steps if step.name.startswith("compact")]
    source.asked = 0

    harness.restart()
    run = harness.approve(run)

    assert "completed" == run.status
    assert before == [step.name for step in run.steps if step.name.startswith("compact")]
    assert source.asked <= 4


class Counted(PlainSet):
    """Counts how often it is asked for its tools."""

    asked = 0

    async def tools(self) -> Any:
        self.asked += 1
        return await super().tools()
