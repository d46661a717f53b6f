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
    step_document,
    wait_document,
)

RUNS = "/api/v1/runs"
RUN = f"/api/v1/runs/{RUN_ID}"
STEPS = f"{RUN}/steps"


def started() -> Reply:
    return Reply(run_document(status="pending"), 202)


def tagged(tag: str, **members: Any) -> Reply:
    return Reply(run_document(**members), headers={"ETag": f'"{tag}"'})


def steps(*items: dict[str, Any], cursor: str | None = None) -> Reply:
    return Reply({"steps": list(items), "next_cursor": cursor})


# --- agency run ----------------------------------------------------------------------------


def test_output_of_a_run_is_json_on_stdout(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", RUNS, started())
    daemon.on("GET", RUN, Reply(run_document(output={"total": 3})))

    ended = agency("run", "order", "--input", '{"sku": 1}', "--name", "mine", "--session", "s")

    assert (ended.code, ended.out) == (0, '{"total":3}\n')
    assert ended.err == f"run {RUN_ID}\n"
    assert daemon.seen[0].body == {
        "workflow": "order",
        "input": {"sku": 1},
        "name": "mine",
        "session_id": "s",
    }


def test_input_comes_from_a_file_or_a_pipe(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    daemon.on("POST", RUNS, started())
    (tmp_path / "order.json").write_text("[1, 2]")

    agency("run", "order", "--input", "@order.json", "--no-wait")
    agency("run", "order", "--input", "-", "--no-wait", stdin="[1, 2]")

    assert [one.body["input"] for one in daemon.seen] == [[1, 2], [1, 2]]


def test_no_wait_prints_the_id_and_nothing_else(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", RUNS, started())

    ended = agency("run", "order", "--no-wait")
    as_json = agency("run", "order", "--no-wait", "--json")

    assert (ended.code, ended.out, ended.err) == (0, f"{RUN_ID}\n", "")
    assert as_json.json["run_id"] == RUN_ID


def test_own_key_is_sent(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", RUNS, started())

    agency("run", "order", "--no-wait", "--idempotency-key", "order-17")
    agency("run", "order", "--no-wait")
    agency("run", "order", "--no-wait")

    keys = [one.headers["idempotency-key"] for one in daemon.seen]
    assert keys[0] == "order-17"
    assert len(set(keys)) == 3


def test_json_of_a_run_is_the_run(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", RUNS, started())
    daemon.on("GET", RUN, Reply(run_document(status="cancelled")))

    ended = agency("run", "order", "--json")

    assert ended.code == 1
    assert ended.json == run_document(status="cancelled")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "order", "--input", "{sku: 1}"),
        ("run", "order", "--no-wait", "--watch"),
        ("run", "order", "--no-wait", "--timeout", "3"),
        ("run", "order", "--timeout", "soon"),
    ],
)
def test_wrong_usage_sends_nothing(
    agency: Agency, daemon: PlayedDaemon, arguments: tuple[str, ...]
) -> None:
    ended = agency(*arguments)

    assert (ended.code, ended.out, daemon.seen) == (2, "", [])
    assert ended.err.startswith("agency: ")


def test_unknown_workflow_and_taken_name_have_their_codes(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    daemon.on("POST", RUNS, problem(404, "workflow_not_found"), problem(409, "name_taken"))

    assert agency("run", "ordre").code == 3
    assert agency("run", "order", "--name", "mine").code == 8


def test_input_that_is_refused_names_every_fault(agency: Agency, daemon: PlayedDaemon) -> None:
    faults = [
        {"pointer": "/input/sku", "detail": "It is missing.", "hint": ""},
        {"pointer": "/input/skew", "detail": "It is unknown.", "hint": "Did you mean 'sku'?"},
    ]
    daemon.on("POST", RUNS, problem(422, "invalid_input", errors=faults))

    ended = agency("run", "order")

    assert ended.code == 2
    assert "  /input/sku: It is missing.\n" in ended.err
    assert "  /input/skew: It is unknown. Did you mean 'sku'?\n" in ended.err


def test_workflows_are_listed_with_those_that_failed(agency: Agency, daemon: PlayedDaemon) -> None:
    order = {"name": "order", "kind": "function", "version": "1", "description": "It orders."}
    definitions = [{**order, "enabled": True}, {**order, "name": "off", "enabled": False}]
    failure = {"path": "broken.py", "reason": "SyntaxError"}
    body = {"definitions": definitions, "failures": [failure]}
    daemon.on("GET", "/api/v1/definitions", Reply(body))

    ended, as_json = agency("run", "--list"), agency("run", "--list", "--json")

    lines = "order\tfunction\t1\tIt orders.\noff\tfunction\t1\tDISABLED It orders.\n"
    assert (ended.code, ended.out) == (0, lines)
    assert "broken.py could not be loaded: SyntaxError" in ended.err
    assert as_json.json == body


# --- watching ------------------------------------------------------------------------------


def play_a_story(daemon: PlayedDaemon) -> None:
    daemon.on("POST", RUNS, started())
    waits = [wait_document("event", "paid")]
    daemon.on(
        "GET",
        RUN,
        tagged("1", status="running"),
        tagged("2", status="suspended", waits=waits),
        Reply(status=304),
        tagged("3", status="running", progress={"done": 1, "total": 2, "note": ""}),
        tagged("4", status="completed", output="done"),
    )
    daemon.on(
        "GET",
        STEPS,
        steps(step_document(7, "quote#1", body={"price": 3})),
        steps(step_document(8, "paid#1", kind="wait")),
        steps(),
        steps(step_document(9, "now#1", kind="now"), cursor="more"),
        steps(step_document(11, "ship#1", body="x" * 200)),
        steps(step_document(12, "mail#1", kind="failure", body={"message": "No such box."})),
    )


def test_watching_tells_each_step_once_and_follows_to_the_end(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    play_a_story(daemon)

    ended = agency("run", "order", "--watch")

    assert (ended.code, ended.out) == (0, '"done"\n')
    lines = ended.err.splitlines()
    assert lines == [
        f"run {RUN_ID}",
        '+ quote#1 = {"price":3}',
        "  running",
        "… paid#1",
        "  suspended",
        f"The run {RUN_ID} is suspended: it waits for the event 'paid'.",
        f"  agency runs send {RUN_ID} paid --payload JSON",
        f"+ ship#1 = {'x' * 100}…",
        "  1/2",
        "  running",
        "x mail#1: No such box.",
        "  completed",
    ]
    asked = [one.path for one in daemon.seen if one.path.startswith(STEPS)]
    assert [path.partition("after=")[2] for path in asked] == ["0", "7", "8", "8", "9", "11"]


def test_watching_as_json_is_a_line_for_each_update(agency: Agency, daemon: PlayedDaemon) -> None:
    play_a_story(daemon)

    ended = agency("runs", "watch", RUN_ID, "--json")

    updates = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert [one["update"] for one in updates] == (
        ["step", "run", "step", "run", "step", "step", "run", "step", "run", "end"]
    )
    assert updates[-1]["run"]["output"] == "done"


def test_watching_ends_with_the_code_of_the_run(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", RUN, tagged("1", status="timed_out"))
    daemon.on("GET", STEPS, steps())

    assert agency("runs", "watch", RUN_ID).code == 7


def test_watching_survives_a_restart_of_the_daemon(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", RUN, tagged("1", status="running"), Reply(raw=b""), tagged("2"))
    daemon.on("GET", STEPS, steps())

    ended = agency("runs", "watch", RUN_ID)

    assert ended.code == 0
    assert "Asking again" in ended.err


def test_time_limit_of_watching(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", RUN, tagged("1", status="running"), Reply(status=304))
    daemon.on("GET", STEPS, steps())

    assert agency("runs", "watch", RUN_ID, "--timeout", "300ms").code == 7


# --- agency runs ---------------------------------------------------------------------------


def test_list_goes_over_pages_up_to_its_limit(agency: Agency, daemon: PlayedDaemon) -> None:
    page = [run_document(name=None), run_document(name="mine\tand\nyours")]
    daemon.on("GET", RUNS, Reply({"runs": page, "next_cursor": "c"}))

    ended = agency("runs", "ls", "--limit", "3", "--status", "failed", "--workflow", "order")

    first = f"{RUN_ID}\t\torder\tcompleted\t2026-01-01T00:00:00.000000Z"
    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [first, first.replace("\t\t", "\tmine and yours\t")]
    assert "there are more" in ended.err
    assert [one.path for one in daemon.seen] == [
        "/api/v1/runs?status=failed&workflow=order&limit=3",
        "/api/v1/runs?status=failed&workflow=order&limit=1&cursor=c",
    ]


def test_list_as_json_and_as_ids(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", RUNS, Reply({"runs": [run_document()], "next_cursor": None}))

    assert agency("runs", "ls", "--json").json == {"runs": [run_document()], "next_cursor": None}
    assert agency("runs", "ls", "-q").out == f"{RUN_ID}\n"


def test_run_is_shown_by_id_or_name(agency: Agency, daemon: PlayedDaemon) -> None:
    error = {"code": "step_failed", "message": "It broke.", "hint": "Mend it.", "step": "a#1"}
    shown = run_document(name="mine", status="failed", error=error, input={"sku": 1})
    daemon.on("GET", RUN, Reply(shown))
    daemon.on("GET", "/api/v1/workflows/mine", Reply(shown))
    daemon.on("GET", STEPS, steps(step_document(1, "a#1")))

    by_id, by_name = agency("runs", "show", RUN_ID), agency("runs", "show", "mine")
    with_steps = agency("runs", "show", "mine", "--steps", "--json")

    assert by_id == by_name
    assert by_id.code == 0
    assert "status:    failed\n" in by_id.out
    assert "error:     It broke. [step_failed]\n" in by_id.out
    assert 'input:     {"sku":1}\n' in by_id.out
    assert with_steps.json == {**shown, "steps": [step_document(1, "a#1")]}


def test_steps_are_shown_with_what_they_came_to(agency: Agency, daemon: PlayedDaemon) -> None:
    failed = step_document(2, "b#1", kind="failure", body={"message": "No\nluck."})
    daemon.on("GET", RUN, Reply(run_document()))
    daemon.on("GET", STEPS, steps(step_document(1, "a#1", body={"price": 3}), failed))

    lines = agency("runs", "show", RUN_ID, "--steps").out.splitlines()

    assert ['{"price":3}', "No luck."] == [line.split("\t")[-1] for line in lines[-2:]]


def test_run_that_is_not_there_ends_with_3(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/api/v1/workflows/mine", problem(404, "run_not_found", run_id="mine"))

    for command in (("show",), ("watch",), ("cancel",), ("send", "paid")):
        assert agency("runs", command[0], "mine", *command[1:]).code == 3


def test_cancelling_says_whether_it_is_done(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on(
        "POST",
        f"{RUN}/cancel",
        Reply(run_document(status="running", ending="cancelled"), 202),
        Reply(run_document(status="cancelled")),
        problem(409, "run_ended", run_id=RUN_ID, run_status="cancelled"),
    )

    ending = agency("runs", "cancel", RUN_ID, "--reason", "twice")
    ended = agency("runs", "cancel", RUN_ID)
    again = agency("runs", "cancel", RUN_ID)

    assert (ending.code, ended.code, again.code) == (0, 0, 8)
    assert "still ending" in ending.err
    assert "is cancelled" in ended.err
    assert daemon.seen[0].body == {"reason": "twice"}


def test_event_is_sent_once_though_its_answer_was_lost(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    sent = Reply({"event_id": "e-1", "run_id": RUN_ID, "name": "paid"}, 202)
    daemon.on("POST", f"{RUN}/events", Reply(raw=b""), sent)

    ended = agency("runs", "send", RUN_ID, "paid", "--payload", '{"amount": 12}')

    assert (ended.code, ended.out) == (0, "e-1\n")
    assert [one.body for one in daemon.seen] == [{"name": "paid", "payload": {"amount": 12}}] * 2
    assert len({one.headers["idempotency-key"] for one in daemon.seen}) == 1


# --- agency snapshots ----------------------------------------------------------------------


SNAPSHOTS = "/api/v1/workflows/snapshots"


def snapshot_document(**members: Any) -> dict[str, Any]:
    return {
        "snapshot_id": SNAPSHOT_ID,
        "run_id": RUN_ID,
        "workflow_id": None,
        "workflow": "order",
        "reason": "input",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "waits": [wait_document("input", "address")],
        "spent": False,
        "run_status": "suspended",
        **members,
    }


def test_snapshots_are_listed_and_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    body = {"snapshots": [snapshot_document()], "next_cursor": None}
    daemon.on("GET", SNAPSHOTS, Reply(body))
    daemon.on("GET", f"{SNAPSHOTS}/{SNAPSHOT_ID}", Reply(snapshot_document()))

    listed = agency("snapshots", "ls", "--run", "mine", "--reason", "input")
    shown = agency("snapshots", "show", SNAPSHOT_ID)

    assert listed.out.startswith(f"{SNAPSHOT_ID}\t{RUN_ID}\t\tinput\tno\t")
    assert daemon.seen[0].path == f"{SNAPSHOTS}?workflow_id=mine&reason=input&limit=20"
    assert "waits:     it asks: address [address#1]\n" in shown.out
    assert agency("snapshots", "ls", "--json").json == body
    assert agency("snapshots", "ls", "-q").out == f"{SNAPSHOT_ID}\n"
    assert agency("snapshots", "show", SNAPSHOT_ID, "--json").json == snapshot_document()


def test_resumed_run_is_waited_for(agency: Agency, daemon: PlayedDaemon) -> None:
    resumed = {"run_id": RUN_ID, "status": "pending", "completed": False, "steps_executed": 1}
    daemon.on("POST", "/api/v1/workflows/resume", Reply(resumed, 202))
    daemon.on("GET", RUN, Reply(run_document(output="sent")))

    ended = agency("snapshots", "resume", SNAPSHOT_ID, "--wait", "address#1", "--input", "null")
    at_once = agency("snapshots", "resume", SNAPSHOT_ID, "--no-wait")

    assert (ended.code, ended.out) == (0, '"sent"\n')
    assert at_once.out == f"{RUN_ID}\n"
    assert [one.body for one in daemon.seen if one.method == "POST"] == [
        {"snapshot_id": SNAPSHOT_ID, "wait": "address#1", "input": None},
        {"snapshot_id": SNAPSHOT_ID},
    ]


def test_spent_snapshot_is_a_conflict_that_names_the_newest(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    spent = problem(409, "snapshot_spent", newest="n-1", hint="Its newest snapshot is n-1.")
    daemon.on("POST", "/api/v1/workflows/resume", spent)

    ended = agency("snapshots", "resume", SNAPSHOT_ID, "--json")

    assert ended.code == 8
    assert "Its newest snapshot is n-1." in ended.err
    assert ended.json["error"]["newest"] == "n-1"


def test_snapshot_is_deleted(agency: Agency, daemon: PlayedDaemon) -> None:
    path = f"{SNAPSHOTS}/{SNAPSHOT_ID}"
    daemon.on("DELETE", path, problem(409, "snapshot_live"), Reply({"deleted": True}))

    assert agency("snapshots", "rm", SNAPSHOT_ID).code == 8
    assert agency("snapshots", "rm", SNAPSHOT_ID, "--cancel").code == 0
    assert daemon.seen[1].path == f"{path}?cancel=true"
