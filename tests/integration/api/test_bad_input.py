"""Bad input: each kind is one clear problem, and the daemon is healthy after."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
from collections.abc import AsyncIterator

import pytest

from agency.web import connection
from tests.integration.api.conftest import Answer, Daemon, Serve

PATH = "/api/v1/agent/process"
JSON = {"Content-Type": "application/json"}
UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture(autouse=True)
async def healthy_after(daemon: Daemon) -> AsyncIterator[None]:
    yield
    assert (await daemon.ask("GET", "/health")).status == 200


def parse(raw: bytes) -> Answer:
    """Read an answer that came over a bare connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split(" ")[1]), headers, body.decode(), json.loads(body))


def check_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status, answer.json["status"], answer.json["code"]) == (status, status, code)
    assert answer.json["type"] == f"/docs#problem-{code}"
    assert answer.json["success"] is False
    assert answer.json["message"] == answer.json["detail"]
    assert answer.json["correlationId"] == answer.headers["X-Correlation-ID"]
    assert answer.json["timestamp"].endswith("Z")
    assert answer.json["title"]
    assert answer.json["instance"].startswith("/")


async def test_an_empty_body(daemon: Daemon) -> None:
    check_problem(await daemon.ask("POST", PATH, headers=JSON), 400, "body_malformed")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/db/prune",
        "/api/v1/queues/default/pause",
        "/api/v1/queues/default/resume",
        "/api/v1/queues/default/drain",
        "/api/v1/schedules/nightly/resume",
        "/api/v1/schedules/nightly/run",
        f"/api/v1/snapshots/{UNKNOWN}/move",
        f"/api/v1/receipts/{UNKNOWN}/confirm",
        f"/api/v1/sagas/runs/{UNKNOWN}/retry-compensation",
    ],
)
async def test_what_takes_nothing_is_not_done_when_something_was_meant(
    daemon: Daemon, path: str
) -> None:
    refused = await daemon.ask("POST", path, json={"dry_run": True})

    check_problem(refused, 422, "invalid_input")
    assert refused.json["errors"][0]["pointer"] == "/dry_run"
    assert (await daemon.ask("POST", path, json={})).status in {200, 404}
    assert (await daemon.ask("POST", path)).status in {200, 404}


async def test_wrong_types_name_all_faults_with_pointers(daemon: Daemon) -> None:
    body = {"message": 7, "max_steps": "ten", "session_id": []}

    answer = await daemon.ask("POST", PATH, json=body)

    check_problem(answer, 422, "invalid_input")
    faults = {fault["pointer"]: fault["detail"] for fault in answer.json["errors"]}
    assert set(faults) == {"/message", "/max_steps", "/session_id"}
    assert "not a number" in faults["/message"]


async def test_pointers_reach_into_the_depth(daemon: Daemon) -> None:
    body = {"workflow": "echo", "tags": {"a/b": 1}}

    answer = await daemon.ask("POST", "/api/v1/runs", json=body)

    assert answer.json["errors"][0]["pointer"] == "/tags/a~1b"


async def test_unknown_fields_get_a_suggestion(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, json={"mesage": "Hello"})

    check_problem(answer, 422, "invalid_input")
    faults = {fault["pointer"]: fault for fault in answer.json["errors"]}
    assert faults["/mesage"]["hint"] == "Did you mean 'message'?"
    assert faults["/message"]["detail"] == "This is needed and missing."


async def test_unknown_members_of_the_agents_input_are_not_dropped(daemon: Daemon) -> None:
    body = {"workflow_id": "w", "input": {"message": "Hello", "max_step": 3}}

    answer = await daemon.ask("POST", "/api/v1/workflows", json=body)

    check_problem(answer, 422, "invalid_input")
    assert [fault["pointer"] for fault in answer.json["errors"]] == ["/input/max_step"]


