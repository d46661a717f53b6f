"""Who works here, and with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agency.api.run_shape import steps_of
from agency.domain.run import RunKind, RunStatus
from tests.integration.api.conftest import Daemon


async def test_agents_are_listed_with_what_they_may_use(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", "/api/v1/agents")

    assert answer.status == 200
    assert ["default", "writer"] == [one["name"] for one in answer.json["agents"]]
    writer = answer.json["agents"][1]
    assert (["todo"], {"turns": 3, "tokens": None, "seconds": None, "tool_calls": None}) == (
        writer["tools"], writer["budgets"],
    )  # fmt: skip


async def test_tools_are_listed_with_what_an_agent_may_do(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", "/api/v1/tools?agent=writer")

    found = {one["name"]: one["permission"] for one in answer.json["tools"]}
    assert ("allow", "deny") == (found["todo"], found["wait"])
    assert [] == answer.json["away"]


async def test_names_that_mean_no_tool_are_told(daemon: Daemon) -> None:
    own = await daemon.ask("GET", "/api/v1/tools?agent=writer")
    asked = await daemon.ask(
        "GET", "/api/v1/tools", params={"named": "todo,agent,tood, waitt(x*),read_*,"}
    )
    unreadable = await daemon.ask("GET", "/api/v1/tools", params={"named": "todo("})

    assert [] == own.json["unknown"]
    assert ["tood", "waitt"] == asked.json["unknown"]
    assert 422 == unreadable.status


async def test_lists_have_pages(daemon: Daemon) -> None:
    seen = []
    cursor = ""
    while True:
        answer = await daemon.ask("GET", f"/api/v1/tools?limit=2{cursor}")
        seen += [one["name"] for one in answer.json["tools"]]
        if answer.json["next_cursor"] is None:
            break
        cursor = f"&cursor={answer.json['next_cursor']}"

    assert seen == sorted(set(seen))
    assert {"todo", "delegate", "wait", "ask_person"} <= set(seen)


@pytest.mark.parametrize(
    "query", ["agents?cursor=nonsense", "agents?limit=0", "tools?agent=nobody", "tools?limit=x"]
)
async def test_nonsense_is_refused(daemon: Daemon, query: str) -> None:
    answer = await daemon.ask("GET", f"/api/v1/{query}")

    assert answer.status == 422, answer.text


async def test_budgets_are_raised_over_rest(daemon: Daemon) -> None:
    first = await daemon.ask(
        "POST", "/api/v1/agent/process", json={"message": "limit", "max_steps": 1}
    )
    path = f"/api/v1/runs/{first.json['run_id']}"
    assert (await daemon.ask("GET", path)).json["status"] == "limit_reached"

    again = await daemon.ask("POST", f"{path}/retry", json={"budgets": {"turns": 3}})

    assert again.status == 202, again.text
    run = await daemon.ask("GET", path, headers={"Prefer": "wait=5"})
    assert run.json["input"]["budgets"] == {"turns": 3}
    assert run.json["output"]["usage"]["turns"] == 3


@pytest.mark.parametrize(
    "budgets", [{"turns": 0}, {"steps": 3}, {"seconds": -1}, {"turns": "many"}]
)
async def test_budgets_that_cannot_be_are_refused(
    daemon: Daemon, budgets: dict[str, object]
) -> None:
    first = await daemon.ask(
        "POST", "/api/v1/agent/process", json={"message": "limit", "max_steps": 1}
    )

    again = await daemon.ask(
        "POST", f"/api/v1/runs/{first.json['run_id']}/retry", json={"budgets": budgets}
    )

    assert again.status == 422


async def test_value_and_files_that_were_asked_for_are_in_the_answer(daemon: Daemon) -> None:
    schema = {"type": "object", "properties": {"count": {"const": 3}}, "required": ["count"]}
    body = {
        "message": '{"count": 3}', "tools": [], "schema": schema,
        "files": {"notes.txt": "Three."}, "return_files": ["*.txt", "none.md"],
    }  # fmt: skip

    answer = await daemon.ask("POST", "/api/v1/agent/process", json=body)

    assert answer.status == 200, answer.text
    assert ({"count": 3}, {"notes.txt": "Three."}) == (
        answer.json["answer"], answer.json["returned"],
    )  # fmt: skip
    assert ["none.md: there is no such file."] == answer.json["left_out"]
    assert "limit" not in answer.json


async def test_limit_that_was_reached_is_named(daemon: Daemon) -> None:
    answer = await daemon.ask(
        "POST", "/api/v1/agent/process", json={"message": "limit", "budgets": {"turns": 1}}
    )

    assert ("turns", False) == (answer.json["limit"], answer.json["completed"])


async def test_schema_that_is_none_is_refused_before_a_model_is_asked(daemon: Daemon) -> None:
    body = {"message": '{"count": 3}', "schema": {"properties": {"count": {"type": "nonsense"}}}}

    answer = await daemon.ask("POST", "/api/v1/agent/process", json=body)

    assert (422, "invalid_input") == (answer.status, answer.json["code"]), answer.text
    assert "/properties/count/type" in answer.json["detail"]


async def test_steps_of_an_agents_run_are_its_turns(daemon: Daemon) -> None:
    ended = await daemon.ask(
        "POST",
        "/api/v1/agent/process",
        json={"message": "Hello", "files": {"a.txt": "a"}, "return_files": ["a.txt"]},
    )
    path = f"/api/v1/runs/{ended.json['run_id']}"

    assert 3 == (await daemon.runs.get(ended.json["run_id"])).steps_executed
    assert (1, 1) == (
        ended.json["steps_executed"], (await daemon.ask("GET", path)).json["steps_executed"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        pytest.param({"kind": RunKind.FUNCTION}, 7, id="steps of a workflow"),
        pytest.param({"output": {"usage": {"turns": 2}}}, 2, id="turns of an ended run"),
        pytest.param({"progress": {"turns": 3}}, 3, id="turns so far"),
        pytest.param({}, 0, id="before the first turn"),
        pytest.param({"status": RunStatus.COMPLETED}, 7, id="before turns were counted"),
    ],
)
async def test_steps_are_counted_by_kind(
    daemon: Daemon, changes: dict[str, Any], counted: int
) -> None:
    ended = await daemon.ask("POST", "/api/v1/agent/process", json={"message": "Hello"})
    detail = await daemon.runs.get(ended.json["run_id"])
    as_new = replace(detail.run, output=None, progress=None, status=RunStatus.RUNNING)

    assert counted == steps_of(replace(detail, run=replace(as_new, **changes), steps_executed=7))


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        pytest.param(
            "agent/process", {"message": "Hello", "agent": "wirter"}, "/agent", id="process"
        ),
        pytest.param(
            "workflows",
            {
                "workflow_id": "w-1",
                "workflow": "agent",
                "input": {"message": "x", "agent": "wirter"},
            },
            "/input/agent",
            id="workflows",
        ),
        pytest.param(
            "runs",
            {"workflow": "agent", "input": {"message": "x", "agent": "wirter"}},
            "/input/agent",
            id="runs",
        ),
    ],
)  # fmt: skip
async def test_unknown_agent_is_refused_at_the_door(
    daemon: Daemon, path: str, body: dict[str, Any], where: str
) -> None:
    answer = await daemon.ask("POST", f"/api/v1/{path}", json=body)

    assert 422 == answer.status, answer.json
    assert "There is no agent 'wirter'." in answer.json["detail"]
    assert "Did you mean 'writer'? There are: default, writer." == answer.json["hint"]
    assert where == answer.json["errors"][0]["pointer"]
    assert [] == (await daemon.ask("GET", "/api/v1/runs")).json["runs"]
