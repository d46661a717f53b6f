from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.playing import (
    RUN_ID,
    SNAPSHOT_ID,
    Agency,
    PlayedDaemon,
    Reply,
    problem,
    run_document,
)

RUN = f"/api/v1/runs/{RUN_ID}"
OTHER_ID = "0190c5b2-9000-7a52-b8f4-5d2c1f0e9a33"
RECEIPT_ID = "0190c5b2-a000-7a52-b8f4-5d2c1f0e9a44"
DEAD = "/api/v1/dead-letters"


def verb_document(**members: Any) -> dict[str, Any]:
    return {
        "run_id": RUN_ID,
        "verb": "retry",
        "of": RUN_ID,
        "dry_run": False,
        "status": "pending",
        "generation": 1,
        "stays_count": 1,
        "again_count": 1,
        "stays": [{"number": 1, "key": "a#1", "kind": "step"}],
        "again": [{"number": 2, "key": "b#1", "kind": "failure"}],
        "waits": [],
        **members,
    }


def file_of(*lines: dict[str, Any]) -> str:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    whole = hashlib.sha256(text.encode()).hexdigest()
    return text + json.dumps({"part": "end", "whole": whole}) + "\n"


FILE = file_of({"format": "agency-snapshot/1"}, {"part": "run"})


def file_reply(text: str = FILE) -> Reply:
    return Reply(text, content_type="application/x-ndjson")


# --- the four verbs ------------------------------------------------------------------------


