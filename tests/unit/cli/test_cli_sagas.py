"""`agency sagas` as a real process, against a played daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem, run_document

PATH = "/api/v1/sagas"
RUN = f"{PATH}/runs/{RUN_ID}"


def saga(**members: Any) -> dict[str, Any]:
    leg = {
        "id": "reserve",
        "name": "Reserve",
        "group": "",
        "kind": "http",
        "compensation": "http",
        "attempts": 3,
    }
    return {
        "name": "order",
        "version": "v1-0123456789ab",
        "description": "An order.",
        "origin": "stored",
        "source": "",
        "timeout_s": None,
        "legs": [leg],
        **members,
    }


def leg(leg_id: str, state: str, **members: Any) -> dict[str, Any]:
    return {
        "id": leg_id,
        "name": leg_id,
        "group": "",
        "kind": "function",
        "state": state,
        "result": None,
        "error": None,
        "attempts": 1,
        "has_compensation": True,
        "compensation_error": None,
        "compensation_attempts": 0,
        "run_ids": [],
        **members,
    }


ERROR = {"code": "error", "message": "it broke", "hint": "Mend it.", "step": "b#1", "details": {}}
BROKEN = {"code": "down", "message": "the bank is away", "error_class": "X", "details": None}


def saga_run(status: str, *legs: Any, **members: Any) -> dict[str, Any]:
    error = None if status == "completed" else ERROR
    return {
        **run_document(status=status, workflow="order", kind="saga", error=error),
        "saga": "order",
        "legs": list(legs),
        **members,
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("order.json", '{"name": "order", "legs": [{"id": "a"}]}'),
        ("order.yaml", "name: order\nlegs:\n- id: a\n"),
    ],
)
def test_saga_is_defined_from_a_file(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path, name: str, text: str
) -> None:
    daemon.on("POST", PATH, Reply(saga(), 201))
    (tmp_path / name).write_text(text)

    ended = agency("sagas", "define", name)

    assert (0, "The saga 'order' is defined in version v1-0123456789ab.\n") == (
        ended.code,
        ended.err,
    )
    assert {"name": "order", "legs": [{"id": "a"}]} == daemon.seen[0].body


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("order.json", "{", "cannot be read"),
        ("order.yaml", "a: &a [*a]", "nested deeper"),
        ("order.json", "x" * ((1 << 20) + 1), "more than 1048576 bytes"),
        ("nothing.json", None, "No such file"),
    ],
)
def test_file_that_cannot_be_read_is_a_fault_of_usage(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path, name: str, text: str | None, why: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)

    ended = agency("sagas", "define", name)

    assert (2, []) == (ended.code, daemon.seen)
    assert why in ended.err


def test_faults_of_a_definition_are_told_with_their_places(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    faults = [{"pointer": "/legs/0/action", "detail": "Field required.", "hint": ""}]
    daemon.on("POST", PATH, problem(422, "invalid_input", errors=faults))
    (tmp_path / "order.json").write_text("{}")

    ended = agency("sagas", "define", "order.json")

    assert 2 == ended.code
    assert "/legs/0/action: Field required." in ended.err


def test_sagas_are_listed_and_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", PATH, Reply({"sagas": [saga()], "next_cursor": None}))
    daemon.on("GET", f"{PATH}/order", Reply(saga()))

    listed = agency("sagas", "ls")
    names = agency("sagas", "ls", "--quiet")
    shown = agency("sagas", "show", "order")

    assert "order\tv1-0123456789ab\tstored\t1\tAn order.\n" == listed.out
    assert "order\n" == names.out
    assert ["reserve", "Reserve", "", "http", "http", "3"] == shown.out.splitlines()[-1].split("\t")


def test_output_of_a_completed_saga_is_written(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{PATH}/order/start", Reply(run_document(status="pending"), 202))
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(run_document(output={"n": 1})))

    ended = agency("sagas", "start", "order", "--input", '{"n": 1}', "--name", "mine")

    assert (0, '{"n":1}\n') == (ended.code, ended.out)
    assert {"input": {"n": 1}, "name": "mine"} == daemon.seen[0].body
    assert "idempotency-key" in {name.lower() for name in daemon.seen[0].headers}


def test_legs_of_a_saga_that_was_taken_back_are_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{PATH}/order/start", Reply(run_document(status="pending"), 202))
    ended_run = run_document(status="compensated", error=ERROR)
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(ended_run))
    legs = [leg("a", "compensated", result=1), leg("b", "failed", error=BROKEN)]
    daemon.on("GET", RUN, Reply(saga_run("compensated", *legs)))

    ended = agency("sagas", "start", "order")

    assert 1 == ended.code
    rows = [line.split(maxsplit=3) for line in ended.out.splitlines()[-2:]]
    assert [
        ["a", "compensated", "1", "1"],
        ["b", "failed", "1", "the bank is away [down]"],
    ] == rows
    assert "was undone, in b#1: it broke" in ended.err


def test_abort_says_when_a_compensation_goes_on(agency: Agency, daemon: PlayedDaemon) -> None:
    going_on = saga_run("running", leg("a", "compensating"), aborted=False)
    daemon.on("POST", f"{RUN}/abort", Reply(going_on, 202))

    ended = agency("sagas", "abort", RUN_ID, "--reason", "twice")

    assert (0, {"reason": "twice"}) == (ended.code, daemon.seen[0].body)
    assert "that goes on" in ended.err


def test_retried_compensation_tells_what_is_left(agency: Agency, daemon: PlayedDaemon) -> None:
    left = leg("a", "compensation_failed", result=1, compensation_error=BROKEN)
    daemon.on(
        "POST",
        f"{RUN}/retry-compensation",
        Reply(saga_run("compensation_failed", left)),
        Reply(saga_run("compensated", leg("a", "compensated", result=1))),
        problem(409, "compensation_not_failed", run_id=RUN_ID, kind="saga", status_of="x"),
    )

    first = agency("sagas", "retry-compensation", RUN_ID)
    second = agency("sagas", "retry-compensation", RUN_ID, "--json")
    third = agency("sagas", "retry-compensation", RUN_ID)

    assert (1, 0, 8) == (first.code, second.code, third.code)
    assert "the bank is away [down]" in first.out
    assert "compensated" == second.json["status"]


def test_saga_that_is_not_there_is_not_found(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{PATH}/nothing", problem(404, "saga_not_found", name="nothing"))

    assert 3 == agency("sagas", "show", "nothing").code
