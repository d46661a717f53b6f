"""Budgets: at one the run ends with what it has, and goes on with more."""

from __future__ import annotations

from typing import Any

import pytest

from agency.engine.lineage import RetryWish
from agency.errors import InvalidInput
from agency.testing.harness import Harness, RunView
from tests.integration.agent.world import World, call


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
