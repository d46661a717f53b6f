"""Queues, and many runs at once, over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from agency.config.schema import Queue
from tests.integration.api.conftest import Daemon, Serve

QUEUES = "/api/v1/queues"
BULK = "/api/v1/runs/bulk"


def echo(**members: Any) -> dict[str, Any]:
    return {"workflow": "echo", "input": {"text": "hello"}, **members}


async def test_queues_are_listed_shown_paused_and_resumed(serve: Serve) -> None:
    mail = Queue(concurrency=2, rate=5, rate_period_s=60, size_max=9)
    daemon = await serve(queues={"mail": mail})

    listed = await daemon.ask("GET", QUEUES)
    paused = await daemon.ask("POST", f"{QUEUES}/mail/pause")
    started = await daemon.ask("POST", "/api/v1/runs", json=echo(queue="mail"))
    drained = await daemon.ask("POST", f"{QUEUES}/mail/drain")
    shown = await daemon.ask("GET", f"{QUEUES}/mail")
    resumed = await daemon.ask("POST", f"{QUEUES}/mail/resume")

    assert ["default", "mail"] == [one["name"] for one in listed.json["queues"]]
    assert (2, 5, 60, 9) == tuple(
        paused.json[name] for name in ("concurrency", "rate", "rate_period_s", "size_max")
    )
    assert (True, 202, 200) == (paused.json["paused"], started.status, drained.status)
    assert {"pending": 1, "running": 0, "suspended": 0} == shown.json["runs"]
    assert shown.json["paused_at"] == paused.json["paused_at"]
    assert resumed.json["paused"] is False


async def test_queues_come_in_pages(serve: Serve) -> None:
    daemon = await serve(queues={"a": Queue(), "b": Queue()})

    first = await daemon.ask("GET", f"{QUEUES}?limit=2")
    second = await daemon.ask("GET", f"{QUEUES}?limit=2&cursor={first.json['next_cursor']}")

    names = [one["name"] for page in (first, second) for one in page.json["queues"]]
    assert ["a", "b", "default"] == names
    assert second.json["next_cursor"] is None


@pytest.mark.parametrize("name", ["unknown", "a%2Fb", "x" * 65, "%00"])
async def test_queue_that_is_not_there_is_not_found(daemon: Daemon, name: str) -> None:
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/drain")):
        answer = await daemon.ask(method, f"{QUEUES}/{name}{path}")
        assert 404 == answer.status


async def test_run_in_a_queue_that_is_not_there_is_refused(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", "/api/v1/runs", json=echo(queue="nowhere"))

    assert (404, "queue_not_found") == (answer.status, answer.json["code"])
    assert "nowhere" == answer.json["queue"]


async def test_full_queue_answers_429_and_when_to_come_again(serve: Serve) -> None:
    daemon = await serve(queues={"small": Queue(size_max=1)})
    await daemon.ask("POST", f"{QUEUES}/small/pause")
    await daemon.ask("POST", "/api/v1/runs", json=echo(queue="small"))

    one = await daemon.ask("POST", "/api/v1/runs", json=echo(queue="small"))
    named = await daemon.ask(
        "POST",
        "/api/v1/workflows",
        json={"workflow_id": "w", "workflow": "echo", "input": {}, "queue": "small"},
    )
    many = await daemon.ask("POST", BULK, json={"runs": [echo(queue="small"), echo()]})

    assert (429, "queue_full", "10") == (one.status, one.json["code"], one.headers["Retry-After"])
    assert 429 == named.status
    assert [429, 202] == [item["status"] for item in many.json["runs"]]
    assert "10" == many.headers["Retry-After"]


async def test_start_takes_all_that_a_queue_knows(daemon: Daemon) -> None:
    body = echo(queue="default", concurrency_key="k", max_attempts=3, delay_s=60, priority=7)
    answer = await daemon.ask("POST", "/api/v1/runs", json=body)

    run = answer.json
    assert (202, "k", 3, 7) == (
        answer.status,
        run["concurrency_key"],
        run["max_attempts"],
        run["priority"],
    )
    assert run["available_at"] > run["created_at"]


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"queue": "a/b"}, "/queue"),
        ({"queue": ""}, "/queue"),
        ({"concurrency_key": ""}, "/concurrency_key"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"max_attempts": 1001}, "/max_attempts"),
        ({"delay_s": -1}, "/delay_s"),
        ({"delay_s": 1, "available_at": "2030-01-01T00:00:00Z"}, ""),
    ],
)
async def test_what_no_queue_knows_is_refused(
    daemon: Daemon, members: dict[str, Any], pointer: str
) -> None:
    answer = await daemon.ask("POST", "/api/v1/runs", json=echo(**members))

    assert 422 == answer.status
    assert [pointer] == [fault["pointer"] for fault in answer.json["errors"]]


async def test_each_of_many_runs_stands_for_itself(daemon: Daemon) -> None:
    single = await daemon.ask("POST", "/api/v1/runs", json=echo(), headers={"Idempotency-Key": "k"})

    answer = await daemon.ask(
        "POST",
        BULK,
        json={
            "runs": [
                echo(),
                echo(idempotency_key="k"),
                echo(idempotency_key="k", priority=1),
                {"workflow": "nothing"},
                {"workflow": "echo", "imput": 1},
                ["no object"],
                echo(idempotency_key="with space"),
            ]
        },
    )

    items = answer.json["runs"]
    assert 200 == answer.status
    assert [202, 200, 422, 404, 422, 422, 422] == [item["status"] for item in items]
    assert single.json["run_id"] == items[1]["run_id"]
    assert [
        None,
        None,
        "idempotency_mismatch",
        "workflow_not_found",
        "invalid_input",
        "invalid_input",
        "invalid_input",
    ] == [item["problem"] and item["problem"]["code"] for item in items]
    assert "/runs/4/imput" == items[4]["problem"]["errors"][0]["pointer"]
    assert "/runs/5" == items[5]["problem"]["errors"][0]["pointer"]
    assert items[0]["run_id"] in {run.id for run in await daemon.all_runs()}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"runs": []}, 422),
        ({"runs": {}}, 422),
        ({"runs": [{}] * 1001}, 422),
        ({"runs": [echo()], "more": 1}, 422),
    ],
)
async def test_bulk_request_that_is_none_starts_nothing(
    daemon: Daemon, body: dict[str, Any], status: int
) -> None:
    answer = await daemon.ask("POST", BULK, json=body)

    assert status == answer.status
    assert [] == list(await daemon.all_runs())


async def test_as_many_as_may_be_are_started_at_once(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", BULK, json={"runs": [echo()] * 1000})

    assert 1000 == len({item["run_id"] for item in answer.json["runs"]})
    assert {202} == {item["status"] for item in answer.json["runs"]}


async def test_bulk_request_is_refused_while_the_daemon_stops(daemon: Daemon) -> None:
    daemon.is_stopping = True

    answer = await daemon.ask("POST", BULK, json={"runs": [echo()]})

    assert (503, "shutting_down") == (answer.status, answer.json["code"])
