"""The agent's door."""

from __future__ import annotations

import asyncio

import pytest

from agency.core.ids import is_id
from tests.integration.api.conftest import Daemon, Serve

PATH = "/api/v1/agent/process"


async def test_message_is_answered_in_the_exact_shape(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"message": "What is Rust?", "max_steps": 10})

    assert answer.status == 200
    assert set(answer.json) == {
        "response", "steps_executed", "completed", "run_id", "session_id", "model", "rehearsal",
    }  # fmt: skip
    assert answer.json["response"] == "You said: What is Rust?"
    assert answer.json["completed"] is True
    assert answer.json["rehearsal"] is True
    assert is_id(answer.json["session_id"])
    run = (await daemon.runs.get(answer.json["run_id"])).run
    assert run.input == {"message": "What is Rust?", "max_steps": 10}
    assert run.correlation_id == answer.headers["X-Correlation-ID"]


async def test_a_given_session_is_kept(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"message": "Hello", "session_id": "mine"})

    assert answer.json["session_id"] == "mine"


async def test_a_reached_limit_is_an_answer_that_is_not_complete(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"message": "limit", "max_steps": 2})

    assert (answer.status, answer.json["completed"]) == (200, False)
    assert answer.json["steps_executed"] == 2


async def test_a_long_run_is_accepted_with_its_address(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"message": "hang"}, headers={"Prefer": "wait=0"})

    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "wait=0"
    assert answer.headers["Location"] == f"/api/v1/runs/{answer.json['run_id']}"
    assert answer.json["status"] in {"pending", "running"}
    assert answer.json["links"]["self"] == answer.headers["Location"]


async def test_the_bound_of_the_settings_ends_the_wait(serve: Serve) -> None:
    daemon = await serve(sync_wait_s=0.05)

    answer = await daemon.ask(
        "POST", PATH, json={"message": "hang"}, headers={"Prefer": "wait=900"}
    )

    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "wait=0.05"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("model_crashed", 502),
        ("model_refused", 502),
        ("permanent", 502),
        ("something_new", 502),
        ("model_timed_out", 504),
        ("context_too_long", 422),
        ("model_not_found", 422),
    ],
)
async def test_a_failed_run_is_a_problem_with_its_run(
    daemon: Daemon, code: str, status: int
) -> None:
    answer = await daemon.ask("POST", PATH, json={"message": f"fail {code}"})

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["code"] == code
    assert answer.json["hint"]
    assert answer.json["run_status"] == "failed"
    assert is_id(answer.json["run_id"])
    assert answer.json["links"]["run"] == f"/api/v1/runs/{answer.json['run_id']}"


async def test_a_cancelled_run_is_a_conflict(daemon: Daemon) -> None:
    waiting = asyncio.create_task(daemon.ask("POST", PATH, json={"message": "hang"}))
    async with asyncio.timeout(5):
        await daemon.provider.is_asked.wait()
    (run,) = await daemon.all_runs()

    await daemon.ask("POST", f"/api/v1/runs/{run.id}/cancel")

    answer = await waiting
    assert (answer.status, answer.json["code"]) == (409, "cancelled")


async def test_the_same_key_starts_one_run(daemon: Daemon) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await daemon.ask("POST", PATH, json={"message": "Hello"}, headers=headers)
    second = await daemon.ask("POST", PATH, json={"message": "Hello"}, headers=headers)
    other = await daemon.ask("POST", PATH, json={"message": "Bye"}, headers=headers)

    assert first.json == second.json
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")


async def test_a_malformed_key_is_refused(daemon: Daemon) -> None:
    answer = await daemon.ask(
        "POST", PATH, json={"message": "Hello"}, headers={"Idempotency-Key": "two words"}
    )

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "Idempotency-Key"


async def test_waiting_requests_are_answered_when_the_server_closes(daemon: Daemon) -> None:
    waiting = asyncio.create_task(daemon.ask("POST", PATH, json={"message": "hang"}))
    async with asyncio.timeout(5):
        await daemon.provider.is_asked.wait()

    async with asyncio.timeout(3):
        await daemon.doors.aclose()

    assert (await waiting).status == 202


async def test_no_new_work_is_taken_while_stopping(daemon: Daemon) -> None:
    daemon.is_stopping = True

    answer = await daemon.ask("POST", PATH, json={"message": "Hello"})

    assert (answer.status, answer.json["code"]) == (503, "shutting_down")
    assert answer.headers["Retry-After"] == "5"
    assert await daemon.all_runs() == []


async def test_a_full_disk_stops_intake_with_a_clear_problem(serve: Serve) -> None:
    daemon = await serve(free_bytes_min=1 << 60)

    answer = await daemon.ask("POST", PATH, json={"message": "Hello"})

    assert (answer.status, answer.json["code"]) == (507, "store_full")
    assert "Free space" in answer.json["hint"]
    assert (await daemon.ask("GET", "/api/v1/runs")).json["runs"] == []
    assert (await daemon.ask("GET", "/health")).status == 200


async def test_a_caller_who_hangs_up_does_not_end_the_run(daemon: Daemon) -> None:
    waiting = asyncio.create_task(daemon.ask("POST", PATH, json={"message": "hang"}))
    async with asyncio.timeout(5):
        await daemon.provider.is_asked.wait()

    waiting.cancel()
    await asyncio.wait([waiting])

    (run,) = await daemon.all_runs()
    answer = await daemon.ask("GET", f"/api/v1/runs/{run.id}")
    assert answer.json["status"] == "running"


async def test_wishes_of_the_body_reach_the_agent(daemon: Daemon) -> None:
    answer = await daemon.ask(
        "POST",
        PATH,
        json={
            "message": "Hello",
            "agent": "default",
            "tools": [],
            "budgets": {"turns": 3},
            "system_prompt": "Be short.",
        },
    )

    assert answer.status == 200
    run = (await daemon.runs.get(answer.json["run_id"])).run
    assert run.input == {
        "message": "Hello",
        "agent": "default",
        "tools": [],
        "budgets": {"turns": 3},
        "system_prompt": "Be short.",
    }


async def test_answer_obeys_the_schema_of_the_request(daemon: Daemon) -> None:
    schema = {"type": "object", "properties": {"n": {"const": 7}}, "required": ["n"]}

    answer = await daemon.ask("POST", PATH, json={"message": '{"n": 7}', "schema": schema})

    assert answer.status == 200, answer.text
    run = (await daemon.runs.get(answer.json["run_id"])).run
    assert run.output["answer"] == {"n": 7}


@pytest.mark.parametrize(
    "wish",
    [
        {"tools": "all"},
        {"budgets": {"turns": 0}},
        {"budgets": {"stepps": 3}},
        {"files": {"a": {"base65": "x"}}},
        {"schema": "object"},
    ],
)
async def test_wishes_that_cannot_be_are_refused(daemon: Daemon, wish: dict[str, object]) -> None:
    answer = await daemon.ask("POST", PATH, json={"message": "Hello", **wish})

    assert answer.status == 422, answer.text
