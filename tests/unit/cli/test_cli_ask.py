from __future__ import annotations

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
    wait_document,
)

PROCESS = "/api/v1/agent/process"
RUN = f"/api/v1/runs/{RUN_ID}"
MEMBERS = [
    "run_id",
    "session_id",
    "status",
    "response",
    "answer",
    "completed",
    "steps_executed",
    "model",
]
MEMBERS += ["rehearsal", "snapshot_id", "waits", "error"]


def processed(**members: Any) -> Reply:
    return Reply(
        {
            "response": "Blue.",
            "steps_executed": 1,
            "completed": True,
            "run_id": RUN_ID,
            "session_id": "s",
            "model": "llama",
            "rehearsal": False,
            **members,
        }
    )


def accepted() -> Reply:
    return Reply({"run_id": RUN_ID, "status": "pending", "completed": False, "waits": []}, 202)


def agent_run(**members: Any) -> Reply:
    output = {"response": "Blue.", "model": "llama", "rehearsal": False, "completed": True}
    return Reply(run_document(workflow="agent", kind="agent", **{"output": output, **members}))


def test_answer_is_all_of_stdout(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, processed())

    ended = agency("ask", "Which colour?", "--session", "s", "--model", "m", "--max-steps", "3")

    assert (ended.code, ended.out, ended.err) == (0, "Blue.\n", "")
    assert daemon.seen[0].body == {
        "message": "Which colour?",
        "session_id": "s",
        "model": "m",
        "max_steps": 3,
    }


def test_rehearsal_is_said_on_stderr(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, processed(rehearsal=True))

    ended = agency("ask", "Which colour?", "--quiet")

    assert (ended.code, ended.out) == (0, "Blue.\n")
    assert "rehearsal" in ended.err


def test_accepted_message_is_waited_for(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, accepted())
    daemon.on("GET", RUN, agent_run(status="running", output=None), agent_run())

    ended = agency("ask", "Which colour?")

    assert (ended.code, ended.out, ended.err) == (0, "Blue.\n", "")
    assert [one.headers["prefer"] for one in daemon.seen] == ["wait=0", "wait=1", "wait=25"]


def test_json_has_the_same_members_however_it_was_answered(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("POST", PROCESS, processed(), accepted())
    daemon.on("GET", RUN, agent_run(session_id="s", steps_executed=1))

    at_once, later = agency("ask", "x", "--json"), agency("ask", "x", "--json")

    assert list(at_once.json) == list(later.json) == MEMBERS
    assert at_once.json == later.json


def test_pipe_is_put_below_the_message(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, processed())

    agency("ask", "Write a message.", stdin="-old\n+new\n")

    assert daemon.seen[0].body == {"message": "Write a message.\n\n-old\n+new"}


@pytest.mark.parametrize("arguments", [("ask", "-"), ("ask",)])
def test_pipe_alone_is_the_message(
    agency: Agency, daemon: PlayedDaemon, arguments: tuple[str, ...]
) -> None:
    daemon.on("POST", PROCESS, processed())

    ended = agency(*arguments, stdin="Which colour?")

    assert ended.code == 0
    assert daemon.seen[0].body == {"message": "Which colour?"}


def test_pipe_can_be_left_alone(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, processed())

    agency("ask", "x", "--no-stdin", stdin="not for you")

    assert daemon.seen[0].body == {"message": "x"}


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(("ask",), None), (("ask", " "), None), (("ask", "-"), ""), (("ask", "-"), b"\xff\xfe")],
)
def test_without_a_message_nothing_is_sent(
    agency: Agency, daemon: PlayedDaemon, arguments: tuple[str, ...], stdin: str | bytes | None
) -> None:
    ended = agency(*arguments, stdin=stdin)

    assert (ended.code, daemon.seen) == (2, [])


def test_run_that_needs_somebody_ends_with_6(agency: Agency, daemon: PlayedDaemon) -> None:
    waits = [wait_document("input", "address", show={"prompt": "Where to?"})]
    daemon.on("POST", PROCESS, accepted())
    daemon.on(
        "GET",
        RUN,
        agent_run(status="suspended", output=None, waits=waits, snapshot_id=SNAPSHOT_ID),
    )

    ended, as_json = agency("ask", "Send it."), agency("ask", "Send it.", "--json")

    assert (ended.code, ended.out) == (6, "")
    assert "Where to?" in ended.err
    assert f"agency snapshots resume {SNAPSHOT_ID} --input JSON" in ended.err
    assert as_json.code == 6
    assert as_json.json["waits"] == waits


