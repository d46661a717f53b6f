"""Every run, whatever it is of."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.api.conftest import Answer, Daemon

PATH = "/api/v1/runs"


async def start(daemon: Daemon, workflow: str, value: Any = None, **headers: str) -> Answer:
    answer = await daemon.ask(
        "POST", PATH, json={"workflow": workflow, "input": value}, headers=headers
    )
    assert answer.status in {200, 202}
    return answer


async def test_a_started_run_has_an_address(daemon: Daemon) -> None:
    answer = await start(daemon, "hangs")

    assert answer.status == 202
    assert answer.headers["Location"] == f"{PATH}/{answer.json['id']}"


async def test_a_start_is_answered_with_what_reading_the_run_gives(daemon: Daemon) -> None:
    wanted = {
        "workflow": "echo",
        "input": {"a": [1, 2.5, None]},
        "name": "order-7",
        "tags": {"a": "b"},
        "priority": 3,
        "delay_s": 3600,
        "timeout_s": 7200,
        "concurrency_key": "customer-7",
        "max_attempts": 4,
    }

    alone = await daemon.ask("POST", PATH, json=wanted, headers={"Idempotency-Key": "k"})
    again = await daemon.ask("POST", PATH, json=wanted, headers={"Idempotency-Key": "k"})
    bare = await daemon.ask("POST", PATH, json={"workflow": "echo", "delay_s": 3600})
    talk = await daemon.ask("POST", PATH, json={**wanted, "name": None, "session_id": "s"})

    assert 202 == alone.status == again.status == bare.status == talk.status
    assert alone.json == again.json
    for answer in (alone, bare, talk):
        read = await daemon.ask("GET", f"{PATH}/{answer.json['id']}")
        assert read.json == answer.json


async def test_a_start_that_waits_is_answered_with_the_output(daemon: Daemon) -> None:
    answer = await start(daemon, "echo", {"a": [1, 2]}, Prefer="wait=5")

    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=5"
    assert answer.json["output"] == {"a": [1, 2]}


async def test_a_run_shows_all_that_belongs_to_it(daemon: Daemon) -> None:
    run_id = (await start(daemon, "asks")).json["run_id"]

    answer = await daemon.ask("GET", f"{PATH}/{run_id}", headers={"Prefer": "wait=5"})

    assert answer.json["status"] == "suspended"
    assert answer.json["snapshot_id"] is not None
    (wait,) = answer.json["waits"]
    assert {"key", "kind", "name", "due_at", "show"} <= set(wait)
    assert answer.json["created_at"].endswith("Z")
    assert answer.json["links"]["steps"] == f"{PATH}/{run_id}/steps"


async def test_an_unchanged_run_is_not_sent_again(daemon: Daemon) -> None:
    run_id = (await start(daemon, "echo", Prefer="wait=5")).json["run_id"]
    first = await daemon.ask("GET", f"{PATH}/{run_id}")

    same = await daemon.ask(
        "GET", f"{PATH}/{run_id}", headers={"If-None-Match": first.headers["ETag"]}
    )
    weak = await daemon.ask(
        "GET", f"{PATH}/{run_id}", headers={"If-None-Match": f'"x", W/{first.headers["ETag"]}'}
    )
    other = await daemon.ask("GET", f"{PATH}/{run_id}", headers={"If-None-Match": '"x"'})

    assert (same.status, same.text) == (304, "")
    assert weak.status == 304
    assert other.status == 200


async def test_a_change_ends_the_wait_of_a_watcher(daemon: Daemon) -> None:
    run_id = (await start(daemon, "asks")).json["run_id"]
    first = await daemon.ask("GET", f"{PATH}/{run_id}", headers={"Prefer": "wait=5"})
    headers = {"If-None-Match": first.headers["ETag"], "Prefer": "wait=5"}
    watching = asyncio.create_task(daemon.ask("GET", f"{PATH}/{run_id}", headers=headers))

    await daemon.ask("POST", f"{PATH}/{run_id}/cancel")

    answer = await watching
    assert (answer.status, answer.json["status"]) == (200, "cancelled")


async def test_a_watcher_is_told_that_nothing_has_changed(daemon: Daemon) -> None:
    run_id = (await start(daemon, "asks")).json["run_id"]
    first = await daemon.ask("GET", f"{PATH}/{run_id}", headers={"Prefer": "wait=5"})

    answer = await daemon.ask(
        "GET",
        f"{PATH}/{run_id}",
        headers={"If-None-Match": first.headers["ETag"], "Prefer": "wait=1"},
    )

    assert answer.status == 304
    assert answer.headers["Preference-Applied"] == "wait=1"


async def test_a_reader_that_waits_is_answered_at_the_end(daemon: Daemon) -> None:
    run_id = (await start(daemon, "hangs")).json["run_id"]
    waiting = asyncio.create_task(
        daemon.ask("GET", f"{PATH}/{run_id}", headers={"Prefer": "respond-async;a, wait=5"})
    )

    await daemon.ask("POST", f"{PATH}/{run_id}/cancel", json={"reason": "enough"})

    answer = await waiting
    assert answer.status == 200


async def test_runs_are_listed_filtered_and_paged(daemon: Daemon) -> None:
    started = []
    for number in range(5):
        workflow = "asks" if number % 2 else "echo"
        started.append((await start(daemon, workflow, number, Prefer="wait=5")).json["id"])

    ids = []
    cursor = None
    for _ in range(5):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = await daemon.ask("GET", PATH, params=query)
        ids += [run["id"] for run in page.json["runs"]]
        cursor = page.json["next_cursor"]
        if cursor is None:
            break
    suspended = await daemon.ask("GET", f"{PATH}?status=suspended&status=running")
    echoes = await daemon.ask("GET", f"{PATH}?workflow=echo&status=completed")

    assert started[::-1] == ids
    assert {"asks"} == {run["workflow"] for run in suspended.json["runs"]}
    assert len(echoes.json["runs"]) == 3


async def test_a_cursor_of_another_list_is_refused(daemon: Daemon) -> None:
    for _ in range(2):
        await start(daemon, "asks", Prefer="wait=5")
    page = await daemon.ask("GET", "/api/v1/workflows/snapshots?limit=1")

    answer = await daemon.ask("GET", PATH, params={"cursor": page.json["next_cursor"]})

    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "cursor")


async def test_steps_are_paged_in_order(daemon: Daemon) -> None:
    run_id = (await start(daemon, "agent", {"message": "Hello"}, Prefer="wait=5")).json["run_id"]

    answer = await daemon.ask("GET", f"{PATH}/{run_id}/steps")

    steps = answer.json["steps"]
    assert "step" in {step["kind"] for step in steps}
    assert {"number", "key", "kind", "at", "epoch", "body", "meta"} == set(steps[0])
    after = await daemon.ask("GET", f"{PATH}/{run_id}/steps?after={steps[-1]['number']}")
    assert after.json == {"steps": [], "next_cursor": None}


async def test_events_with_the_same_key_have_the_same_id(daemon: Daemon) -> None:
    run_id = (await start(daemon, "both")).json["run_id"]
    await daemon.ask("GET", f"{PATH}/{run_id}", headers={"Prefer": "wait=5"})
    body = {"name": "other", "payload": 1}
    headers = {"Idempotency-Key": "e1"}

    first = await daemon.ask("POST", f"{PATH}/{run_id}/events", json=body, headers=headers)
    second = await daemon.ask("POST", f"{PATH}/{run_id}/events", json=body, headers=headers)

    assert (first.status, second.status) == (202, 202)
    assert first.json["event_id"] == second.json["event_id"]


async def test_definitions_name_what_can_be_run_and_what_failed(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", "/api/v1/definitions")

    assert {"agent", "echo"} <= {found["name"] for found in answer.json["definitions"]}
    assert answer.json["failures"][0]["path"] == "broken.py"


async def test_heads_have_no_body(daemon: Daemon) -> None:
    for path in ("/health", PATH, "/docs", "/openapi.json"):
        answer = await daemon.ask("HEAD", path)
        assert (answer.status, answer.text) == (200, "")


async def test_faults_of_an_input_point_into_the_body(daemon: Daemon) -> None:
    body = {"workflow": "agent", "input": {"mesage": "Hello"}}

    answer = await daemon.ask("POST", PATH, json=body)

    assert (answer.status, answer.json["code"]) == (422, "invalid_input")
    assert answer.json["errors"][0]["pointer"] == "/input/message"
