"""The paths of the agent workflow deployment notes: tasks and their events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.conftest import Answer, Daemon, Serve
from tests.integration.api.events import Event, stream
from tests.integration.api.played import FLAKY
from tests.integration.api.test_access import add_token

KEYS = {
    "id", "type", "status", "result", "error", "attempts", "maxAttempts",
    "nextRunAt", "createdAt", "updatedAt",
}  # fmt: skip


@pytest.fixture(autouse=True)
def flaky() -> Iterator[None]:
    FLAKY.reset()
    yield
    FLAKY.reset()


async def submit(daemon: Daemon, type_: str, payload: Any = None, **more: Any) -> Answer:
    body = {"type": type_, "payload": payload, **more}
    return await daemon.ask("POST", "/api/tasks", json=body)


async def ended(daemon: Daemon, task_id: str) -> dict[str, Any]:
    """Wait for the end of a task by its run, and read it."""
    await daemon.runs.wait(task_id, timeout_s=10)
    answer = await daemon.ask("GET", f"/api/tasks/{task_id}")
    task: dict[str, Any] = answer.json
    return task


def changes(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.data["status"], event.data["attempts"]) for event in events]


async def test_task_is_accepted_and_read_until_it_is_completed(daemon: Daemon) -> None:
    submitted = await submit(daemon, "echo", {"a": 1})

    assert 202 == submitted.status
    task_id = submitted.json["id"]
    wanted = {"id": task_id, "status": "pending", "attempts": 0, "maxAttempts": 3}
    assert wanted == submitted.json
    assert f"/api/tasks/{task_id}" == submitted.headers["Location"]
    task = await ended(daemon, task_id)
    assert set(task) == KEYS
    assert ("echo", "completed", {"a": 1}) == (task["type"], task["status"], task["result"])
    assert (None, 1, 3) == (task["error"], task["attempts"], task["maxAttempts"])
    assert task["createdAt"] <= task["updatedAt"]


async def test_task_whose_tries_are_used_up_is_a_dead_letter(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    FLAKY.is_broken = True

    submitted = await submit(daemon, "flaky", maxAttempts=2)
    task = await ended(daemon, submitted.json["id"])

    assert ("dead-letter", 2, 2) == (task["status"], task["attempts"], task["maxAttempts"])
    assert "It is broken." in task["error"]
    told = {one.message: vars(one) for one in caplog.records}
    assert (task["id"], "flaky") == (
        told["Task submitted"]["task_id"],
        told["Task submitted"]["type"],
    )
    assert task["id"] == told["Task moved to dead-letter"]["run_id"]
    listed = await daemon.ask("GET", "/api/tasks?status=dead-letter")
    assert [task] == listed.json["items"]


async def test_policy_of_the_workflow_goes_before_the_default(daemon: Daemon) -> None:
    assert 2 == (await submit(daemon, "flaky")).json["maxAttempts"]
    assert 5 == (await submit(daemon, "flaky", maxAttempts=5)).json["maxAttempts"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"payload": 1}, "/type"),
        ({"type": "echo", "maxAttempts": 0}, "/maxAttempts"),
        ({"type": "echo", "maxAttempts": "3"}, "/maxAttempts"),
        ({"type": "echo", "scheduleAt": "tomorrow"}, "/scheduleAt"),
        ({"type": "echo", "priority": 1001}, "/priority"),
        ({"type": "echo", "idempotencyKey": "with space"}, "/idempotencyKey"),
        ({"type": "echo", "ownerId": "somebody"}, "/ownerId"),
        ({"type": "number", "payload": "many"}, "/payload"),
    ],
)
async def test_what_is_wrong_with_a_task_is_a_bad_request(
    daemon: Daemon, body: dict[str, Any], where: str
) -> None:
    answer = await daemon.ask("POST", "/api/tasks", json=body)

    assert 400 == answer.status
    assert [where] == [one["pointer"] for one in answer.json["errors"]]
    assert (False, 400) == (answer.json["success"], answer.json["status"])
    assert answer.json["message"]
    assert [] == await daemon.all_runs()


async def test_unknown_type_is_a_bad_request(daemon: Daemon) -> None:
    answer = await submit(daemon, "nothing")

    assert (400, "workflow_not_found") == (answer.status, answer.json["code"])
    assert "There is no workflow named 'nothing'." == answer.json["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_malformed_body_is_a_bad_request(daemon: Daemon, body: bytes) -> None:
    answer = await daemon.ask(
        "POST", "/api/tasks", data=body, headers={"Content-Type": "application/json"}
    )

    assert 400 == answer.status


async def test_same_key_gives_the_same_task(daemon: Daemon) -> None:
    bodies = [submit(daemon, "echo", 1, idempotencyKey="k") for _ in range(8)]
    answers = await asyncio.gather(*bodies)

    assert {202} == {one.status for one in answers}
    assert 1 == len({one.json["id"] for one in answers})
    assert 7 == sum("Idempotency-Replayed" in one.headers for one in answers)
    other = await submit(daemon, "echo", 2, idempotencyKey="k")
    assert (422, "idempotency_mismatch") == (other.status, other.json["code"])


async def test_two_keys_that_differ_are_a_bad_request(daemon: Daemon) -> None:
    answer = await daemon.ask(
        "POST",
        "/api/tasks",
        json={"type": "echo", "idempotencyKey": "one"},
        headers={"Idempotency-Key": "two"},
    )

    assert (400, "/idempotencyKey") == (answer.status, answer.json["errors"][0]["pointer"])


async def test_scheduled_task_waits_for_its_moment(daemon: Daemon) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)

    submitted = await submit(daemon, "echo", 1, scheduleAt=moment.isoformat())
    task = (await daemon.ask("GET", f"/api/tasks/{submitted.json['id']}")).json

    assert ("pending", 0) == (task["status"], task["attempts"])
    assert moment == datetime.fromisoformat(task["nextRunAt"])


async def test_waiting_task_is_processing_until_it_is_cancelled(daemon: Daemon) -> None:
    task_id = (await submit(daemon, "asks")).json["id"]
    waiting = await ended(daemon, task_id)

    cancelled = await daemon.ask("POST", f"/api/tasks/{task_id}/cancel")
    again = await daemon.ask("DELETE", f"/api/tasks/{task_id}")

    assert ("processing", 1) == (waiting["status"], waiting["attempts"])
    assert (200, "cancelled") == (cancelled.status, cancelled.json["status"])
    assert (409, "run_ended") == (again.status, again.json["code"])


@pytest.mark.parametrize("task_id", ["nothing", "01a1f8dd-7a6f-77a8-be27-abd11abe038c"])
async def test_unknown_task_is_not_found(daemon: Daemon, task_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
        answer = await daemon.ask(method, f"/api/tasks/{task_id}{path}")
        assert (404, "run_not_found") == (answer.status, answer.json["code"])


async def test_tasks_are_listed_by_page_type_and_status(daemon: Daemon) -> None:
    ids = [(await submit(daemon, "echo", number)).json["id"] for number in range(3)]
    waiting = (await submit(daemon, "asks")).json["id"]
    for task_id in (*ids, waiting):
        await daemon.runs.wait(task_id, timeout_s=10)

    first = (await daemon.ask("GET", "/api/tasks?limit=2&type=echo")).json
    second = (await daemon.ask("GET", f"/api/tasks?type=echo&cursor={first['nextCursor']}")).json
    processing = (await daemon.ask("GET", "/api/tasks?status=processing&status=failed")).json

    found = [one["id"] for one in (*first["items"], *second["items"])]
    assert (list(reversed(ids)), None) == (found, second["nextCursor"])
    assert [waiting] == [one["id"] for one in processing["items"]]


@pytest.mark.parametrize("query", ["status=dead_letter", "limit=0", "cursor=x", "owner=me"])
async def test_list_with_a_wrong_filter_is_a_bad_request(daemon: Daemon, query: str) -> None:
    assert 400 == (await daemon.ask("GET", f"/api/tasks?{query}")).status


async def test_inbox_has_the_callers_ten_newest_results(daemon: Daemon) -> None:
    ids = []
    for number in range(12):
        ids.append((await submit(daemon, "echo", number)).json["id"])
        await daemon.runs.wait(ids[-1], timeout_s=10)
    await submit(daemon, "asks")
    other = await add_token(daemon, "other")
    theirs = await daemon.ask(
        "POST", "/api/tasks", json={"type": "echo", "payload": "theirs"}, headers=other
    )
    await daemon.runs.wait(theirs.json["id"], timeout_s=10)

    own = (await daemon.ask("GET", "/api/tasks/inbox")).json["items"]
    of_other = (await daemon.ask("GET", "/api/tasks/inbox", headers=other)).json["items"]

    assert list(range(11, 1, -1)) == [item["result"] for item in own]
    assert {"id", "type", "result", "updatedAt"} == set(own[0])
    assert [theirs.json["id"]] == [item["id"] for item in of_other]


async def test_every_change_of_a_task_is_told(daemon: Daemon) -> None:
    FLAKY.is_broken = True
    async with stream(daemon, "/api/task-events") as opened:
        task_id = (await submit(daemon, "flaky", maxAttempts=2)).json["id"]
        events = await opened.until(status="dead-letter")

    assert {"task-update"} == {event.name for event in events}
    assert all(KEYS == set(event.data) for event in events)
    assert {task_id} == {event.data["id"] for event in events}
    wanted = [("pending", 0), ("processing", 1), ("pending", 1), ("processing", 2)]
    assert [*wanted, ("dead-letter", 2)] == changes(events)
    assert "It is broken." in events[-1].data["error"]


async def test_what_was_missed_is_told_with_its_own_status(daemon: Daemon) -> None:
    task_id = (await submit(daemon, "echo", "result")).json["id"]
    await ended(daemon, task_id)

    async with stream(daemon, "/api/task-events", {"Last-Event-ID": "0"}) as opened:
        events = await opened.until(status="completed")

    assert [("pending", 0), ("processing", 1), ("completed", 1)] == changes(events)
    assert [None, None, "result"] == [event.data["result"] for event in events]
    ids = [event.id or 0 for event in events]
    assert sorted(ids) == ids


async def test_events_of_one_task_end_with_it(daemon: Daemon) -> None:
    first = (await submit(daemon, "asks")).json["id"]
    async with stream(daemon, f"/api/task-events?taskId={first}") as opened:
        await submit(daemon, "echo", 1)
        await daemon.ask("DELETE", f"/api/tasks/{first}")
        events = await opened.rest()

    assert {first} == {event.data["id"] for event in events}
    assert "cancelled" == events[-1].data["status"]
    missing = await daemon.ask("GET", "/api/task-events?taskId=nothing")
    assert 404 == missing.status


async def test_events_are_filtered_by_type_and_status(daemon: Daemon) -> None:
    path = "/api/task-events?type=echo&status=completed&status=failed"
    async with stream(daemon, path) as opened:
        await submit(daemon, "number", 1.0)
        echo = (await submit(daemon, "echo", 1)).json["id"]
        event = await opened.read()

    assert event is not None
    assert (echo, "completed") == (event.data["id"], event.data["status"])


async def test_large_result_is_left_out_of_events_only(daemon: Daemon) -> None:
    async with stream(daemon, "/api/task-events?status=completed") as opened:
        task_id = (await submit(daemon, "echo", "x" * 100_000)).json["id"]
        event = await opened.read()

    assert event is not None
    assert (None, 100_002) == (event.data["result"], event.data["resultBytes"])
    assert 100_000 == len((await ended(daemon, task_id))["result"])


async def test_quiet_stream_is_kept_alive_by_an_event(serve: Serve) -> None:
    daemon = await serve(heartbeat_s=0.1)

    async with stream(daemon, "/api/task-events") as opened:
        event = await opened.read()

    assert event is not None
    assert ("keep-alive", None) == (event.name, event.id)
    assert datetime.fromisoformat(event.data["timestamp"]).tzinfo is not None


async def test_streams_are_logged_as_they_open_and_close(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    daemon = await serve()
    task_id = (await submit(daemon, "echo", 1)).json["id"]
    await ended(daemon, task_id)
    async with stream(daemon, f"/api/task-events?taskId={task_id}") as opened:
        await opened.rest()

    told = {one.message: vars(one) for one in caplog.records}
    assert "/api/task-events" == told["SSE connection opened"]["path"]
    assert "local" == told["SSE connection closed"]["principal"]


async def test_open_daemon_shows_tasks_to_nobody_without_a_token(serve: Serve) -> None:
    daemon = await serve(allowed_hosts=["agency.example"])
    right = await add_token(daemon)

    for path in ("/api/tasks", "/api/tasks/inbox", "/api/task-events"):
        assert 401 == (await daemon.ask("GET", path)).status
    assert 200 == (await daemon.ask("GET", "/api/tasks", headers=right)).status
    async with stream(daemon, "/api/task-events", right) as opened:
        assert 200 == opened.response.status


async def test_stopping_daemon_takes_no_tasks(daemon: Daemon) -> None:
    daemon.is_stopping = True

    answer = await submit(daemon, "echo", 1)

    assert (503, "shutting_down") == (answer.status, answer.json["code"])
