from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem, run_document

QUEUE = "/api/v1/queues/mail"
BULK = "/api/v1/runs/bulk"


def queue_document(**members: Any) -> dict[str, Any]:
    return {
        "name": "mail",
        "paused": False,
        "paused_at": None,
        "concurrency": 2,
        "rate": None,
        "rate_period_s": 1.0,
        "size_max": None,
        "runs": {"pending": 3, "running": 1, "suspended": 0},
        **members,
    }


def accepted(run_id: str) -> dict[str, Any]:
    return {"status": 202, "run_id": run_id, "run_status": "pending", "problem": None}


def refused(code: str) -> dict[str, Any]:
    told = {"code": code, "detail": f"It is {code}."}
    return {"status": 422, "run_id": None, "run_status": None, "problem": told}


def test_queues_are_listed(agency: Agency, daemon: PlayedDaemon) -> None:
    listed = [queue_document(), queue_document(name="slow", paused=True, rate=5.0, size_max=9)]
    daemon.on("GET", "/api/v1/queues", Reply({"queues": listed, "next_cursor": None}))

    ended = agency("queue", "ls")

    assert 0 == ended.code
    assert ended.out.splitlines() == [
        "mail\topen\t3\t1\t0\t2\t-\t-",
        "slow\tpaused\t3\t1\t0\t2\t5 in 1 s\t9",
    ]
    assert agency("queue", "ls", "--json").json["queues"] == listed
    assert agency("queue", "ls", "--quiet").out == "mail\nslow\n"


def test_one_queue_is_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", QUEUE, Reply(queue_document(paused=True, paused_at="2026-01-01T00:00:00Z")))

    ended = agency("queue", "show", "mail")

    assert "paused since 2026-01-01T00:00:00Z" in ended.out
    assert "pending:       3" in ended.out
    assert agency("queue", "show", "mail", "--json").json["name"] == "mail"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_queue_is_paused_and_resumed(agency: Agency, daemon: PlayedDaemon, verb: str) -> None:
    daemon.on("POST", f"{QUEUE}/{verb}", Reply(queue_document()))

    ended = agency("queue", verb, "mail")

    assert (0, "") == (ended.code, ended.out)
    assert "'mail'" in ended.err
    assert agency("queue", verb, "mail", "--json").json["name"] == "mail"


def test_drain_asks_again_until_nothing_runs(agency: Agency, daemon: PlayedDaemon) -> None:
    idle = queue_document(runs={"pending": 3, "running": 0, "suspended": 0})
    daemon.on("POST", f"{QUEUE}/drain", Reply(queue_document(), 202), Reply(idle))

    ended = agency("queue", "drain", "mail")

    assert (0, 2) == (ended.code, len(daemon.seen))
    assert "wait=25" == daemon.seen[0].headers["prefer"]


def test_drain_ends_when_its_time_is_over(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{QUEUE}/drain", Reply(queue_document(), 202))

    ended = agency("queue", "drain", "mail", "--timeout", "0")

    assert 7 == ended.code
    assert "1 of its runs is still worked on" in ended.err


def test_queue_that_is_not_there_is_told(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", QUEUE, problem(404, "queue_not_found", queue="mail"))

    assert 3 == agency("queue", "show", "mail").code


def test_full_queue_is_told_as_a_daemon_that_takes_no_work(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    full = problem(429, "queue_full", queue="mail", size_max=9)
    daemon.on("POST", "/api/v1/runs", full)

    ended = agency("run", "order", "--queue", "mail")

    assert (5, "It is queue_full.") == (ended.code, ended.err.splitlines()[0][8:])


def test_options_of_the_queue_are_sent(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", "/api/v1/runs", Reply(run_document(status="pending"), 202))

    options = "--queue mail --key k --priority -3 --delay 2m --attempts 4 --no-wait"
    ended = agency("run", "order", *options.split())

    assert 0 == ended.code
    assert daemon.seen[0].body == {
        "workflow": "order",
        "queue": "mail",
        "concurrency_key": "k",
        "priority": -3,
        "delay_s": 120.0,
        "max_attempts": 4,
    }


def test_lines_of_a_file_are_started(agency: Agency, daemon: PlayedDaemon, tmp_path: Path) -> None:
    daemon.on("POST", BULK, Reply({"runs": [accepted(RUN_ID), refused("queue_full")]}))
    file = tmp_path / "runs.jsonl"
    file.write_text('{"workflow": "a", "idempotency_key": "k"}\n\n{"workflow": "b"}\n')

    ended = agency("queue", "add", str(file))

    assert (1, f"{RUN_ID}\n") == (ended.code, ended.out)
    assert "line 3: It is queue_full. [queue_full]\n" == ended.err
    (first, second) = daemon.seen[0].body["runs"]
    assert {"workflow": "a", "idempotency_key": "k"} == first
    # A key of its own, so that a request whose answer was lost can be sent again.
    assert ("b", 36) == (second["workflow"], len(second["idempotency_key"]))


def test_outcomes_are_told_as_json_lines(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", BULK, Reply({"runs": [accepted(RUN_ID)]}))

    ended = agency("queue", "add", "-", "--json", stdin='{"workflow": "a"}')

    assert (0, {"line": 1, **accepted(RUN_ID)}) == (ended.code, json.loads(ended.out))


def test_lost_answer_is_asked_for_again_with_the_same_keys(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("POST", BULK, Reply(raw=b""), Reply({"runs": [accepted(RUN_ID)]}))

    ended = agency("queue", "add", "-", stdin='{"workflow": "a"}')

    assert 0 == ended.code
    assert daemon.seen[0].body == daemon.seen[1].body


def test_many_lines_go_in_requests_of_a_bounded_size(agency: Agency, daemon: PlayedDaemon) -> None:
    sizes = [1000, 1000, 500]
    daemon.on("POST", BULK, *(Reply({"runs": [accepted(RUN_ID)] * size}) for size in sizes))

    ended = agency("queue", "add", "-", stdin='{"workflow": "a"}\n' * 2500)

    assert 0 == ended.code
    assert sizes == [len(seen.body["runs"]) for seen in daemon.seen]


def test_long_lines_are_not_put_together(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", BULK, Reply({"runs": [accepted(RUN_ID)]}))
    line = json.dumps({"workflow": "a", "input": "x" * 500_000})

    ended = agency("queue", "add", "-", stdin=f"{line}\n{line}\n")

    assert (0, 2) == (ended.code, len(daemon.seen))


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"workflow": '])
def test_line_that_is_no_object_is_refused(agency: Agency, daemon: PlayedDaemon, line: str) -> None:
    ended = agency("queue", "add", "-", stdin=f"\n{line}\n")

    assert 2 == ended.code
    assert "Line 2 is not" in ended.err
    assert [] == daemon.seen
