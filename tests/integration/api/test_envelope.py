"""The older envelope: messages to ``/a2a/message``."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from agency.a2a.envelope.message import METADATA_BYTES_MAX
from tests.integration.api.conftest import Answer, Daemon, Serve

PATH = "/a2a/message"
SENDER = "research:librarian:1"


async def send(daemon: Daemon, payload: Any = None, to: str = "echo", **more: Any) -> Answer:
    message = {
        "id": "m1",
        "from": SENDER,
        "to": to,
        "message_type": "Request",
        "payload": payload,
        "priority": "Normal",
        "timestamp": "2026-11-20T12:00:00Z",
        "expires_at": None,
        "correlation_id": None,
        "reply_to": None,
        "metadata": {},
        **more,
    }
    return await daemon.ask("POST", PATH, json=message)


PAYLOADS: dict[str, tuple[Any, Any]] = {
    "text": ({"Text": "hello"}, {"Text": "hello"}),
    "json": ({"Json": {"a": [1, None]}}, {"Json": {"a": [1, None]}}),
    "bare text": ("hello", {"Text": "hello"}),
    "bare value": ({"a": 1, "b": 2}, {"Json": {"a": 1, "b": 2}}),
    "task": (
        {"Task": {"task_id": "t", "operation": "echo", "parameters": {"a": 1}}},
        {"Json": {"a": 1}},
    ),
    "query": ({"Query": {"query": "how many?"}}, {"Text": "how many?"}),
    "words in small letters": ({"text": "hello"}, {"Text": "hello"}),
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_request_starts_a_run_and_is_answered_with_what_it_comes_to(
    daemon: Daemon, kind: str
) -> None:
    given, expected = PAYLOADS[kind]

    answer = await send(daemon, given, to="agency:echo:1")

    assert answer.status == 200
    elapsed_ms = answer.json.pop("processing_time_ms")
    assert 0 <= elapsed_ms < 10_000
    assert answer.json == {
        "message_id": "m1", "status": "Success", "payload": expected, "error": None,
    }  # fmt: skip


async def test_run_says_who_has_asked_for_it_and_how_urgently(daemon: Daemon) -> None:
    await send(daemon, {"Text": "x"}, message_type="COMMAND", priority="high", correlation_id="c-7")

    (run,) = await daemon.all_runs()
    assert (run.tags, run.priority, run.correlation_id) == ({"a2a_from": SENDER}, 10, "c-7")


async def test_message_counts_once_also_when_many_come_at_the_same_time(daemon: Daemon) -> None:
    answers = await asyncio.gather(*(send(daemon, {"Text": "x"}) for _ in range(20)))
    later = await send(daemon, {"Text": "x"}, timestamp="2026-11-20T12:00:09Z")
    other_content = await send(daemon, {"Text": "y"})
    other_sender = await send(daemon, {"Text": "y"}, **{"from": "research:librarian:2"})

    assert {(one.status, one.json["status"]) for one in [*answers, later]} == {(200, "Success")}
    assert (other_content.status, other_content.json["status"]) == (422, "Rejected")
    assert "another message" in other_content.json["error"]
    assert other_sender.json["status"] == "Success"
    assert len(await daemon.all_runs()) == 2


async def test_task_may_name_the_workflow_as_its_operation(daemon: Daemon) -> None:
    task = {"Task": {"task_id": "t", "operation": "number", "parameters": 2.5}}

    answer = await send(daemon, task, to="somebody:else:1")

    assert answer.json["payload"] == {"Json": 2.5}


async def test_work_that_takes_long_is_processing_and_can_be_asked_after(serve: Serve) -> None:
    daemon = await serve(sync_wait_s=0.2)
    first = await send(daemon, {"Text": "x"}, to="asks")
    (run,) = await daemon.all_runs()
    detail = await daemon.runs.get(run.id)
    await daemon.runs.resume(detail.snapshot_id or "", input="Ann", has_input=True)
    again = await send(daemon, {"Text": "x"}, to="asks")

    assert (first.status, first.json["status"]) == (202, "Processing")
    told = first.json["payload"]["Json"]
    assert (told["run_id"], told["waits"]) == (run.id, ["input#1"])
    assert first.headers["Location"] == told["url"] == f"/api/v1/runs/{run.id}"
    assert (again.status, again.json["payload"]) == (200, {"Json": {"name": "Ann"}})


async def test_work_that_fails_is_an_error(daemon: Daemon) -> None:
    from tests.integration.api.played import FLAKY

    FLAKY.reset()
    FLAKY.is_broken = True

    answer = await send(daemon, {"Text": "x"}, to="flaky")

    assert (answer.status, answer.json["status"]) == (200, "Error")
    assert "broken" in answer.json["error"]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "expired": ({"expires_at": "2020-01-01T00:00:00Z"}, 410, "expired"),
    "unknown target": ({"to": "agency:nobody:1"}, 404, "nobody"),
    "unknown type": ({"message_type": "Shout"}, 422, "message_type"),
    "unknown priority": ({"priority": "Whenever"}, 422, "priority"),
    "no moment": ({"expires_at": "tomorrow"}, 422, "expires_at"),
    "odd id": ({"id": "a\nb"}, 422, "id"),
    "long id": ({"id": "x" * 300}, 422, "id"),
    "wrong task": ({"payload": {"Task": {"task_id": "t"}}}, 422, "Task"),
    "wrong text": ({"payload": {"Text": 1}}, 422, "Text"),
    "wrong binary": ({"payload": {"Binary": [1, 300]}}, 422, "Binary"),
    "bytes for a workflow": (
        {"payload": {"Binary": base64.b64encode(b"x").decode()}, "to": "number"}, 422, "number",
    ),
    "wrong input": ({"payload": {"Json": "many"}, "to": "number"}, 422, "number"),
    "much metadata": ({"metadata": {"m": "x" * METADATA_BYTES_MAX}}, 422, "metadata"),
    "unknown peer": ({"message_type": "Heartbeat"}, 404, SENDER),
    "long topic": (
        {"message_type": "Event", "payload": {"Event": {"event_type": "x" * 300}}}, 422, "topic",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
async def test_what_cannot_be_done_is_rejected_with_the_reason(daemon: Daemon, why: str) -> None:
    changes, status, word = REFUSED[why]

    answer = await send(daemon, **{"payload": {"Text": "x"}, **changes})

    assert (answer.status, answer.json["status"]) == (status, "Rejected")
    assert word in answer.json["error"]
    assert [] == await daemon.all_runs()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": "m1"}', b'"x"', b"\xff"])
async def test_what_is_no_message_is_rejected(daemon: Daemon, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    answer = await daemon.ask("POST", PATH, data=body, headers=headers)

    assert answer.status in {400, 422}
    assert answer.json["status"] == "Rejected"
    assert answer.json["message_id"] == ""


async def test_only_allowed_peers_are_heard(serve: Serve) -> None:
    daemon = await serve(allowed_peers=["research:*:1"])

    good = await send(daemon, {"Text": "x"})
    bad = await send(daemon, {"Text": "x"}, **{"from": "research:librarian:2"})

    assert good.json["status"] == "Success"
    assert (bad.status, bad.json["status"]) == (403, "Rejected")


async def test_a_daemon_that_stops_says_so(daemon: Daemon) -> None:
    daemon.is_stopping = True

    answer = await send(daemon, {"Text": "x"})

    assert (answer.status, answer.json["status"]) == (503, "Error")


async def test_event_is_published_once_in_the_topic_that_it_names(daemon: Daemon) -> None:
    event = {"Event": {"event_type": "prices", "region": "eu", "price": 3}}

    sent = [await send(daemon, event, message_type="Event") for _ in range(2)]
    by_metadata = await send(
        daemon, {"Json": 1}, message_type="Event", id="m2", metadata={"topic": "other"}
    )
    by_target = await send(daemon, {"Json": 1}, message_type="Event", id="m3", to="a:shelf:1")

    topics = [one.json["payload"]["Json"]["topic"] for one in (*sent, by_metadata, by_target)]
    assert topics == ["prices", "prices", "other", "shelf"]
    assert [one.json["payload"]["Json"]["is_new"] for one in sent] == [True, False]
    events = (await daemon.ask("GET", "/api/v1/topics/prices/events")).json["events"]
    assert events[0]["payload"]["payload"] == event["Event"]
    assert events[0]["payload"]["from"] == SENDER


@pytest.mark.parametrize("kind", ["Notification", "Acknowledgment", "Response"])
async def test_what_only_tells_something_is_kept_in_a_topic(daemon: Daemon, kind: str) -> None:
    answer = await send(daemon, {"Json": {"a": 1}}, message_type=kind, correlation_id="c-1")

    topic = f"a2a.{kind.lower()}"
    (event,) = (await daemon.ask("GET", f"/api/v1/topics/{topic}/events")).json["events"]
    assert (answer.status, answer.json["status"]) == (200, "Success")
    assert (event["name"], event["payload"]["correlation_id"]) == ("c-1", "c-1")
    assert event["payload"]["payload"] == {"a": 1}
    assert [] == await daemon.all_runs()


async def test_heartbeat_renews_a_peer_and_says_how_it_is(daemon: Daemon) -> None:
    made = await daemon.ask("POST", "/api/v1/peers", json={"id": SENDER})

    beat = await send(daemon, {"Status": "Busy"}, message_type="Heartbeat")
    deeper = await send(daemon, {"Status": {"status": "Idle"}}, message_type="Heartbeat")
    wrong = await send(daemon, {"Status": "Asleep"}, message_type="Heartbeat")

    shown = (await daemon.ask("GET", made.headers["Location"])).json
    assert beat.json["payload"] == {"Json": {"id": SENDER, "status": "busy"}}
    assert deeper.json["payload"]["Json"]["status"] == shown["status"] == "idle"
    assert shown["last_seen"] > made.json["last_seen"]
    assert (wrong.status, wrong.json["status"]) == (422, "Rejected")
    assert wrong.json["error"].endswith("Use online, busy, idle, error.")
