"""Retry, resume, rerun, fork and dead letters over HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from agency.domain.run import RunStatus
from tests.integration.api.conftest import Answer, Daemon
from tests.integration.api.played import FLAKY

CALLERS = 20


@pytest.fixture(autouse=True)
def _whole() -> None:
    FLAKY.reset()


async def start(daemon: Daemon, workflow: str, input: Any = None, **more: Any) -> str:
    body = {"workflow": workflow, "input": input, **more}
    answer = await daemon.ask("POST", "/api/v1/runs", json=body, headers={"Prefer": "wait=10"})
    assert answer.status in {200, 202}, answer.text
    return str(answer.json["id"])


async def ended(daemon: Daemon, run_id: str) -> Any:
    headers = {"Prefer": "wait=10"}
    return (await daemon.ask("GET", f"/api/v1/runs/{run_id}", headers=headers)).json


async def verb(daemon: Daemon, run_id: str, word: str, **body: Any) -> Answer:
    return await daemon.ask("POST", f"/api/v1/runs/{run_id}/{word}", json=body)


async def dead(daemon: Daemon, count: int = 1) -> list[str]:
    """Start runs that use up their attempts."""
    FLAKY.is_broken = True
    found = [await start(daemon, "flaky", number) for number in range(count)]
    for run_id in found:
        assert "dead_letter" == (await ended(daemon, run_id))["status"]
    return found


async def test_dead_letter_is_listed_shown_counted_and_requeued(daemon: Daemon) -> None:
    (run_id,) = await dead(daemon)

    listed = (await daemon.ask("GET", "/api/v1/dead-letters")).json
    shown = await daemon.ask("GET", f"/api/v1/dead-letters/{run_id}")
    health = (await daemon.ask("GET", "/health")).json
    assert ([run_id], 1) == ([run["id"] for run in listed["dead_letters"]], listed["count"])
    assert (200, "dead_letter") == (shown.status, shown.json["status"])
    assert f"/api/v1/runs/{run_id}/retry" == shown.json["links"]["retry"]
    assert 1 == health["dead_letters"]

    FLAKY.is_broken = False
    answer = await daemon.ask("POST", f"/api/v1/dead-letters/{run_id}/requeue")
    assert 202 == answer.status
    assert ("requeue", 2, ["flaky#1"]) == (
        answer.json["verb"],
        answer.json["generation"],
        [line["key"] for line in answer.json["again"]],
    )
    assert "completed" == (await ended(daemon, run_id))["status"]
    again = await daemon.ask("POST", f"/api/v1/dead-letters/{run_id}/requeue")
    assert (409, "not_a_dead_letter") == (again.status, again.json["code"])


async def test_dead_letter_is_discarded_once(daemon: Daemon) -> None:
    (run_id,) = await dead(daemon)
    path = f"/api/v1/dead-letters/{run_id}/discard"

    tried = await daemon.ask("POST", path, json={"dry_run": True})
    assert (200, "dead_letter") == (tried.status, tried.json["status"])
    answers = await asyncio.gather(*(daemon.ask("POST", path) for _ in range(CALLERS)))

    assert {200: 1, 409: CALLERS - 1} == Counter(answer.status for answer in answers)
    run = await ended(daemon, run_id)
    assert ("cancelled", "discarded") == (run["status"], run["error"]["code"])
    assert "broken" in run["error"]["details"]["error"]["message"]
    assert 409 == (await verb(daemon, run_id, "retry")).status


async def test_many_are_requeued_by_filter_and_all(daemon: Daemon) -> None:
    found = await dead(daemon, 3)
    path = "/api/v1/dead-letters/requeue"

    assert 422 == (await daemon.ask("POST", path, json={})).status
    none = await daemon.ask("POST", path, json={"workflow": "other"})
    tried = await daemon.ask("POST", path, json={"all": True, "dry_run": True})
    assert (0, 3) == (none.json["requeued"], tried.json["requeued"])
    still_broken = await daemon.ask("POST", path, json={"workflow": "flaky", "max_attempts": 1})
    assert (3, {}, None) == (
        still_broken.json["requeued"],
        still_broken.json["refused"],
        still_broken.json["next_cursor"],
    )
    for run_id in found:
        assert "failed" == (await ended(daemon, run_id))["status"]


async def test_many_are_discarded(daemon: Daemon) -> None:
    await dead(daemon, 3)

    by_code = await daemon.ask("POST", "/api/v1/dead-letters/discard", json={"code": "crash"})
    every = await daemon.ask("POST", "/api/v1/dead-letters/discard", json={"all": True})

    assert (0, 3) == (by_code.json["discarded"], every.json["discarded"])
    assert 0 == (await daemon.ask("GET", "/api/v1/dead-letters")).json["count"]


@pytest.mark.parametrize("path", ["/api/v1/runs/{}/retry", "/api/v1/dead-letters/{}/requeue"])
async def test_one_of_many_callers_lets_a_dead_letter_go_on(daemon: Daemon, path: str) -> None:
    (run_id,) = await dead(daemon)
    FLAKY.is_broken = False
    FLAKY.go_on.clear()

    answers = await asyncio.gather(
        *(daemon.ask("POST", path.format(run_id)) for _ in range(CALLERS))
    )
    FLAKY.go_on.set()

    assert {202: 1, 409: CALLERS - 1} == Counter(answer.status for answer in answers)
    assert (await ended(daemon, run_id))["status"] == "completed"


async def test_one_of_many_callers_answers(daemon: Daemon) -> None:
    run_id = await start(daemon, "asks")

    answers = await asyncio.gather(
        *(verb(daemon, run_id, "resume", input=number) for number in range(CALLERS))
    )

    assert {202: 1, 409: CALLERS - 1} == Counter(answer.status for answer in answers)
    winner = next(number for number, one in enumerate(answers) if one.status == 202)
    assert {"name": winner} == (await ended(daemon, run_id))["output"]


async def test_resume_of_a_run_says_what_it_lacks(daemon: Daemon) -> None:
    run_id = await start(daemon, "both")

    ambiguous = await verb(daemon, run_id, "resume")
    needed = await verb(daemon, run_id, "resume", wait="gather#1.name/input#1")
    tried = await verb(
        daemon, run_id, "resume", wait="gather#1.name/input#1", input="ada", dry_run=True
    )
    assert ("wait_ambiguous", "answer_needed") == (ambiguous.json["code"], needed.json["code"])
    assert (200, ["gather#1.name/input#1"]) == (tried.status, tried.json["waits"])
    await verb(daemon, run_id, "resume", wait="gather#1.name/input#1", input="ada")
    assert "suspended" == (await ended(daemon, run_id))["status"]
    await verb(daemon, run_id, "resume", wait="gather#1.paid/event-paid#1", input=1)
    assert {"name": "ada", "paid": 1} == (await ended(daemon, run_id))["output"]


async def test_rerun_and_fork_make_runs_of_one_family(daemon: Daemon) -> None:
    source = await start(daemon, "echo", {"n": 1})
    rerun = await verb(daemon, source, "rerun", input={"n": 2}, name="second")
    fork = await verb(daemon, source, "fork")
    rerun_id, fork_id = rerun.json["run_id"], fork.json["run_id"]

    assert f"/api/v1/runs/{rerun_id}" == rerun.headers["Location"]
    rerun_run, fork_run = await ended(daemon, rerun_id), await ended(daemon, fork_id)
    assert ({"n": 2}, source, "second") == (
        rerun_run["output"],
        rerun_run["rerun_of"],
        rerun_run["name"],
    )
    assert ({"n": 1}, source, 0) == (
        fork_run["output"],
        fork_run["forked_from"],
        fork_run["forked_at"],
    )
    family = (await daemon.ask("GET", f"/api/v1/runs/{source}/lineage")).json
    assert {rerun_id: "rerun", fork_id: "fork", source: None} == {
        one["run_id"]: one["relation"] for one in family["runs"]
    }
    cut = (await daemon.ask("GET", f"/api/v1/runs/{source}/lineage?limit=1")).json
    assert (2, False) == (len(cut["runs"]), cut["is_whole"])


async def test_dry_run_changes_nothing_and_refuses_what_the_deed_would(daemon: Daemon) -> None:
    source = await start(daemon, "echo", 1, name="n")
    live = await start(daemon, "listens", name="taken")
    before = len(await daemon.all_runs())

    for name in ("rerun", "fork"):
        tried = await verb(daemon, source, name, dry_run=True)
        refused = await verb(daemon, source, name, name="taken", dry_run=True)
        assert (200, True, source) == (tried.status, tried.json["dry_run"], tried.json["run_id"])
        assert (409, "name_taken", live) == (
            refused.status,
            refused.json["code"],
            refused.json["run_id"],
        )
    not_failed = await verb(daemon, source, "retry", dry_run=True)
    assert (409, "run_not_retryable") == (not_failed.status, not_failed.json["code"])
    assert before == len(await daemon.all_runs())


async def test_same_key_reruns_once(daemon: Daemon) -> None:
    source = await start(daemon, "echo", 1)
    path, headers = f"/api/v1/runs/{source}/rerun", {"Idempotency-Key": "k"}

    answers = await asyncio.gather(
        *(daemon.ask("POST", path, json={"input": 5}, headers=headers) for _ in range(10))
    )
    other = await daemon.ask("POST", path, json={"input": 6}, headers=headers)

    assert 1 == len({answer.json["run_id"] for answer in answers})
    assert 9 == sum("Idempotency-Replayed" in answer.headers for answer in answers)
    assert (422, "idempotency_mismatch") == (other.status, other.json["code"])


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("fork", {"at": "nothing"}, 422, "fork_point_not_found"),
        ("fork", {"at": 0}, 422, "invalid_input"),
        ("fork", {"at": 1.5}, 422, "invalid_input"),
        ("rerun", {"input": "no number"}, 422, "invalid_input"),
        ("rerun", {"max_attempts": 0}, 422, "invalid_input"),
        ("retry", {"provider": "nobody"}, 422, "invalid_input"),
        ("rerun", {"unknown": 1}, 422, "invalid_input"),
        ("resume", {}, 409, "run_ended"),
    ],
)
async def test_wrong_wish_is_refused(
    daemon: Daemon, name: str, body: dict[str, Any], status: int, code: str
) -> None:
    source = await start(daemon, "number", 1)

    answer = await verb(daemon, source, name, **body)

    assert (status, code) == (answer.status, answer.json["code"]), answer.text


async def test_agents_fork_has_a_conversation_of_its_own(daemon: Daemon) -> None:
    asked = await daemon.ask(
        "POST", "/api/v1/agent/process", json={"message": "first", "session_id": "s"}
    )
    source = asked.json["run_id"]
    fork = (await verb(daemon, source, "fork")).json["run_id"]
    rerun = (await verb(daemon, source, "rerun")).json["run_id"]

    forked, again = await ended(daemon, fork), await ended(daemon, rerun)

    assert RunStatus.COMPLETED == forked["status"] == again["status"]
    assert 3 == len({"s", forked["session_id"], again["session_id"]})
    kept = await daemon.messages(forked["session_id"])
    anew = await daemon.messages(again["session_id"])
    assert ["user", "assistant"] == [one.role for one in kept] == [one.role for one in anew]
    assert {fork} == {one.run_id for one in kept}
