"""Named runs and their snapshots, on the guide's paths."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import Answer, Daemon

PATH = "/api/v1/workflows"


async def create(daemon: Daemon, name: str, workflow: str, **more: Any) -> Answer:
    body = {"workflow_id": name, "workflow": workflow, **more}
    answer = await daemon.ask("POST", PATH, json=body)
    assert answer.status == 201
    return answer


async def snapshot_of(daemon: Daemon, name: str) -> str:
    answer = await daemon.ask("GET", f"{PATH}/{name}", headers={"Prefer": "wait=5"})
    assert answer.json["status"] == "suspended"
    snapshot_id: str = answer.json["snapshot_id"]
    return snapshot_id


async def test_a_named_run_of_the_agent_is_created(daemon: Daemon) -> None:
    body = {"workflow_id": "my-workflow", "initial_message": "Process this data", "max_steps": 20}

    answer = await daemon.ask("POST", PATH, json=body)

    assert answer.status == 201
    assert set(answer.json) == {"workflow_id", "run_id", "status", "links"}
    assert answer.json["workflow_id"] == "my-workflow"
    assert answer.headers["Location"] == f"{PATH}/my-workflow"
    found = await daemon.ask("GET", answer.headers["Location"], headers={"Prefer": "wait=5"})
    assert found.json["workflow_id"] == "my-workflow"
    assert found.json["run_id"] == answer.json["run_id"]
    assert found.json["status"] == "completed"
    assert found.json["input"] == {"message": "Process this data", "max_steps": 20}


async def test_a_taken_name_carries_the_address_of_the_live_run(daemon: Daemon) -> None:
    first = await create(daemon, "order-7", "asks")

    second = await daemon.ask("POST", PATH, json={"workflow_id": "order-7", "workflow": "asks"})

    assert (second.status, second.json["code"]) == (409, "name_taken")
    assert second.json["run_id"] == first.json["run_id"]
    assert second.json["links"]["run"] == f"/api/v1/runs/{first.json['run_id']}"


async def test_names_with_odd_characters_have_an_address(daemon: Daemon) -> None:
    name = "Bestellung 7/ü %41?#"
    created = await create(daemon, name, "asks")

    found = await daemon.runs.get_named(name)
    head = f"GET {created.headers['Location']} HTTP/1.1\r\nHost: localhost\r\nConnection: close"
    answer = await daemon.raw(f"{head}\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200")
    assert found.run.id.encode() in answer


async def test_the_agent_needs_a_message(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"workflow_id": "w"})

    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/initial_message")


async def test_input_and_parts_of_one_cannot_stand_together(daemon: Daemon) -> None:
    body = {"workflow_id": "w", "initial_message": "Hello", "max_steps": 2, "input": {}}

    answer = await daemon.ask("POST", PATH, json=body)

    pointers = {fault["pointer"] for fault in answer.json["errors"]}
    assert (answer.status, pointers) == (422, {"/initial_message", "/max_steps"})


async def test_an_unknown_workflow_is_not_found(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"workflow_id": "w", "workflow": "nothing"})

    assert (answer.status, answer.json["code"]) == (404, "workflow_not_found")


async def test_the_same_key_creates_one_run(daemon: Daemon) -> None:
    body = {"workflow_id": "w", "workflow": "asks"}
    headers = {"Idempotency-Key": "k"}

    first = await daemon.ask("POST", PATH, json=body, headers=headers)
    second = await daemon.ask("POST", PATH, json=body, headers=headers)

    assert (first.status, second.status) == (201, 201)
    assert first.json["run_id"] == second.json["run_id"]
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_the_list_has_named_runs_only(daemon: Daemon) -> None:
    await create(daemon, "w", "asks")
    await daemon.ask("POST", "/api/v1/runs", json={"workflow": "asks"})

    answer = await daemon.ask("GET", PATH)

    assert ["w"] == [run["workflow_id"] for run in answer.json["workflows"]]
    assert answer.json["next_cursor"] is None


async def test_an_operators_suspension_gives_a_snapshot(daemon: Daemon) -> None:
    await create(daemon, "w", "asks")

    answer = await daemon.ask("POST", f"{PATH}/w/suspend", json={"reason": "month's end"})

    assert answer.status == 200
    snapshot = await daemon.ask("GET", f"{PATH}/snapshots/{answer.json['snapshot_id']}")
    assert snapshot.json["run_id"] == answer.json["run_id"]
    assert "operator" in {wait["kind"] for wait in snapshot.json["waits"]}


async def test_a_suspension_before_the_safe_point_is_accepted(daemon: Daemon) -> None:
    await create(daemon, "w", "hangs")
    run_id = (await daemon.runs.get_named("w")).run.id

    answer = await daemon.ask(
        "POST", f"{PATH}/w/suspend", json={"reason": "now"}, headers={"Prefer": "wait=0"}
    )

    assert answer.status == 202
    assert answer.headers["Location"] == f"/api/v1/runs/{run_id}"
    assert answer.json["snapshot_id"] is None


async def test_a_named_run_is_cancelled_without_a_body(daemon: Daemon) -> None:
    await create(daemon, "w", "asks")

    answer = await daemon.ask("POST", f"{PATH}/w/cancel")
    again = await daemon.ask("POST", f"{PATH}/w/cancel")

    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert (again.status, again.json["code"]) == (409, "run_ended")


async def test_an_event_wakes_a_named_run(daemon: Daemon) -> None:
    await create(daemon, "w", "listens")
    await snapshot_of(daemon, "w")

    answer = await daemon.ask(
        "POST", f"{PATH}/w/events", json={"name": "paid", "payload": {"amount": 12}}
    )

    assert answer.status == 202
    run = await daemon.ask("GET", f"{PATH}/w", headers={"Prefer": "wait=5"})
    assert (run.json["status"], run.json["output"]) == ("completed", {"paid": {"amount": 12}})


async def test_an_answer_resumes_a_run_to_its_end(daemon: Daemon) -> None:
    await create(daemon, "w", "asks")
    snapshot_id = await snapshot_of(daemon, "w")

    answer = await daemon.ask(
        "POST", f"{PATH}/resume", json={"snapshot_id": snapshot_id, "input": "Ada"}
    )

    assert answer.status == 200
    assert answer.json["status"] == "completed"
    assert answer.json["completed"] is True
    assert answer.json["output"] == {"name": "Ada"}
    assert {"run_id", "status", "response", "completed", "steps_executed"} <= set(answer.json)


async def test_resuming_without_the_needed_input_is_refused(daemon: Daemon) -> None:
    await create(daemon, "w", "asks")
    snapshot_id = await snapshot_of(daemon, "w")

    answer = await daemon.ask("POST", f"{PATH}/resume", json={"snapshot_id": snapshot_id})

    assert (answer.status, answer.json["code"]) == (422, "answer_needed")


async def test_null_is_an_answer(daemon: Daemon) -> None:
    await create(daemon, "w", "asks")
    snapshot_id = await snapshot_of(daemon, "w")

    answer = await daemon.ask(
        "POST", f"{PATH}/resume", json={"snapshot_id": snapshot_id, "input": None}
    )

    assert (answer.status, answer.json["output"]) == (200, {"name": None})


async def test_one_of_several_waits_must_be_named(daemon: Daemon) -> None:
    await create(daemon, "w", "both")
    snapshot_id = await snapshot_of(daemon, "w")

    unnamed = await daemon.ask(
        "POST", f"{PATH}/resume", json={"snapshot_id": snapshot_id, "input": 1}
    )
    unknown = await daemon.ask(
        "POST", f"{PATH}/resume", json={"snapshot_id": snapshot_id, "input": 1, "wait": "other"}
    )

    assert (unnamed.status, unnamed.json["code"]) == (422, "wait_ambiguous")
    assert (unknown.status, unknown.json["code"]) == (422, "wait_not_found")
    assert len(unknown.json["open_waits"]) == 2


async def test_a_run_that_is_suspended_again_is_accepted(daemon: Daemon) -> None:
    await create(daemon, "w", "both")
    snapshot_id = await snapshot_of(daemon, "w")
    wait = next(
        wait["key"]
        for wait in (await daemon.ask("GET", f"{PATH}/w")).json["waits"]
        if wait["kind"] == "input"
    )

    answer = await daemon.ask(
        "POST", f"{PATH}/resume", json={"snapshot_id": snapshot_id, "input": 1, "wait": wait}
    )

    assert answer.status == 202
    assert answer.json["status"] == "suspended"
    assert ["event"] == [wait["kind"] for wait in answer.json["waits"]]
    assert answer.headers["Location"] == f"/api/v1/runs/{answer.json['run_id']}"


async def test_a_spent_snapshot_names_the_newest(daemon: Daemon) -> None:
    await create(daemon, "w", "both")
    first = await snapshot_of(daemon, "w")
    waits = (await daemon.ask("GET", f"{PATH}/w")).json["waits"]
    wait = next(wait["key"] for wait in waits if wait["kind"] == "input")
    body = {"snapshot_id": first, "input": 1, "wait": wait}
    await daemon.ask("POST", f"{PATH}/resume", json=body)

    again = await daemon.ask("POST", f"{PATH}/resume", json=body)

    newest = await snapshot_of(daemon, "w")
    assert (again.status, again.json["code"]) == (409, "snapshot_spent")
    assert again.json["newest"] == newest
    assert again.json["links"]["newest"] == f"{PATH}/snapshots/{newest}"


async def test_snapshots_are_listed_filtered_and_paged(daemon: Daemon) -> None:
    for number in range(5):
        await create(daemon, f"w{number}", "asks")
        await snapshot_of(daemon, f"w{number}")

    names = []
    cursor = None
    for _ in range(5):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = await daemon.ask("GET", f"{PATH}/snapshots", params=query)
        names += [snapshot["workflow_id"] for snapshot in page.json["snapshots"]]
        cursor = page.json["next_cursor"]
        if cursor is None:
            break
    one = await daemon.ask("GET", f"{PATH}/snapshots?workflow_id=w3")

    assert ["w4", "w3", "w2", "w1", "w0"] == names
    assert ["w3"] == [snapshot["workflow_id"] for snapshot in one.json["snapshots"]]


async def test_no_snapshots_are_an_empty_list(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", f"{PATH}/snapshots")

    assert (answer.status, answer.json) == (200, {"snapshots": [], "next_cursor": None})


@pytest.mark.parametrize("spelling", ["lower", "upper"])
async def test_one_snapshot_shows_state_and_waits(daemon: Daemon, spelling: str) -> None:
    await create(daemon, "w", "asks", input={"a": 1})
    snapshot_id = await snapshot_of(daemon, "w")
    asked = snapshot_id.upper() if spelling == "upper" else snapshot_id

    answer = await daemon.ask("GET", f"{PATH}/snapshots/{asked}")

    assert answer.status == 200
    assert answer.json["snapshot_id"] == snapshot_id
    assert answer.json["state"]["status"] == "suspended"
    assert answer.json["state"]["input"] == {"a": 1}
    assert answer.json["state"]["newest_snapshot_id"] == snapshot_id
    assert ["input"] == [wait["kind"] for wait in answer.json["waits"]]


async def test_the_newest_snapshot_of_a_live_run_is_deleted_only_with_the_run(
    daemon: Daemon,
) -> None:
    await create(daemon, "w", "asks")
    path = f"{PATH}/snapshots/{await snapshot_of(daemon, 'w')}"

    refused = await daemon.ask("DELETE", path)
    deleted = await daemon.ask("DELETE", f"{path}?cancel=true")
    gone = await daemon.ask("GET", path)

    assert (refused.status, refused.json["code"]) == (409, "snapshot_live")
    assert (deleted.status, deleted.json["deleted"]) == (200, True)
    assert gone.status == 404
    assert (await daemon.runs.get_named("w")).run.status == "cancelled"
