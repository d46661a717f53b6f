"""``/api/v1/sagas`` over a real socket: defined, started, looked at, stopped, retried."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import Daemon

PATH = "/api/v1/sagas"


def saga(*legs: Any, **more: Any) -> dict[str, Any]:
    return {"name": "order", "legs": list(legs), **more}


def echo(leg_id: str, value: Any = None, **more: Any) -> dict[str, Any]:
    """A leg that hands back what it is given, by way of the workflow ``echo``."""
    action = {"kind": "workflow", "workflow": "echo", "input": value}
    return {"id": leg_id, "action": action, **more}


UNDO = {"kind": "workflow", "workflow": "echo", "input": {"taken": "${result}"}}
NOWHERE = {"kind": "workflow", "workflow": "nowhere"}


async def define(daemon: Daemon, *legs: Any, **more: Any) -> dict[str, Any]:
    answer = await daemon.ask("POST", PATH, json=saga(*legs, **more))
    assert answer.status == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


async def run(daemon: Daemon, value: Any = None) -> dict[str, Any]:
    """Start a run, and read it with its legs when it has ended."""
    started = await daemon.ask(
        "POST", f"{PATH}/order/start", json={"input": value}, headers={"Prefer": "wait=5"}
    )
    assert started.status == 200, started.text
    answer = await daemon.ask("GET", started.headers["Location"])
    found: dict[str, Any] = answer.json
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {leg["id"]: leg["state"] for leg in found["legs"]}


async def test_results_go_from_leg_to_leg_and_into_the_output(daemon: Daemon) -> None:
    made = await define(
        daemon,
        echo("one", {"n": "${input.n}"}),
        echo("two", "n is ${results.one.n}, costs $${5}"),
        output={"said": "${results.two}", "run": "${run_id}"},
    )

    found = await run(daemon, {"n": 7})

    assert ("order", "stored") == (made["name"], made["origin"])
    assert {"said": "n is 7, costs ${5}", "run": found["run_id"]} == found["output"]
    assert ({"one": "done", "two": "done"}, {"n": 7}) == (
        states(found),
        found["legs"][0]["result"],
    )


async def test_failing_leg_lets_what_was_done_be_taken_back(daemon: Daemon) -> None:
    bad = {"id": "bad", "action": NOWHERE}
    await define(daemon, echo("one", 1, compensation=UNDO), echo("two"), bad, echo("never"))

    found = await run(daemon)

    assert ("compensated", "compensating") == (found["status"], found["phase"])
    expected = {"one": "compensated", "two": "done", "bad": "failed", "never": "skipped"}
    assert expected == states(found)
    error = found["error"]
    assert "workflow_not_found" == error["code"]
    assert (["one"], ["two"]) == (
        error["details"]["compensated_legs"],
        error["details"]["kept_legs"],
    )


async def test_compensation_that_has_failed_is_retried_by_hand(daemon: Daemon) -> None:
    bad = {"id": "bad", "action": NOWHERE}
    patient = {"attempts": 1}
    await define(
        daemon,
        echo("one", 1, compensation=UNDO),
        echo("two", 2, compensation=NOWHERE, compensation_retry=patient),
        bad,
    )
    found = await run(daemon)
    assert ("compensation_failed", ["two"]) == (
        found["status"],
        found["error"]["details"]["legs_left"],
    )
    assert {"one": "compensated", "two": "compensation_failed", "bad": "failed"} == states(found)
    assert "workflow_not_found" == found["legs"][1]["compensation_error"]["code"]

    again = await daemon.ask("POST", found["links"]["retry_compensation"])

    assert 200 == again.status
    assert ("compensation_failed", 2) == (again.json["status"], again.json["attempt"])
    once_more = await daemon.ask("POST", f"{PATH}/runs/{found['run_id']}/retry-compensation")
    assert 200 == once_more.status


async def test_compensation_is_retried_only_if_it_has_failed(daemon: Daemon) -> None:
    await define(daemon, echo("one"))
    found = await run(daemon)

    answer = await daemon.ask("POST", f"{PATH}/runs/{found['run_id']}/retry-compensation")

    assert (409, "compensation_not_failed") == (answer.status, answer.json["code"])


async def test_abort_takes_back_what_was_done(daemon: Daemon) -> None:
    asking = {"id": "asks", "action": {"kind": "workflow", "workflow": "asks"}}
    await define(daemon, echo("one", 1, compensation=UNDO), asking)
    started = await daemon.ask("POST", f"{PATH}/order/start")
    path = started.headers["Location"]
    waiting = await daemon.ask("GET", path, headers={"Prefer": "wait=0"})
    while states(waiting.json)["asks"] != "running" or waiting.json["status"] != "suspended":
        await daemon.runs.watch(started.json["run_id"], timeout_s=0.2)
        waiting = await daemon.ask("GET", path)

    aborted = await daemon.ask(
        "POST",
        f"{path}/abort",
        json={"reason": "changed my mind"},
        headers={"Prefer": "wait=4"},
    )

    assert (path, "wait=4") == (
        aborted.headers["Location"],
        aborted.headers["Preference-Applied"],
    )
    assert (200, True, "compensated") == (
        aborted.status,
        aborted.json["aborted"],
        aborted.json["status"],
    )
    assert "cancelled" == aborted.json["error"]["code"]
    assert {"one": "compensated", "asks": "failed"} == states(aborted.json)
    again = await daemon.ask("POST", f"{path}/abort")
    assert (409, "run_ended") == (again.status, again.json["code"])


async def test_same_definition_again_changes_nothing_and_another_is_a_new_version(
    daemon: Daemon,
) -> None:
    first = await define(daemon, echo("one"), version="v1")
    same = await daemon.ask("POST", PATH, json=saga(echo("one"), version="v1"))
    second = await define(daemon, echo("one"), echo("two"), version="v1")

    assert (200, first["version"]) == (same.status, same.json["version"])
    assert first["version"].startswith("v1-")
    assert second["version"].startswith("v1-")
    assert first["version"] != second["version"]
    shown = await daemon.ask("GET", f"{PATH}/order")
    assert (second["version"], 2) == (shown.json["version"], len(shown.json["legs"]))


async def test_run_keeps_the_version_that_it_began_with(daemon: Daemon) -> None:
    asking = {"id": "asks", "action": {"kind": "workflow", "workflow": "asks"}}
    first = await define(daemon, asking, echo("old", "old"))
    started = await daemon.ask("POST", f"{PATH}/order/start")
    await define(daemon, asking, echo("new", "new"))
    child = await _child(daemon, started.json["run_id"])
    await daemon.ask(
        "POST",
        "/api/v1/workflows/resume",
        json={"snapshot_id": child["snapshot_id"], "input": "Ada"},
    )

    found = await daemon.ask("GET", started.headers["Location"], headers={"Prefer": "wait=5"})

    assert ("completed", first["version"]) == (found.json["status"], found.json["version"])
    assert {"asks": "done", "old": "done"} == states(found.json)


async def _child(daemon: Daemon, run_id: str) -> dict[str, Any]:
    while True:
        children = await daemon.ask("GET", f"/api/v1/runs?parent_id={run_id}")
        for child in children.json["runs"]:
            found = await daemon.ask("GET", f"/api/v1/runs/{child['id']}")
            if found.json["snapshot_id"] is not None:
                shown: dict[str, Any] = found.json
                return shown
        await daemon.runs.watch(run_id, timeout_s=0.1)


@pytest.mark.parametrize(
    ("legs", "pointer"),
    [
        ([], "/legs"),
        ([{"id": "a"}], "/legs/0/action"),
        ([{"id": "a b", "action": NOWHERE}], "/legs/0/id"),
        ([{"id": "a", "action": {"kind": "ftp"}}], "/legs/0/action"),
        ([{"id": "a", "action": {"kind": "http"}}], "/legs/0/action/url"),
        ([{"id": "a", "action": {"kind": "http", "url": "http://x", "foo": 1}}],
         "/legs/0/action/foo"),
        ([echo("a"), echo("a")], "/legs/1/id"),
        ([{"parallel": [echo("a")]}], "/legs/0/parallel"),
        ([{"parallel": [echo("a"), {"id": "b"}]}], "/legs/0/parallel/1/action"),
        ([echo("a", "${results.b.x}"), echo("b")], "/legs/0/action/input"),
        ([echo("a", "${inputs.x}")], "/legs/0/action/input"),
        ([echo("a", {"deep": ["${input."]})], "/legs/0/action/input/deep/0"),
        ([echo("a", "${result}")], "/legs/0/action/input"),
        ([{"parallel": [echo("a"), echo("b", "${results.a}")]}],
         "/legs/0/parallel/1/action/input"),
        ([{"id": "a", "action": {"kind": "function", "function": "os:remove"}}],
         "/legs/0/action/function"),
        ([echo("a", retry={"attempts": 0})], "/legs/0/retry/attempts"),
        ([echo("a", timeout_s=-1)], "/legs/0/timeout_s"),
        ([echo("a", effect="once")], "/legs/0/effect"),
    ],
)  # fmt: skip
async def test_bad_definition_is_refused_with_its_place(
    daemon: Daemon, legs: list[Any], pointer: str
) -> None:
    answer = await daemon.ask("POST", PATH, json=saga(*legs))

    assert (422, "invalid_input") == (answer.status, answer.json["code"])
    assert pointer in [fault["pointer"] for fault in answer.json["errors"]]
    assert 404 == (await daemon.ask("GET", f"{PATH}/order")).status


async def test_all_faults_are_told_at_once(daemon: Daemon) -> None:
    body = saga(
        echo("a", "${nothing.x}"), echo("a", "${results.z}"), output="${result}", name="runs"
    )

    answer = await daemon.ask("POST", PATH, json=body)

    pointers = {fault["pointer"] for fault in answer.json["errors"]}
    expected = {"/name", "/legs/0/action/input", "/legs/1/id", "/legs/1/action/input", "/output"}
    assert expected == pointers


async def test_input_is_checked_against_the_declared_schema(daemon: Daemon) -> None:
    schema = {"type": "object", "required": ["items"], "properties": {"items": {"minimum": 1}}}
    await define(daemon, echo("one"), input=schema)

    missing = await daemon.ask("POST", f"{PATH}/order/start", json={"input": {}})
    small = await daemon.ask("POST", f"{PATH}/order/start", json={"input": {"items": 0}})

    assert (422, 422) == (missing.status, small.status)
    assert "/input/items" == small.json["errors"][0]["pointer"]


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "http://example.com/s.json"}])
async def test_bad_schema_is_refused(daemon: Daemon, schema: dict[str, Any]) -> None:
    answer = await daemon.ask("POST", PATH, json=saga(echo("one"), input=schema))

    assert 422 == answer.status
    assert answer.json["errors"][0]["pointer"].startswith("/input")


async def test_name_of_other_workflows_is_taken(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={**saga(echo("one")), "name": "echo"})

    assert (409, "workflow_name_taken") == (answer.status, answer.json["code"])


async def test_saga_in_use_is_not_deleted(daemon: Daemon) -> None:
    await define(daemon, {"id": "asks", "action": {"kind": "workflow", "workflow": "asks"}})
    started = await daemon.ask("POST", f"{PATH}/order/start")

    refused = await daemon.ask("DELETE", f"{PATH}/order")
    await daemon.ask("POST", f"{started.headers['Location']}/abort")
    await daemon.runs.wait(started.json["run_id"], timeout_s=5)
    deleted = await daemon.ask("DELETE", f"{PATH}/order")

    assert (409, "definition_in_use") == (refused.status, refused.json["code"])
    assert (200, {"name": "order", "deleted": True}) == (deleted.status, deleted.json)
    assert 404 == (await daemon.ask("POST", f"{PATH}/order/start")).status
    # What its runs have done can still be read.
    left = await daemon.ask("GET", started.headers["Location"])
    assert (200, ["asks"]) == (left.status, [leg["id"] for leg in left.json["legs"]])


async def test_what_is_not_there_is_not_found(daemon: Daemon) -> None:
    nobody = "01a1f949-cf12-74a3-913d-b84b50d6335d"
    answers = [
        await daemon.ask("GET", f"{PATH}/nothing"),
        await daemon.ask("DELETE", f"{PATH}/nothing"),
        await daemon.ask("POST", f"{PATH}/nothing/start"),
        await daemon.ask("GET", f"{PATH}/nothing/runs"),
        await daemon.ask("GET", f"{PATH}/runs/{nobody}"),
        await daemon.ask("POST", f"{PATH}/runs/{nobody}/abort"),
        await daemon.ask("POST", f"{PATH}/runs/{nobody}/retry-compensation"),
    ]
    echoed = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "echo"})
    answers.append(await daemon.ask("GET", f"{PATH}/runs/{echoed.json['run_id']}"))

    assert [404] * 8 == [answer.status for answer in answers]


async def test_lists_are_paged(daemon: Daemon) -> None:
    for name in ("a", "b", "c"):
        answer = await daemon.ask("POST", PATH, json={**saga(echo("one")), "name": name})
        assert 201 == answer.status
        await daemon.ask("POST", f"{PATH}/a/start", headers={"Prefer": "wait=5"})

    first = await daemon.ask("GET", f"{PATH}?limit=2")
    rest = await daemon.ask("GET", f"{PATH}?limit=2&cursor={first.json['next_cursor']}")
    runs = await daemon.ask("GET", f"{PATH}/a/runs?limit=2")
    more = await daemon.ask("GET", f"{PATH}/a/runs?limit=2&cursor={runs.json['next_cursor']}")

    assert ["a", "b", "c"] == [one["name"] for one in first.json["sagas"] + rest.json["sagas"]]
    assert None is rest.json["next_cursor"]
    assert 3 == len({one["id"] for one in runs.json["runs"] + more.json["runs"]})


async def test_same_key_starts_one_run(daemon: Daemon) -> None:
    await define(daemon, echo("one"))
    headers = {"Idempotency-Key": "order-17"}

    first = await daemon.ask("POST", f"{PATH}/order/start", headers=headers)
    second = await daemon.ask("POST", f"{PATH}/order/start", headers=headers)

    assert first.json["run_id"] == second.json["run_id"]
    assert "true" == second.headers["Idempotency-Replayed"]