async def test_message_for_a_workflow_that_takes_none_is_pointed_at(daemon: Daemon) -> None:
    body = {"workflow_id": "w", "workflow": "number", "initial_message": "Hello"}

    answer = await daemon.ask("POST", "/api/v1/workflows", json=body)

    check_problem(answer, 422, "invalid_input")
    assert [fault["pointer"] for fault in answer.json["errors"]] == ["/initial_message"]


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"7"])
async def test_a_body_that_is_no_object(daemon: Daemon, body: bytes) -> None:
    answer = await daemon.ask("POST", PATH, data=body, headers=JSON)

    check_problem(answer, 422, "invalid_input")
    assert answer.json["errors"][0]["pointer"] == ""


async def test_20_megabytes_are_refused_by_their_announcement(daemon: Daemon) -> None:
    answer = await daemon.ask("POST", PATH, data=io.BytesIO(b" " * (20 << 20)), headers=JSON)

    check_problem(answer, 413, "body_too_large")
    assert answer.json["bytes_max"] == 1 << 20


async def test_20_megabytes_without_announcement_are_refused_while_they_come(
    daemon: Daemon,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(320):
            yield b" " * 65536

    answer = await daemon.ask("POST", PATH, data=chunks(), headers=JSON)

    check_problem(answer, 413, "body_too_large")


async def test_20_megabytes_that_ask_first_are_refused_before_they_are_sent(
    daemon: Daemon,
) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {20 << 20}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )

    answer = await daemon.raw(head.encode(), until=b"}")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [130, 900, 100_000])
async def test_deep_json(daemon: Daemon, opening: bytes, depth: int) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * depth + b"1" + closing * depth
    body = b'{"workflow":"echo","input":' + deep + b"}"

    answer = await daemon.ask("POST", "/api/v1/runs", data=body, headers=JSON)

    check_problem(answer, 400, "body_malformed")


async def test_json_up_to_the_depth_is_taken(daemon: Daemon) -> None:
    body = b'{"workflow":"echo","input":' + b"[" * 127 + b"]" * 127 + b"}"

    answer = await daemon.ask("POST", "/api/v1/runs", data=body, headers=JSON)

    assert answer.status in {200, 202}


@pytest.mark.parametrize(
    "body",
    [
        b'{"message": "\xff\xfe"}',
        b'{"message": "\\ud800"}',
        b'{"message"',
        b"{'message': 1}",
        b'{"message": NaN}',
        b'{"message": "a"} x',
        b"\x00",
        b"\xef\xbb\xbf{}",
    ],
)
async def test_bad_utf8_and_bad_json(daemon: Daemon, body: bytes) -> None:
    answer = await daemon.ask("POST", PATH, data=body, headers=JSON)

    check_problem(answer, 400, "body_malformed")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ";"],
)
async def test_a_wrong_content_type(daemon: Daemon, content_type: str) -> None:
    answer = await daemon.ask(
        "POST", PATH, data=b'{"message": "Hello"}', headers={"Content-Type": content_type}
    )

    check_problem(answer, 415, "content_type_refused")


async def test_a_body_without_a_content_type_is_taken_for_json(daemon: Daemon) -> None:
    answer = await daemon.ask(
        "POST", PATH, data=b'{"message": "Hi"}', skip_auto_headers=["Content-Type"]
    )

    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"/api/v1/runs/{UNKNOWN}", "run_not_found"),
        ("GET", "/api/v1/runs/7", "run_not_found"),
        ("GET", f"/api/v1/runs/{UNKNOWN}/steps", "run_not_found"),
        ("POST", f"/api/v1/runs/{UNKNOWN}/cancel", "run_not_found"),
        ("GET", "/api/v1/workflows/nobody", "run_not_found"),
        ("POST", "/api/v1/workflows/nobody/suspend", "run_not_found"),
        ("GET", f"/api/v1/workflows/snapshots/{UNKNOWN}", "snapshot_not_found"),
        ("DELETE", f"/api/v1/workflows/snapshots/{UNKNOWN}", "snapshot_not_found"),
        ("DELETE", "/api/v1/workflows/snapshots/x", "snapshot_not_found"),
        ("GET", "/nothing", "path_not_found"),
        ("POST", "/api/v1", "path_not_found"),
    ],
)
async def test_unknown_ids_and_paths(daemon: Daemon, method: str, path: str, code: str) -> None:
    check_problem(await daemon.ask(method, path), 404, code)


