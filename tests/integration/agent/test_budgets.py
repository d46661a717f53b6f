"""Budgets: at one the run ends with what it has, and goes on with more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.domain.tool import ToolEffect
from agency.engine.lineage import RetryWish
from agency.errors import InvalidInput, ModelNotFound
from agency.ports.model import CallProgress, CallStage, ChatReply
from agency.testing.harness import Harness, RunView
from tests.integration.agent.world import PlainSet, PlainTool, World, call, taking


def retry(harness: Harness, run: RunView, **budgets: float) -> RunView:
    """Let a run go on, with more if it is named."""

    async def go_on() -> None:
        life = await harness._alive()
        await life.engine.lineage.retry(run.id, RetryWish(budgets=budgets or None))

    harness._run(go_on())
    return harness.settle(run)


def resume(harness: Harness, run: RunView, answer: Any) -> RunView:
    async def go_on() -> None:
        life = await harness._alive()
        await life.engine.lineage.resume(run.id, input=answer, has_input=True)

    harness._run(go_on())
    return harness.settle(run)


def steps(world: World, count: int) -> None:
    calls = [call("write", path="a.txt", text=str(i)) for i in range(count)]
    world.model.plays("Count", *calls, "Counted.")


def test_run_ends_at_its_turns_with_what_it_has(harness: Harness, world: World) -> None:
    steps(world, 5)

    run = harness.run("agent", {"message": "Count.", "max_steps": 2})

    assert "limit_reached" == run.status
    assert ("turns", False, ["a.txt"]) == (
        run.output["limit"], run.output["completed"], run.output["files"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("budgets", "limit"),
    [
        ({"tokens": 250}, "tokens"),
        ({"tool_calls": 2}, "tool_calls"),
        ({"tool_calls": 0}, "tool_calls"),
        ({"turns": 1}, "turns"),
    ],
)
def test_each_budget_ends_the_run(
    harness: Harness, world: World, budgets: dict[str, float], limit: str
) -> None:
    steps(world, 5)

    run = harness.run("agent", {"message": "Count.", "budgets": budgets})

    assert ("limit_reached", limit) == (run.status, run.output["limit"])


def test_run_goes_on_with_as_much_once_more(harness: Harness, world: World) -> None:
    steps(world, 5)
    run = harness.run("agent", {"message": "Count.", "max_steps": 2})

    run = retry(harness, run)
    assert ("limit_reached", 4) == (run.status, run.output["usage"]["turns"])
    run = retry(harness, run)

    assert ("completed", "Counted.") == (run.status, run.output["response"])
    assert 6 == len(world.model.requests)


def test_run_goes_on_with_more_and_keeps_its_journal(harness: Harness, world: World) -> None:
    steps(world, 5)
    run = harness.run("agent", {"message": "Count.", "budgets": {"turns": 2, "tokens": 10**6}})

    run = retry(harness, run, turns=3)
    assert ("limit_reached", 3) == (run.status, run.output["usage"]["turns"])
    run = retry(harness, run, turns=30)

    assert "completed" == run.status
    assert 6 == len(world.model.requests)


def test_calls_that_were_left_over_are_made_when_it_goes_on(harness: Harness, world: World) -> None:
    world.model.plays(
        "Both", [call("write", path="a", text="1"), call("write", path="a", text="2")], "Done."
    )

    run = harness.run("agent", {"message": "Both.", "budgets": {"tool_calls": 1}})
    assert "limit_reached" == run.status
    run = resume(harness, run, {"budgets": {"tool_calls": 5}})

    assert ("completed", 2) == (run.status, run.output["usage"]["tool_calls"])


def test_limit_is_not_passed_by_a_crash(harness: Harness, world: World) -> None:
    steps(world, 3)

    proof = harness.prove_resumable(
        "agent", {"message": "Count.", "max_steps": 2}, ends_as="limit_reached", kills_max=12
    )

    assert "turns" == proof.output["limit"]


@pytest.mark.parametrize("answer", ["more", {"budgets": 3}, {"turns": 3}, {"budgets": {"x": 1}}])
def test_nonsense_is_refused_where_more_is_asked_for(
    harness: Harness, world: World, answer: Any
) -> None:
    steps(world, 3)
    run = harness.run("agent", {"message": "Count.", "max_steps": 2})

    with pytest.raises(InvalidInput):
        resume(harness, run, answer)


async def hangs(*_: Any, **__: Any) -> Any:
    """Never end; whoever is cut off is cancelled."""
    await asyncio.Event().wait()


def seconds(bound: float) -> dict[str, Any]:
    return {"message": "Count.", "budgets": {"seconds": bound}}


def hanging_tool(world: World, effect: ToolEffect, tool_s: float = 600.0) -> None:
    slow = PlainTool("slow", hangs, taking(), effect, timeout_s=tool_s)
    world.extra.append(PlainSet("slow", [slow]))


def test_model_that_is_asked_is_cut_off_at_the_seconds(harness: Harness, world: World) -> None:
    world.model.plays("Count", call("write", path="a.txt", text="1"), hangs)

    proof = harness.prove_resumable("agent", seconds(0.2), ends_as="limit_reached", kills_max=6)

    assert ("seconds", ["a.txt"]) == (proof.output["limit"], proof.output["files"])
    assert 2 == proof.output["usage"]["turns"]
    assert 0.2 <= proof.output["usage"]["seconds"] < 1


def test_run_that_was_cut_off_asks_the_model_again_when_it_goes_on(
    harness: Harness, world: World
) -> None:
    world.model.plays("Count", hangs)
    run = harness.run("agent", seconds(0.05))
    assert ("limit_reached", "seconds") == (run.status, run.output["limit"])
    world.model.plays("Count", "Counted.")

    run = retry(harness, run)

    assert ("completed", "Counted.") == (run.status, run.output["response"])


def test_waiting_for_a_place_at_the_model_is_not_cut_off(harness: Harness, world: World) -> None:
    queued = CallProgress(stage=CallStage.QUEUED, text="", provider="", model="")

    async def chat(request: Any, *, on_progress: Any, **_: Any) -> ChatReply:
        for _sign in range(6):
            await asyncio.sleep(0.05)
            on_progress(queued)
        return ChatReply(content="Counted.", model="played", provider="rehearsal")

    world.model.chat = chat  # type: ignore[method-assign, assignment]  # the queue is the lane's

    assert "completed" == harness.run("agent", seconds(0.2)).status


def test_tool_that_runs_is_cut_off_at_the_seconds(harness: Harness, world: World) -> None:
    hanging_tool(world, ToolEffect.REPEATABLE)
    world.model.plays("Count", [call("slow"), call("write", path="a", text="1")], "Counted.")

    proof = harness.prove_resumable("agent", seconds(0.2), ends_as="limit_reached", kills_max=6)

    assert ("seconds", 1, []) == (
        proof.output["limit"], proof.output["usage"]["tool_calls"], proof.output["files"],
    )  # fmt: skip


def test_tool_that_must_not_act_twice_is_asked_about_when_it_is_cut_off(
    harness: Harness, world: World
) -> None:
    hanging_tool(world, ToolEffect.ONCE)
    world.model.plays("Count", call("slow"), "Counted.")

    run = harness.run("agent", seconds(0.1))

    assert ("suspended", ["decision"]) == (run.status, [wait.kind for wait in run.waits])


def test_turns_are_told_while_the_run_waits(harness: Harness, world: World) -> None:
    world.model.plays("Count", call("ask_person", question="How far?"), "Counted.")

    run = harness.run("agent", {"message": "Count."})

    assert ("suspended", 1) == (run.status, run.progress["turns"])


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(ModelNotFound("gone"), id="its step fails"),
        pytest.param("", id="it is stopped by itself"),
    ],
)
def test_helper_that_fails_counts(harness: Harness, world: World, end: Any) -> None:
    wanted = [call("write", path="a.txt", text="1"), end, end, end, end, end, end, end, end]
    world.model.plays("Count", call("delegate", task="Small."), "Counted.")
    world.model.plays("Small", *wanted)

    run = harness.run("agent", {"message": "Count.", "budgets": {"tokens": 100_000}})

    helped = run.step("call-1.0").value
    assert ("completed", True) == (run.status, helped["is_error"])
    assert 1 == helped["usage"]["tool_calls"]
    assert helped["usage"]["tokens"] >= 110
    assert (2, 2) == (
        run.output["usage"]["tool_calls"], run.output["usage"]["turns"] - helped["usage"]["turns"],
    )  # fmt: skip
