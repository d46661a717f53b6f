"""`agency schedules` as a real process, against a played daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem, run_document

PATH = "/api/v1/schedules"
NIGHTLY = f"{PATH}/nightly"
NEXT = "2026-12-01T01:30:00.000000Z"


def schedule(**members: Any) -> dict[str, Any]:
    return {
        "name": "nightly",
        "workflow": "report",
        "input": None,
        "cron": "30 2 * * *",
        "zone": "Europe/Berlin",
        "interval_s": None,
        "starts_at": None,
        "ends_at": None,
        "jitter_s": 0.0,
        "catch_up": "once",
        "overlap": "skip",
        "queue": None,
        "paused": False,
        "pause_reason": None,
        "next_at": NEXT,
        "last_at": None,
        "counts": {"fired": 3, "caught_up": 0, "skipped": 1, "manual": 0},
        **members,
    }


def firing(**members: Any) -> dict[str, Any]:
    return {
        "number": 1,
        "expected_at": NEXT,
        "through_at": None,
        "firings": 1,
        "outcome": "fired",
        "reason": "",
        "run_id": RUN_ID,
        **members,
    }


def test_schedule_is_made_from_the_options(
    agency: Agency, daemon: PlayedDaemon, tmp_path: Path
) -> None:
    daemon.on("PUT", NIGHTLY, Reply(schedule(), 201))
    (tmp_path / "input.json").write_text('{"feed": 1}')

    ended = agency(
        "schedules", "add", "nightly", "report", "--cron", "30 2 * * *", "--zone", "Europe/Berlin",
        "--input", "@input.json", "--jitter", "1m", "--catch-up", "all", "--catch-up-max", "3",
        "--overlap", "queue", "--queue", "slow", "--priority", "5", "--max-attempts", "2",
        "--tag", "team=blue", "--tag", "kind=a=b", "--starts", "2026-12-01T00:00:00Z",
    )  # fmt: skip

    assert (0, "") == (ended.code, ended.out)
    assert f"The schedule 'nightly' fires next at {NEXT}.\n" == ended.err
    assert {
        "workflow": "report",
        "cron": "30 2 * * *",
        "zone": "Europe/Berlin",
        "jitter_s": 60.0,
        "starts_at": "2026-12-01T00:00:00Z",
        "catch_up": "all",
        "catch_up_max": 3,
        "overlap": "queue",
        "queue": "slow",
        "priority": 5,
        "max_attempts": 2,
        "tags": {"team": "blue", "kind": "a=b"},
        "input": {"feed": 1},
    } == daemon.seen[0].body


def test_interval_is_a_span(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("PUT", NIGHTLY, Reply(schedule(next_at=None)))

    ended = agency("schedules", "add", "nightly", "report", "--every", "5m")

    assert 300.0 == daemon.seen[0].body["interval_s"]
    assert "cron" not in daemon.seen[0].body
    assert "never fires" in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Either --cron or --every"),
        (("--cron", "* * * * *", "--every", "5m"), "Either --cron or --every"),
        (("--every", "soon"), "not a span of time"),
        (("--every", "5m", "--overlap", "maybe"), "maybe"),
        (("--every", "5m", "--tag", "blue"), "NAME=VALUE"),
        (("--every", "5m", "--input", "{"), "not JSON"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_sent(
    agency: Agency, daemon: PlayedDaemon, options: tuple[str, ...], said: str
) -> None:
    ended = agency("schedules", "add", "nightly", "report", *options)

    assert 2 == ended.code
    assert said in ended.err
    assert [] == daemon.seen


def test_faults_of_a_schedule_are_told_with_their_hints(
    agency: Agency, daemon: PlayedDaemon
) -> None:
    fault = {
        "pointer": "/zone",
        "detail": "There is no time zone 'Mars'.",
        "hint": "Did you mean 'Mart'?",
    }
    daemon.on("PUT", NIGHTLY, problem(422, "invalid_input", errors=[fault]))

    ended = agency("schedules", "add", "nightly", "report", "--cron", "* * * * *", "--zone", "Mars")

    assert 2 == ended.code
    assert "/zone: There is no time zone 'Mars'. Did you mean 'Mart'?" in ended.err


def test_schedules_are_listed_with_their_next_firing(agency: Agency, daemon: PlayedDaemon) -> None:
    rows = [
        schedule(),
        schedule(name="poll", cron=None, interval_s=90.0, paused=True),
        schedule(name="old", next_at=None),
    ]
    daemon.on("GET", PATH, Reply({"schedules": rows, "next_cursor": None}))

    ended = agency("schedules", "ls", "--workflow", "report")
    quiet = agency("schedules", "ls", "-q")

    assert [
        f"nightly\treport\t30 2 * * * (Europe/Berlin)\t{NEXT}\tactive",
        f"poll\treport\tevery 90 s\t{NEXT}\tpaused",
        "old\treport\t30 2 * * * (Europe/Berlin)\t\tended",
    ] == ended.out.splitlines()
    assert "workflow=report" in daemon.seen[0].path
    assert ["nightly", "poll", "old"] == quiet.out.splitlines()


def test_schedule_is_shown(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", NIGHTLY, Reply(schedule(paused=True, pause_reason="holidays")))

    ended = agency("schedules", "show", "nightly")
    as_json = agency("schedules", "show", "nightly", "--json")

    assert "paused for: holidays" in ended.out
    assert "counts:     3 fired, 0 caught_up, 1 skipped, 0 manual" in ended.out
    assert "nightly" == as_json.json["name"]


def test_schedule_is_paused_and_resumed(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{NIGHTLY}/pause", Reply(schedule(paused=True)))
    daemon.on("POST", f"{NIGHTLY}/resume", Reply(schedule()))

    paused = agency("schedules", "pause", "nightly", "--reason", "holidays")
    resumed = agency("schedules", "resume", "nightly")

    assert {"reason": "holidays"} == daemon.seen[0].body
    assert "paused" in paused.err
    assert NEXT in resumed.err


def test_run_by_hand_prints_its_id(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{NIGHTLY}/run", Reply(run_document(status="pending"), 202))

    ended = agency("schedules", "run", "nightly", "--idempotency-key", "k")

    assert (0, f"{RUN_ID}\n") == (ended.code, ended.out)
    assert "k" == daemon.seen[0].headers["idempotency-key"]


def test_run_by_hand_is_watched_to_its_end(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("POST", f"{NIGHTLY}/run", Reply(run_document(status="pending"), 202))
    daemon.on("GET", f"/api/v1/runs/{RUN_ID}", Reply(run_document(output=[1])))

    ended = agency("schedules", "run", "nightly", "--watch")

    assert (0, "[1]\n") == (ended.code, ended.out)


def test_next_moments_are_printed(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("GET", f"{NIGHTLY}/next", Reply({"name": "nightly", "next": [NEXT, NEXT]}))

    ended = agency("schedules", "next", "nightly", "--count", "2")

    assert [NEXT, NEXT] == ended.out.splitlines()
    assert daemon.seen[0].path.endswith("?count=2")


def test_history_says_what_became_of_each_firing(agency: Agency, daemon: PlayedDaemon) -> None:
    rows = [
        firing(),
        firing(outcome="skipped", reason="overlap"),
        firing(outcome="skipped", reason="missed", run_id=None, through_at=NEXT, firings=41),
        firing(outcome="skipped", reason="missed", run_id=None, through_at=NEXT, firings=None),
    ]
    daemon.on("GET", f"{NIGHTLY}/firings", Reply({"firings": rows, "next_cursor": None}))

    ended = agency("schedules", "history", "nightly")

    assert [
        f"{NEXT}\tfired\t\t{RUN_ID}",
        f"{NEXT}\tskipped\toverlap\t{RUN_ID}",
        f"{NEXT}\tskipped\tmissed (41 firings)\t",
        f"{NEXT}\tskipped\tmissed (more than were counted)\t",
    ] == ended.out.splitlines()


def test_schedule_is_deleted(agency: Agency, daemon: PlayedDaemon) -> None:
    daemon.on("DELETE", NIGHTLY, Reply({"name": "nightly", "deleted": True}))

    assert "deleted" in agency("schedules", "rm", "nightly").err


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "run", "next", "history", "rm"])
def test_unknown_schedule_is_not_found(agency: Agency, daemon: PlayedDaemon, verb: str) -> None:
    places = {
        "show": ("GET", ""),
        "pause": ("POST", "/pause"),
        "resume": ("POST", "/resume"),
        "run": ("POST", "/run"),
        "next": ("GET", "/next"),
        "history": ("GET", "/firings"),
        "rm": ("DELETE", ""),
    }
    method, path = places[verb]
    daemon.on(method, NIGHTLY + path, problem(404, "schedule_not_found", name="nightly"))

    assert 3 == agency("schedules", verb, "nightly").code