def test_retried_run_is_waited_for_and_its_output_printed(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("POST", f"{RUN}/retry", Reply(verb_document(), 202))
    daemon.on("GET", RUN, Reply(run_document(output={"n": 1})))

    ended = agency("runs", "retry", RUN_ID, "--max-attempts", "5")

    assert (ended.code, ended.out) == (0, '{"n":1}\n')
    assert {"max_attempts": 5} == daemon.seen[0].body


def test_dry_run_shows_what_would_be_done_again(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{RUN}/retry", Reply(verb_document(dry_run=True)))

    ended = agency("runs", "retry", RUN_ID, "--dry-run")

    assert 0 == ended.code
    assert ["again", "failure", "b#1", "2"] in [line.split() for line in ended.out.splitlines()]
    assert "Nothing was changed." in ended.err
    assert {"dry_run": True} == daemon.seen[0].body


def test_refused_retry_ends_with_the_code_of_a_conflict(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("POST", f"{RUN}/retry", problem(409, "run_not_retryable", run_status="completed"))

    ended = agency("runs", "retry", RUN_ID)

    assert (8, "") == (ended.code, ended.out)


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (("--at", "charge#1"), {"at": "charge#1"}),
        (("--at", "4711", "--name", "n"), {"at": 4711, "name": "n"}),
        (("--input", "null"), {"input": None}),
        ((), {}),
    ],
)
def test_fork_says_where_it_begins(
    agency: Agency, daemon: PlayedDaemon, arguments: tuple[str, ...], body: dict[str, Any]
) -> None:
    daemon.on("POST", f"{RUN}/fork", Reply(verb_document(run_id=OTHER_ID), 202))

    ended = agency("runs", "fork", RUN_ID, *arguments, "--no-wait")

    assert (0, f"{OTHER_ID}\n") == (ended.code, ended.out)
    assert body == daemon.seen[0].body
    assert daemon.seen[0].headers["idempotency-key"]


def test_run_is_resumed_by_its_name(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/api/v1/workflows/order-17", Reply(run_document()))
    daemon.on("POST", f"{RUN}/resume", Reply(verb_document(verb="resume"), 202))

    ended = agency("runs", "resume", "order-17", "--input", '"x"', "--no-wait")

    assert (0, f"{RUN_ID}\n") == (ended.code, ended.out)
    assert {"input": "x"} == daemon.seen[1].body


def test_lineage_is_a_table_with_the_retries(agency: Agency, daemon: PlayedDaemon) -> None:
    kin = {
        "name": None,
        "workflow": "order",
        "status": "completed",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "generation": 0,
        "is_ancestor": False,
    }
    family = {
        "run_id": RUN_ID,
        "runs": [
            {**kin, "run_id": RUN_ID, "relation": None, "of": None},
            {**kin, "run_id": OTHER_ID, "relation": "fork", "of": RUN_ID, "is_ancestor": True},
        ],
        "retries": [
            {
                "generation": 1,
                "at": "2026-01-01T00:00:00.000000Z",
                "principal": "ada",
                "status": "failed",
                "error": None,
            }
        ],
        "is_whole": False,
    }
    daemon.on("GET", f"{RUN}/lineage", Reply(family))

    ended = agency("runs", "lineage", RUN_ID)

    assert "itself" in ended.out
    assert "forked from" in ended.out
    assert "by ada, after it was failed" in ended.out
    assert "There are more" in ended.err


# --- dead letters --------------------------------------------------------------------------


def test_dead_letters_are_listed(agency: Agency, daemon: PlayedDaemon) -> None:
    error = {"code": "error", "message": "It broke.", "hint": "", "step": "", "details": None}
    run = run_document(status="dead_letter", attempt=3, max_attempts=3, error=error)
    daemon.on("GET", DEAD, Reply({"dead_letters": [run], "next_cursor": None}))

    ended = agency("dead", "ls", "--workflow", "order")

    assert "3 of 3" in ended.out
    assert "It broke." in ended.out
    assert "workflow=order" in daemon.seen[0].path


def test_many_are_requeued_page_by_page(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on(
        "POST",
        f"{DEAD}/requeue",
        Reply({"requeued": 2, "refused": {"name_taken": 1}, "next_cursor": "c"}),
        Reply({"requeued": 1, "refused": {}, "next_cursor": None}),
    )

    ended = agency("dead", "requeue", "--workflow", "order", "--yes")

    assert (0, "3 requeued\n") == (ended.code, ended.out)
    assert "1 refused: name_taken" in ended.err
    assert [None, "c"] == [seen.body.get("cursor") for seen in daemon.seen]


def test_many_are_not_touched_without_a_yes(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on(
        "POST", f"{DEAD}/discard", Reply({"discarded": 7, "refused": {}, "next_cursor": None})
    )

    ended = agency("dead", "discard", "--all")

    assert 2 == ended.code
    assert "7 runs are meant" in ended.err
    assert [{"all": True, "dry_run": True}] == [seen.body for seen in daemon.seen]


@pytest.mark.parametrize("arguments", [(), (RUN_ID, "--all"), (RUN_ID, "--code", "crash")])
def test_it_must_be_said_which_are_meant(
    agency: Agency, daemon: PlayedDaemon, arguments: tuple[str, ...]
) -> None:
    assert 2 == agency("dead", "requeue", *arguments).code
    assert [] == daemon.seen


# --- files ---------------------------------------------------------------------------------


def test_run_is_written_into_a_file(agency: Agency, daemon: PlayedDaemon, tmp_path: Path) -> None:
    daemon.on("GET", f"/api/v1/workflows/snapshots/{SNAPSHOT_ID}", Reply({"snapshot_id": "x"}))
    daemon.on("GET", f"/api/v1/snapshots/{SNAPSHOT_ID}/export", file_reply())

    ended = agency("snapshots", "export", SNAPSHOT_ID, "-o", "run.jsonl")

    assert (0, "run.jsonl\n") == (ended.code, ended.out)
    assert FILE == (tmp_path / "run.jsonl").read_text()
    assert ["run.jsonl"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("text", [FILE[:-30], FILE.replace("agency-", "bgency-"), "{}\n"])
def test_file_that_is_not_whole_is_not_written(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path, text: str
) -> None:
    (tmp_path / "run.jsonl").write_text("old")
    daemon.on("GET", "/api/v1/workflows/order-17", Reply(run_document()))
    daemon.on("GET", f"{RUN}/export", file_reply(text))

    ended = agency("snapshots", "export", "order-17", "-o", "run.jsonl")

    assert 5 == ended.code
    assert "not whole" in ended.err
    assert "old" == (tmp_path / "run.jsonl").read_text()
    assert ["run.jsonl"] == [path.name for path in tmp_path.iterdir()]


def test_moved_run_is_confirmed_only_when_its_file_is_there(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    receipt = {"receipt_id": RECEIPT_ID, "run_id": RUN_ID}
    daemon.on("GET", "/api/v1/workflows/order-17", Reply(run_document(snapshot_id=SNAPSHOT_ID)))
    daemon.on("POST", f"/api/v1/snapshots/{SNAPSHOT_ID}/move", Reply(receipt, 201))
    daemon.on("POST", f"/api/v1/receipts/{RECEIPT_ID}/confirm", Reply(receipt))
    daemon.on("GET", f"/api/v1/receipts/{RECEIPT_ID}/file", file_reply(FILE[:-30]), file_reply())

    cut_off = agency("snapshots", "export", "order-17", "-o", "run.jsonl", "--move")
    assert 5 == cut_off.code
    assert RECEIPT_ID in cut_off.err
    assert not any(seen.path.endswith("/confirm") for seen in daemon.seen)
    again = agency("snapshots", "export", "--receipt", RECEIPT_ID, "-o", "run.jsonl")

    assert 0 == again.code
    assert FILE == (tmp_path / "run.jsonl").read_text()
    assert daemon.seen[-1].path.endswith("/confirm")


def test_nothing_is_moved_for_a_file_that_cannot_be_written(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    ended = agency("snapshots", "export", SNAPSHOT_ID, "-o", "none/run.jsonl", "--move")

    assert 2 == ended.code
    assert "'none/run.jsonl' cannot be written" in ended.err
    assert [] == daemon.seen


def test_quiet_move_that_was_cut_off_tells_how_to_fetch_its_file(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    receipt = {"receipt_id": RECEIPT_ID, "run_id": RUN_ID}
    daemon.on("GET", "/api/v1/workflows/order-17", Reply(run_document(snapshot_id=SNAPSHOT_ID)))
    daemon.on("POST", f"/api/v1/snapshots/{SNAPSHOT_ID}/move", Reply(receipt, 201))
    daemon.on("GET", f"/api/v1/receipts/{RECEIPT_ID}/file", file_reply(FILE[:-30]))

    ended = agency("--quiet", "snapshots", "export", "order-17", "-o", "run.jsonl", "--move")

    assert 5 == ended.code
    assert f"agency snapshots export --receipt {RECEIPT_ID} -o run.jsonl" in ended.err


def test_file_is_brought_in(agency: Agency, daemon: PlayedDaemon, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text('{"format": "agency-snapshot/1"}\n')
    daemon.on("POST", "/api/v1/snapshots/import", Reply(run_document(), 201))

    ended = agency("snapshots", "import", "run.jsonl", "--copy")

    assert (0, f"{RUN_ID}\n") == (ended.code, ended.out)
    assert daemon.seen[0].path.endswith("?copy=true")
    assert "application/x-ndjson" == daemon.seen[0].headers["content-type"]


def test_file_that_is_not_there_is_a_fault_of_the_command(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    assert 2 == agency("snapshots", "import", "none.jsonl").code
    assert [] == daemon.seen


def test_status_tells_of_dead_letters(agency: Agency, daemon: PlayedDaemon) -> None:
    health = {
        "status": "healthy",
        "service": "agency-daemon",
        "version": "1",
        "uptime": "0h 0m 1s",
        "uptime_seconds": 1.0,
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "database": "connected",
        "llm": {"provider": "p", "model": "m", "reachable": True, "rehearsal": False},
        "runs": {"dead_letter": 2},
        "dead_letters": 2,
        "workflows": {"loaded": 1, "failed": []},
    }
    daemon.on("GET", "/health", Reply(health))

    assert "2 runs have used up their attempts" in agency("status").err