async def test_resuming_an_unknown_snapshot(daemon: Daemon) -> None:
    for snapshot_id in (UNKNOWN, "no id"):
        answer = await daemon.ask(
            "POST", "/api/v1/workflows/resume", json={"snapshot_id": snapshot_id}
        )
        check_problem(answer, 404, "snapshot_not_found")


async def test_a_wrong_method_names_the_right_ones(daemon: Daemon) -> None:
    answer = await daemon.ask("PUT", "/api/v1/runs")

    check_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_an_event_to_a_finished_run(daemon: Daemon) -> None:
    started = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "echo", "input": 1})

    path = f"/api/v1/runs/{started.json['run_id']}/events"
    await daemon.ask("GET", f"/api/v1/runs/{started.json['run_id']}", headers={"Prefer": "wait=5"})
    answer = await daemon.ask("POST", path, json={"name": "paid"})

    check_problem(answer, 409, "run_ended")
    assert answer.json["run_status"] == "completed"


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/api/v1/runs/..%2f..%2fetc%2fpasswd",
        "/api/v1/runs/%2e%2e/%2e%2e/health",
        "/api/v1/runs/%00",
        "/api/v1/runs/%ff%fe",
        "/api/v1/workflows/%00",
        "/api/v1/workflows/%ff",
        "/api/v1/workflows/%0d%0aX-Evil:%201",
        "/api/v1/workflows/..%5c..%5cwindows",
        "/api/v1/workflows/" + "a" * 4000,
        "//health",
        "/docs/../../agency/web/guard.py",
        "/docs/%2e%2e/guard.py",
        "/docs.html",
        "/api/v1/runs/\xc3\xa4",
        "/api/v1/workflows/\xff",
    ],
)
async def test_path_tricks_find_nothing(daemon: Daemon, path: str) -> None:
    target = path.encode("latin-1")
    answer = await daemon.raw(
        b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )

    status = int(answer.split(b" ", 2)[1])
    assert status in {400, 404}
    assert b"X-Evil" not in answer.split(b"\r\n\r\n")[0]
    assert b"root:" not in answer


@pytest.mark.parametrize("query", ["?name=%ff", "?cursor=%ff", "?limit=%00", "?%ff=1", "?=1"])
async def test_query_tricks_are_no_errors_of_ours(daemon: Daemon, query: str) -> None:
    answer = await daemon.raw(
        f"GET /api/v1/runs{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )

    assert int(answer.split(b" ", 2)[1]) in {200, 422}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?limit=0", "limit"),
        ("?limit=501", "limit"),
        ("?limit=many", "limit"),
        ("?limit=1&limit=2", "limit"),
        ("?status=sleeping", "status"),
        ("?workflo=x", "workflo"),
        ("?cursor=nonsense", "cursor"),
        ("?cursor=" + "A" * 600, "cursor"),
    ],
)
async def test_bad_queries(daemon: Daemon, query: str, pointer: str) -> None:
    answer = await daemon.ask("GET", "/api/v1/runs" + query)

    check_problem(answer, 422, "invalid_input")
    assert answer.json["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    "name", ["", "a\nb", "\x00", "x" * 257, ".", "..", "snapshots", "resume", "\x7f"]
)
async def test_names_that_cannot_be_addressed_are_refused(daemon: Daemon, name: str) -> None:
    answer = await daemon.ask(
        "POST", "/api/v1/workflows", json={"workflow_id": name, "initial_message": "Hello"}
    )

    check_problem(answer, 422, "invalid_input")
    assert answer.json["errors"][0]["pointer"] == "/workflow_id"


async def test_a_bug_is_told_without_its_inside(daemon: Daemon) -> None:
    daemon.has_bug = True

    answer = await daemon.ask("GET", "/health")

    daemon.has_bug = False
    check_problem(answer, 500, "internal_error")
    assert "ZeroDivisionError" not in answer.text


