"""Agents that are killed at every commit, and go on as if nothing had been."""

from __future__ import annotations

from agency.config.schema import Agent as AgentSettings
from agency.testing.harness import Harness
from tests.integration.agent.world import World, call


def test_run_with_files_approval_and_helper_comes_through_each_kill(
    harness: Harness, world: World
) -> None:
    world.agents["default"] = AgentSettings(ask=["send"], tools_per_turn=20)
    world.model.plays(
        "Big",
        call("todo", items=[{"text": "write", "status": "in_progress"}]),
        [call("write", path="a.txt", text="one"), call("write", path="b.txt", text="x")],
        call("delegate", task="Small: add two.", share_files=["a.txt"]),
        call("send", to="boss"),
        [call("read", path="a.txt"), call("read", path="b.txt")],
        "Done.",
    )
    world.model.plays("Small", call("write", path="a.txt", text="two"), "Added.")

    proof = harness.prove_resumable(
        "agent",
        {"message": "Big task.", "budgets": {"turns": 30}, "return_files": ["*.txt"]},
        answers={"send": {"decision": "approve"}},
        kills_max=30,
    )

    assert {"a.txt": "onetwo", "b.txt": "x"} == proof.output["returned"]
    assert proof.kills >= 30
