"""Prompts that fit: room is made, recorded, and made the same after a restart."""

from __future__ import annotations

from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.errors import ContextTooLong
from agency.ports.model import ChatRequest, ContextLimits
from agency.ports.tool import ToolContext
from agency.testing.harness import Harness
from agency.workflows.agent.context.estimate import units_of_request
from tests.integration.agent.world import PlainSet, PlainTool, Played, World, call, taking

TOKENS = 2048


class Small(Played):
    """A model with a small context that refuses what does not fit, as a good server does."""

    async def context(self, model: str) -> ContextLimits:
        return ContextLimits(configured=TOKENS)

    async def chat(self, request: ChatRequest, **more: Any) -> Any:
        tokens = units_of_request(request) // 4
        assert tokens <= TOKENS, f"{tokens} tokens were sent to a context of {TOKENS}"
        return await super().chat(request, **more)


async def long(context: ToolContext, n: int) -> str:
    return f"result {n}: " + f"{n} " * 1500


def world_of(harness: Harness, world: World) -> Played:
    model = Small()
    world.model = model
    harness.model = model
    world.extra.append(PlainSet("far", [PlainTool("long", long, taking(n={"type": "integer"}))]))
    world.agents["default"] = AgentSettings(tools=["far", "read", "todo"])
    return model


def test_long_run_stays_within_a_small_context(harness: Harness, world: World) -> None:
    model = world_of(harness, world)
    model.scripts["Go"] = [
        lambda request: (
            "Done."
            if any("result 11" in one.content for one in request.messages)
            else call("long", n=_next(request))
        )
    ] * 60
    model.scripts["Agent"] = ["They called long many times."] * 10
    model.scripts["What was"] = ["They called long many times."] * 10
    model.scripts["Called"] = ["They called long many times."] * 10

    run = harness.run("agent", {"message": "Go on.", "budgets": {"turns": 60}})

    assert run.error is None, run.error
    compactions = [step for step in run.steps if step.name.startswith("compact")]
    assert compactions
    first = run.step("call-1.0").value
    assert ".agency/results/" in first["content"]
    assert all(one.messages[1].content == "Go on." for one in model.requests if one.tools)


def _next(request: ChatRequest) -> int:
    numbers = [
        int(call.arguments["n"])
        for one in request.messages
        for call in one.tool_calls
        if call.name == "long"
    ]
    return max(numbers, default=0) + 1


def test_compacted_run_comes_through_kills(harness: Harness, world: World) -> None:
    model = world_of(harness, world)
    model.scripts["Go"] = [
        lambda request: "Done." if _next(request) > 7 else call("long", n=_next(request))
    ] * 60
    for head in ("Agent", "What was", "Called"):
        model.scripts[head] = ["They called long many times."] * 10

    proof = harness.prove_resumable(
        "agent", {"message": "Go on.", "budgets": {"turns": 60}}, kills_max=14
    )

    assert any(step.startswith("compact") for step in proof.steps)


def test_prompt_that_the_server_calls_too_long_is_made_shorter(
    harness: Harness, world: World
) -> None:
    model = world_of(harness, world)
    refused: list[int] = []

    def say(request: ChatRequest) -> Any:
        if _next(request) <= 3:
            return call("long", n=_next(request))
        if not refused:
            refused.append(1)
            return ContextTooLong("too long", prompt_tokens=1380, context_tokens=2000)
        return "Done."

    model.scripts["Go"] = [say] * 20
    for head in ("Agent", "What was", "Called"):
        model.scripts[head] = ["They called long."] * 10

    run = harness.run("agent", {"message": "Go on."})

    assert run.error is None, run.error
    overflow = run.step("reply#4").value["overflow"]
    assert (1380, 2000) == (overflow["prompt"], overflow["context"])


def test_task_that_cannot_fit_fails_with_numbers_and_the_fix(
    harness: Harness, world: World
) -> None:
    world_of(harness, world)
    world.model.plays("Go", "never")

    run = harness.run("agent", {"message": "Go " + "x " * 20_000})

    assert "failed" == run.status
    assert run.error is not None
    assert "context_too_long" == run.error.code
    assert "num_ctx" in run.error.hint
    assert [] == world.model.requests


def test_old_results_are_read_again_from_their_files(harness: Harness, world: World) -> None:
    model = world_of(harness, world)
    paths: list[str] = []

    def look(request: ChatRequest) -> Any:
        text = next(one.content for one in request.messages if one.role == "tool")
        paths.append(text.split("the file ")[1].split(".]")[0].split(" ")[0].rstrip(".]"))
        return call("read", path=paths[0])

    model.plays("Go", call("long", n=1), look, "Done.")

    run = harness.run("agent", {"message": "Go on."})

    assert run.error is None, run.error
    assert run.step("call-2.0").value["content"].startswith("result 1: 1 1")
