"""Runs beside each other, forks and reruns: each has its own files and its own words."""

from __future__ import annotations

import pytest

from agency.config.schema import Agent as AgentSettings
from agency.engine.lineage import AnewWish
from agency.errors import ConfigurationInvalid
from agency.testing.harness import Harness, RunView
from agency.workflows.agent.means import check_agents
from tests.integration.agent.world import World, call


def test_runs_at_once_see_nothing_of_each_other(harness: Harness, world: World) -> None:
    names = [f"Run {letter}" for letter in "abcdefgh"]
    for name in names:
        world.model.plays(
            name,
            call("write", path="same.txt", text=name),
            call("read", path="same.txt"),
            f"{name} is done.",
        )

    runs = [harness.start("agent", {"message": name}, session_id=name) for name in names]
    ended = [harness.settle(run) for run in runs]

    assert names == [run.step("call-2.0").value["content"] for run in ended]
    for request in world.model.requests:
        said = str(request.messages)
        assert 1 == sum(name in said for name in names)


def fork(harness: Harness, run: RunView, at: str) -> RunView:
    async def begin() -> str:
        life = await harness._alive()
        return (await life.engine.lineage.fork(run.id, AnewWish(at=at))).run.id

    return harness.settle(harness._run(begin()))


def test_fork_goes_on_over_the_files_of_its_point(harness: Harness, world: World) -> None:
    world.model.plays(
        "Go",
        call("write", path="a.txt", text="one"),
        call("write", path="a.txt", text="two"),
        call("read", path="a.txt"),
        "Done.",
    )
    run = harness.run("agent", {"message": "Go."})
    world.model.plays("Go", "never", call("read", path="a.txt"), "Forked.")

    forked = fork(harness, run, "reply#2")

    assert "one" == forked.step("call-2.0").value["content"]
    assert ("onetwo", "Forked.") == (
        harness.get(run).step("call-3.0").value["content"], forked.output["response"],
    )  # fmt: skip


def test_patterns_are_checked_when_the_daemon_starts() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        check_agents({"a": AgentSettings(allow=["shell("]), "b": AgentSettings(tools=[" "])})

    assert ["agents.a.allow", "agents.b.tools"] == [one.where for one in caught.value.faults]


def test_helper_cannot_use_what_its_parent_may_not(harness: Harness, world: World) -> None:
    world.model.plays("Big", call("delegate", task="Small", tools=["send", "read"]), "Done.")
    world.model.plays("Small", call("send", to="boss"), "I cannot.")

    harness.run("agent", {"message": "Big.", "tools": ["delegate", "read"]})

    assert {} == world.sent
    helper = next(r for r in world.model.requests if r.messages[1].content == "Small")
    assert {"read"} == {tool.name for tool in helper.tools}
