"""The loop: turns, calls, files, approvals, budgets, helpers; live and over restarts."""

from __future__ import annotations

from agency.testing.harness import Harness
from tests.integration.agent.world import World, call


def test_calls_are_made_and_their_results_come_back(harness: Harness, world: World) -> None:
    world.model.plays(
        "Write",
        call("write", path="a.txt", text="one"),
        [call("write", path="a.txt", text="two"), call("read", path="a.txt")],
        "Done: onetwo.",
    )

    run = harness.run("agent", {"message": "Write it."})

    assert run.error is None, run.error
    assert "Done: onetwo." == run.output["response"]
    assert ["a.txt"] == run.output["files"]
    assert (3, 3) == (run.output["usage"]["turns"], run.output["usage"]["tool_calls"])
    assert "onetwo" == run.step("call-2.1").value["content"]
    last = world.model.requests[-1].messages
    assert ["system", "user", "assistant", "tool", "assistant", "tool", "tool"] == [
        one.role for one in last
    ]