async def test_an_unknown_expectation_does_not_count(daemon: Daemon) -> None:
    answer = await daemon.raw(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        b"GET /health HTTP/9.9\r\nHost: localhost",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000,
        b"GET /health HTTP/1.1\r\nHost: localhost" + b"\r\nX: a" * 2_000,
        b"GET /\xff HTTP/1.1\r\nHost: localhost",
        b"EHLO localhost",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked",
    ],
)
async def test_what_is_no_http_is_told_as_a_problem(daemon: Daemon, head: bytes) -> None:
    answer = parse(await daemon.raw(head + b"\r\n\r\n"))

    check_problem(answer, 400, "request_refused")
    assert answer.headers["Server"] == "agency"


async def test_a_token_in_a_broken_header_is_not_logged(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    answer = await daemon.raw(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\x01\r\n\r\n"
    )

    assert b"s3cret" not in answer
    assert "s3cret" not in caplog.text
    assert "request refused" in caplog.text


@pytest.mark.parametrize(
    ("coding", "status", "code"),
    [("gzip", 400, "body_malformed"), ("zip", 415, "content_type_refused")],
)
async def test_a_body_in_a_broken_or_unknown_coding(
    daemon: Daemon, coding: str, status: int, code: str
) -> None:
    answer = parse(
        await daemon.raw(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: {coding}\r\n"
            "Content-Length: 4\r\nConnection: close\r\n\r\n".encode()
            + b"\x00\x01\x02\x03"
        )
    )

    check_problem(answer, status, code)


async def test_a_compressed_body_is_taken_and_bounded(daemon: Daemon) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}

    taken = await daemon.ask("POST", PATH, data=gzip.compress(b'{"message":"Hi"}'), headers=headers)
    bomb = await daemon.ask("POST", PATH, data=gzip.compress(b" " * (20 << 20)), headers=headers)

    assert taken.status == 200
    check_problem(bomb, 413, "body_too_large")


async def test_a_caller_who_hangs_up_is_no_error_of_ours(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "agency.web.guard")
    answered = asyncio.Event()
    logged = logging.getLogger("agency.web.guard")
    handler = _Telling(answered)
    logged.addHandler(handler)

    _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()

    async with asyncio.timeout(5):
        await answered.wait()
    logged.removeHandler(handler)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


class _Telling(logging.Handler):
    def __init__(self, answered: asyncio.Event) -> None:
        super().__init__()
        self._answered = answered

    def emit(self, record: logging.LogRecord) -> None:
        self._answered.set()


async def test_an_answer_before_the_whole_body_ends_the_connection(daemon: Daemon) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {20 << 20}\r\n\r\n"

    answer = await daemon.raw(head.encode(), until=b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
async def test_a_connection_that_brings_no_request_is_closed(
    daemon: Daemon, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_CONNECTION_S", 0.05)

    assert b"" == await daemon.raw(sent)


async def test_a_connection_is_kept_while_its_request_is_worked_off(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_CONNECTION_S", 0.05)
    started = await daemon.ask("POST", "/api/v1/runs", json={"workflow": "hangs"})

    path = f"/api/v1/runs/{started.json['run_id']}"
    answer = await daemon.ask("GET", path, headers={"Prefer": "wait=1"})

    assert answer.status == 200


async def test_a_connection_too_many_is_told_so_as_a_problem(serve: Serve, daemon: Daemon) -> None:
    small = await serve(connections_max=1)
    _, writer = await asyncio.open_connection("127.0.0.1", small.port)
    # The first one is open for the server, too, once it has answered.
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")

    answer = parse(await small.raw(b""))

    writer.close()
    check_problem(answer, 503, "too_many_connections")
    assert answer.headers["Retry-After"] == "1"


async def test_a_thousand_idle_connections(serve: Serve, daemon: Daemon) -> None:
    writers = []
    try:
        for _ in range(1000):
            _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            writers.append(writer)

        answer = await daemon.ask("POST", PATH, json={"message": "Hello"})

        assert answer.status == 200
    finally:
        for writer in writers:
            writer.close()
