"""Watching from the command line and with the client: nothing is missed on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agency import event_stream
from agency.client import Client
from agency.errors import DaemonUnreachable, RunNotFound, TooManyStreams
from agency.event_stream import Event, parse_events
from tests.unit.cli.playing import RUN_ID, Agency, PlayedDaemon, Reply, problem

PATH = f"/api/v1/runs/{RUN_ID}/updates"
ALL = "/api/v1/updates"


def update(number: int, **members: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": "step",
        "run_id": RUN_ID,
        "name": None,
        "workflow": "order",
        "queue": "default",
        "session_id": None,
        "status": "running",
        "key": f"a#{number}",
        "data": number,
        "data_bytes": 1,
        "at": "2026-01-01T00:00:00.000000Z",
        **members,
    }


def status(number: int, value: str, **data: Any) -> dict[str, Any]:
    return update(number, type="status", status=value, key="", data=data, data_bytes=2)


def frames(*updates: dict[str, Any], after: int = 0) -> str:
    head = f'retry: 2000\nid: {after}\nevent: connected\ndata: {{"after": {after}}}\n\n'
    return head + "".join(
        f"id: {one['id']}\nevent: run_update\ndata: {json.dumps(one)}\n\n" for one in updates
    )


def stream(*updates: dict[str, Any], after: int = 0, tail: str = "") -> Reply:
    return Reply(frames(*updates, after=after) + tail, content_type="text/event-stream")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_PAUSE_S", 0.001)


def test_lines_are_put_together_as_the_standard_says() -> None:
    lines = [
        b": comment\n",
        b"retry: 5\n",
        b"\n",
        b"id: 7\r\n",
        b"event:x\n",
        b"data: one\n",
        b"data:two\n",
        b"\n",
        b"data: plain\n",
        b"\n",
        b"id: 8\n",
        b"data: cut off\n",
    ]

    assert [Event("x", "one\ntwo", "7"), Event("message", "plain", "")] == list(parse_events(lines))


def test_run_is_watched_over_lost_connections(daemon: PlayedDaemon) -> None:
    half = 'id: 3\nevent: run_update\ndata: {"id": 3, "ty'
    daemon.on(
        "GET",
        PATH,
        stream(update(1), update(2), tail=half),
        problem(503, "shutting_down"),
        Reply(raw=b""),
        stream(update(3), update(4, type="status", status="completed"), after=2),
    )

    found = list(Client(daemon.url).updates(RUN_ID, after=0, types=["step"]))

    assert [1, 2, 3, 4] == [one["id"] for one in found]
    assert {f"{PATH}?type=step"} == {seen.path for seen in daemon.seen}
    assert ["0", "2", "2", "2"] == [seen.headers["last-event-id"] for seen in daemon.seen]


def test_stream_that_was_cut_off_before_its_first_update_begins_where_it_was(
    daemon: PlayedDaemon,
) -> None:
    daemon.on("GET", PATH, stream(after=9), stream(status(10, "failed"), after=9))

    assert [10] == [one["id"] for one in Client(daemon.url).updates(RUN_ID)]
    assert [None, "9"] == [seen.headers.get("last-event-id") for seen in daemon.seen]


def test_nothing_more_to_come_ends_it(daemon: PlayedDaemon) -> None:
    daemon.on("GET", PATH, Reply(None, 204))

    assert [] == list(Client(daemon.url).updates(RUN_ID, after=5))


def test_tokens_have_a_type_and_no_id(daemon: PlayedDaemon) -> None:
    said = 'event: token\ndata: {"run_id": "r", "key": "say#1", "text": "one"}\n\n'
    daemon.on("GET", PATH, stream(tail=said), stream(status(1, "completed")))

    token, _ = Client(daemon.url).updates(RUN_ID)

    assert {"type": "token", "run_id": "r", "key": "say#1", "text": "one"} == dict(token)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(404, "run_not_found"), RunNotFound),
        (problem(503, "too_many_streams"), TooManyStreams),
        (Reply("<html>", 200, content_type="text/html"), DaemonUnreachable),
    ],
)
def test_what_is_refused_at_first_is_raised(
    daemon: PlayedDaemon, reply: Reply, kind: type[Exception]
) -> None:
    daemon.on("GET", PATH, reply)

    with pytest.raises(kind):
        next(Client(daemon.url).updates(RUN_ID))


def test_daemon_that_stays_away_is_given_up(daemon: PlayedDaemon) -> None:
    daemon.on("GET", ALL, stream(update(1)))
    found = Client(daemon.url).updates(patience_s=0.05)
    next(found)
    daemon.on("GET", ALL, problem(503, "shutting_down"))

    with pytest.raises(Exception, match="shutting_down"):
        list(found)


def test_nobody_there_is_told_at_once() -> None:
    with pytest.raises(DaemonUnreachable):
        next(Client("http://127.0.0.1:9").updates())


def test_run_is_told_line_by_line(daemon: PlayedDaemon, agency: Agency) -> None:
    daemon.on(
        "GET",
        PATH,
        stream(
            status(1, "pending"),
            status(2, "suspended", reason="event"),
            update(3, data="x" * 500, data_bytes=502),
            update(4, data=None, data_bytes=70000),
            status(5, "failed", error="step_failed"),
        ),
    )

    ended = agency("runs", "updates", RUN_ID)

    assert 1 == ended.code
    lines = [line.split() for line in ended.out.splitlines()]
    assert [
        ["1", "status", "pending"],
        ["2", "status", "suspended", '{"reason":"event"}'],
        ["3", "step", "a#3", "x" * 100 + "…"],
        ["4", "step", "a#4", "(70000", "bytes)"],
        ["5", "status", "failed", '{"error":"step_failed"}'],
    ] == lines
    assert "0" == daemon.seen[0].headers["last-event-id"]


def test_json_has_an_update_on_each_line(daemon: PlayedDaemon, agency: Agency) -> None:
    daemon.on("GET", PATH, stream(update(1), status(2, "completed")))

    ended = agency("runs", "updates", RUN_ID, "--json", "--type", "step", "--after", "7")

    assert 0 == ended.code
    assert [1, 2] == [json.loads(line)["id"] for line in ended.out.splitlines()]
    assert (f"{PATH}?type=step", "7") == (
        daemon.seen[0].path,
        daemon.seen[0].headers["last-event-id"],
    )


def test_all_runs_are_watched_with_filters_up_to_a_limit(
    daemon: PlayedDaemon, agency: Agency
) -> None:
    daemon.on("GET", ALL, stream(update(1), status(2, "completed"), update(3)))

    ended = agency(
        "updates",
        *("--workflow", "order", "--status", "failed", "--status", "completed", "--queue", "q"),
        *("--session", "s", "--tag", "team=a=b", "--type", "step", "--after", "0", "--limit", "2"),
    )

    assert (0, 2) == (ended.code, len(ended.out.splitlines()))
    assert RUN_ID in ended.out
    assert (
        f"{ALL}?type=step&workflow=order&status=failed&status=completed&queue=q&session_id=s"
        "&tag=team%3Da%3Db"
    ) == daemon.seen[0].path


def test_label_without_a_value_is_refused(agency: Agency) -> None:
    ended = agency("updates", "--tag", "team")

    assert 2 == ended.code
    assert "NAME=VALUE" in ended.err