def test_model_server_that_is_away_is_told_and_waited_for(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    waits = [wait_document("resource", "ollama")]
    daemon.on("POST", PROCESS, accepted())
    daemon.on("GET", RUN, agent_run(status="suspended", output=None, waits=waits), agent_run())

    ended = agency("ask", "x")

    assert (ended.code, ended.out) == (0, "Blue.\n")
    assert "it waits for 'ollama' to come back" in ended.err


def test_time_limit_ends_with_7_and_the_run_goes_on(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, accepted())
    daemon.on("GET", RUN, agent_run(status="running", output=None))

    ended = agency("ask", "x", "--timeout", "0.3s")

    assert (ended.code, ended.out) == (7, "")
    assert f"agency runs watch {RUN_ID}" in ended.err


def test_failed_run_ends_with_1_and_says_why(agency: Agency, daemon: PlayedDaemon) -> None:
    error = {
        "code": "model_not_found",
        "message": "There is no model 'x'.",
        "hint": "Pull it.",
        "step": "reply#1",
        "details": None,
    }
    refused = problem(422, "model_not_found", run_id=RUN_ID, run_status="failed")
    daemon.on("POST", PROCESS, refused, accepted())
    daemon.on("GET", RUN, agent_run(status="failed", output=None, error=error))

    at_once, later = agency("ask", "x"), agency("ask", "x")

    assert at_once == later
    assert (later.code, later.out) == (1, "")
    assert "There is no model 'x'." in later.err
    assert "Pull it." in later.err


def test_limit_of_steps_is_no_success(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, processed(completed=False), accepted())
    daemon.on("GET", RUN, agent_run(status="limit_reached"))

    at_once, later = agency("ask", "x"), agency("ask", "x")

    assert at_once == later
    assert (later.code, later.out) == (1, "Blue.\n")
    assert "limit of steps" in later.err


def test_busy_session_is_a_conflict(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, problem(409, "session_busy", run_id=RUN_ID, wait="event"))

    ended = agency("ask", "x", "--json")

    assert ended.code == 8
    assert ended.json["error"]["code"] == "session_busy"
    assert ended.json["error"]["run_id"] == RUN_ID


def test_lost_answer_is_asked_for_again_with_the_same_key(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("POST", PROCESS, Reply(raw=b""), accepted())
    daemon.on("GET", RUN, Reply(raw=b""), problem(503, "shutting_down"), agent_run())

    ended = agency("ask", "x")

    keys = {one.headers["idempotency-key"] for one in daemon.seen if one.method == "POST"}
    assert (ended.code, ended.out) == (0, "Blue.\n")
    assert len(keys) == 1


def test_daemon_that_stops_takes_no_message(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, problem(503, "shutting_down"))

    assert agency("ask", "x").code == 5
    assert len(daemon.seen) == 1


def test_files_are_put_below_the_message(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    daemon.on("POST", PROCESS, processed())
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")

    options = ("--file", "a.txt", "--file", "b.txt", "--system", "Be short.", "--agent", "scout")
    ended = agency("ask", "Compare.", *options, stdin="piped\n")

    assert (0, "Blue.\n") == (ended.code, ended.out)
    assert daemon.seen[0].body == {
        "message": "Compare.\n\npiped\n\na.txt:\none\n\nb.txt:\ntwo",
        "system_prompt": "Be short.",
        "agent": "scout",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"\xff\xfe\x00", "not text"), (b"x" * (8 << 20) + b"x", "bytes")],
    ids=["missing", "binary", "huge"],
)
def test_file_that_is_no_text_is_refused_before_anything_is_sent(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)

    ended = agency("ask", "Look.", "--file", "a.txt")

    assert 2 == ended.code
    assert said in ended.err
    assert [] == daemon.seen


@pytest.mark.parametrize("place", ["typed", "file", "at_file"], ids=str)
def test_value_of_a_schema_is_all_of_stdout(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path, place: str
) -> None:
    schema = {"type": "object", "required": ["n"]}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    daemon.on("POST", PROCESS, processed())
    output = {"response": "{}", "model": "m", "answer": {"n": None}, "completed": True}
    daemon.on("GET", RUN, agent_run(output=output))

    given = {"typed": json.dumps(schema), "file": "s.json", "at_file": "@s.json"}[place]
    ended = agency("ask", "How many?", "--schema", given)

    assert (0, {"n": None}) == (ended.code, ended.json)
    assert schema == daemon.seen[0].body["schema"]


def test_answer_that_does_not_obey_its_schema_fails(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", PROCESS, accepted())
    error = {"code": "model_answer_unfit", "message": "It does not obey.", "hint": None}
    daemon.on("GET", RUN, agent_run(status="failed", output=None, error=error))

    ended = agency("ask", "How many?", "--schema", '{"type": "integer"}')

    assert (1, "") == (ended.code, ended.out)
    assert "It does not obey." in ended.err
