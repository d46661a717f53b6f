"""Streams of updates over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.web import sse
from tests.integration.api.conftest import Daemon, Serve
from tests.integration.api.events import GUARD_S, stream, told


async def start(daemon: Daemon, workflow: str, **more: Any) -> str:
    answer = await daemon.ask("POST", "/api/v1/runs", json={"workflow": workflow, **more})
    assert answer.status in {200, 202}, answer.text
    return str(answer.json["id"])


async def ended(daemon: Daemon, run_id: str) -> None:
    async with asyncio.timeout(GUARD_S):
        while True:
            answer = await daemon.ask("GET", f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=5"})
            if answer.json["ended_at"] is not None:
                return


async def suspended(daemon: Daemon, run_id: str) -> None:
    answer = await daemon.ask("GET", f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=5"})
    assert answer.json["status"] == "suspended"


async def send(daemon: Daemon, run_id: str, payload: Any = None) -> None:
    body = {"name": "paid", "payload": payload}
    answer = await daemon.ask("POST", f"/api/v1/runs/{run_id}/events", json=body)
    assert answer.status == 202


WHOLE = [
    ("status", "pending"),
    ("status", "running"),
    ("wait", "event-paid#1"),
    ("status", "suspended"),
    ("status", "pending"),
    ("status", "running"),
    ("status", "completed"),
]


async def test_run_is_watched_to_its_end(daemon: Daemon) -> None:
    run_id = await start(daemon, "listens", name="n", tags={"team": "a"})
    await suspended(daemon, run_id)
    async with stream(daemon, f"/api/v1/runs/{run_id}/updates?after=0") as opened:
        first = await opened.until(status="suspended")
        await send(daemon, run_id)
        rest = await opened.rest()

        headers = opened.response.headers
        assert "text/event-stream" == headers["Content-Type"]
        assert ("no-store", "nosniff") == (
            headers["Cache-Control"],
            headers["X-Content-Type-Options"],
        )
        assert headers["X-Correlation-ID"]
    assert WHOLE == told([*first, *rest])
    assert sse.RECONNECT_MS == opened.retry
    assert {"run_update"} == {event.name for event in first}
    assert [event.data["id"] for event in first] == [event.id for event in first]
    update = first[3].data
    assert (run_id, "n", "listens", {"reason": "event"}) == (
        update["run_id"],
        update["name"],
        update["workflow"],
        update["data"],
    )


async def test_caller_that_comes_back_gets_what_it_has_missed(daemon: Daemon) -> None:
    run_id = await start(daemon, "listens")
    await suspended(daemon, run_id)
    path = f"/api/v1/runs/{run_id}/updates?after=0"
    async with stream(daemon, path) as opened:
        first = await opened.until(status="suspended")
    await send(daemon, run_id)
    await ended(daemon, run_id)
    # The header is newer than the address, as with browsers.
    async with stream(daemon, path, {"Last-Event-ID": str(first[-1].id)}) as opened:
        rest = await opened.rest()
    over = await daemon.ask("GET", path, headers={"Last-Event-ID": str(rest[-1].id)})

    assert WHOLE == told([*first, *rest])
    assert (204, "") == (over.status, over.text)


async def test_end_that_was_before_is_told_and_the_stream_ends(daemon: Daemon) -> None:
    run_id = await start(daemon, "echo", input=1)
    await ended(daemon, run_id)

    async with stream(daemon, f"/api/v1/runs/{run_id}/updates") as opened:
        assert [("status", "completed")] == told(await opened.rest())


async def test_all_runs_are_watched_with_filters(daemon: Daemon) -> None:
    async with (
        stream(daemon, "/api/v1/updates?workflow=echo&status=completed&status=failed") as ends,
        stream(daemon, "/api/v1/updates?tag=team%3Da&type=status") as team,
    ):
        await start(daemon, "asks")
        one = await start(daemon, "echo", input=1)
        other = await start(daemon, "echo", input=2, tags={"team": "a"})

        found = [await ends.read(), await ends.read()]
        of_team = await team.until(status="completed")

    assert {one, other} == {event.data["run_id"] for event in found if event is not None}
    assert [("status", s) for s in ("pending", "running", "completed")] == told(of_team)
    assert {other} == {event.data["run_id"] for event in of_team}


async def test_tokens_of_the_model_are_shown_without_ids(daemon: Daemon) -> None:
    daemon.provider.may_speak.clear()
    run_id = await start(daemon, "agent", input={"message": "speak one two three"})
    path = f"/api/v1/runs/{run_id}/updates"
    async with (
        stream(daemon, f"{path}?type=token") as tokens,
        stream(daemon, f"{path}?type=step") as steps,
    ):
        daemon.provider.may_speak.set()
        said = await tokens.rest()
        done = await steps.rest()
    async with stream(daemon, f"{path}?after=0") as replayed:
        again = await replayed.rest()

    spoken = [event for event in said if event.name == "token"]
    assert "one two three " == "".join(event.data["text"] for event in spoken)
    assert {None} == {event.id for event in spoken}
    assert {"reply#1"} == {event.data["key"] for event in spoken}
    assert [("status", "completed")] == told(said[len(spoken) :])
    assert [("step", "reply#1"), ("status", "completed")] == told(done)
    assert "token" not in {event.name for event in again}


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/v1/updates?after=-1", {}, 422, "invalid_input"),
        ("/api/v1/updates?after=x", {}, 422, "invalid_input"),
        ("/api/v1/updates?status=gone", {}, 422, "invalid_input"),
        ("/api/v1/updates?type=token", {}, 422, "invalid_input"),
        ("/api/v1/updates?tag=x", {}, 422, "invalid_input"),
        ("/api/v1/updates?limit=1", {}, 422, "invalid_input"),
        ("/api/v1/updates", {"Last-Event-ID": "one"}, 422, "invalid_input"),
        ("/api/v1/updates", {"Last-Event-ID": "-1"}, 422, "invalid_input"),
        ("/api/v1/updates", {"Last-Event-ID": "9" * 40}, 422, "invalid_input"),
        ("/api/v1/updates", {"Last-Event-ID": "0" * 20 + "9" * 30}, 422, "invalid_input"),
        ("/api/v1/updates", {"Last-Event-ID": "0" * 5000}, 422, "invalid_input"),
        ("/api/v1/updates", {"Last-Event-ID": "999999"}, 409, "updates_ahead"),
        ("/api/v1/updates?after=999999", {}, 409, "updates_ahead"),
        ("/api/v1/runs/01900000-0000-7000-8000-000000000000/updates", {}, 404, "run_not_found"),
        ("/api/v1/runs/none/updates", {}, 404, "run_not_found"),
    ],
)
async def test_what_cannot_be_is_refused(
    daemon: Daemon, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await daemon.ask("GET", path, headers=headers)

    assert (status, code) == (answer.status, answer.json["code"])
    assert "application/problem+json" == answer.headers["Content-Type"]


async def test_empty_id_of_a_browser_counts_as_none(daemon: Daemon) -> None:
    async with stream(daemon, "/api/v1/updates", {"Last-Event-ID": ""}) as opened:
        await start(daemon, "echo", input=1)
        assert ("status", "pending") in told(await opened.until(status="pending"))


async def test_head_is_answered_without_a_stream(daemon: Daemon) -> None:
    run_id = await start(daemon, "listens")

    for path in ("/api/v1/updates", f"/api/v1/runs/{run_id}/updates"):
        answer = await daemon.ask("HEAD", path)
        assert (200, "text/event-stream", "") == (
            answer.status,
            answer.headers["Content-Type"],
            answer.text,
        )
    assert 404 == (await daemon.ask("HEAD", f"/api/v1/runs/{new_id()}/updates")).status


async def test_streams_are_limited_and_places_come_back(serve: Serve) -> None:
    daemon = await serve(streams_max=2, heartbeat_s=0.1)
    async with stream(daemon, "/api/v1/updates"), stream(daemon, "/api/v1/updates"):
        refused = await daemon.ask("GET", "/api/v1/updates")
        assert (503, "too_many_streams", "5") == (
            refused.status,
            refused.json["code"],
            refused.headers["Retry-After"],
        )
        # What is refused for itself takes no place.
        assert 409 != (await daemon.ask("GET", "/api/v1/updates?after=999999")).status
    async with asyncio.timeout(GUARD_S):
        # A caller that has gone is noticed by the next sign of life.
        while (await daemon.ask("HEAD", "/api/v1/updates")).status == 503:
            await asyncio.sleep(0.02)


async def test_quiet_stream_gives_signs_of_life(serve: Serve) -> None:
    daemon = await serve(heartbeat_s=0.1)
    run_id = await start(daemon, "listens")
    await suspended(daemon, run_id)
    async with stream(daemon, f"/api/v1/runs/{run_id}/updates") as opened:
        async with asyncio.timeout(GUARD_S):
            for _ in range(4):  # two comments, each with the line that ends it
                opened.comments.append((await opened.response.content.readline()).decode())
        await send(daemon, run_id)
        rest = await opened.rest()

    assert [": keep-alive\n", "\n"] * 2 == opened.comments[:4]
    assert ("status", "completed") == told(rest)[-1]


async def test_streams_end_when_the_server_closes(daemon: Daemon) -> None:
    run_id = await start(daemon, "listens")
    await suspended(daemon, run_id)
    async with (
        stream(daemon, f"/api/v1/runs/{run_id}/updates") as one,
        stream(daemon, "/api/v1/updates") as other,
    ):
        async with asyncio.timeout(3):  # it does not wait for streams
            await daemon.doors.aclose()
        assert ([], []) == (await one.rest(), await other.rest())

        assert [": the daemon stops"] == one.comments == other.comments


async def test_opening_and_closing_are_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        daemon = await serve()
        run_id = await start(daemon, "echo", input=1)
        await ended(daemon, run_id)
        async with stream(daemon, f"/api/v1/runs/{run_id}/updates?after=0") as opened:
            await opened.rest()

    records = {one.message: vars(one) for one in caplog.records if "updates" in one.message}
    assert run_id == records["updates opened"]["run_id"]
    closed = records["updates closed"]
    assert (run_id, 3, "ended") == (closed["run_id"], closed["frames"], closed["why"])
    assert closed["elapsed_s"] >= 0


async def test_many_watch_one_run_and_none_misses_anything(daemon: Daemon) -> None:
    run_id = await start(daemon, "counts", input=100)
    await suspended(daemon, run_id)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(stream(daemon, f"/api/v1/runs/{run_id}/updates"))
            for _ in range(200)
        ]
        await send(daemon, run_id)
        found = await asyncio.gather(*(one.rest() for one in opened))

    keys = [f"count#{number + 1}" for number in range(100)]
    for events in found:
        assert keys == [key for kind, key in told(events) if kind == "step"]
        assert ("status", "completed") == told(events)[-1]


async def test_slow_caller_misses_nothing_and_holds_up_nobody(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run_id = await start(daemon, "counts", input=3000)
    await suspended(daemon, run_id)
    path = f"/api/v1/runs/{run_id}/updates"
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(slow, ("127.0.0.1", daemon.port))
        await loop.sock_sendall(
            slow, f"GET {path}?after=0 HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        )
        async with stream(daemon, path) as quick:
            await send(daemon, run_id, 3000)
            events = await quick.rest()
        assert 3000 == len([one for one in told(events) if one[0] == "step"])
        # Nine megabytes are more than what all buffers on the way to the slow one hold.
        assert 1 == [one.message for one in caplog.records].count("updates closed")
        text = await _read_all(slow)
    finally:
        slow.close()

    numbers = [
        int(line.removeprefix(b"id: ")) for line in text.splitlines() if line.startswith(b"id: ")
    ]
    numbers = numbers[1:]  # the first is the place where it began
    assert sorted(set(numbers)) == numbers
    assert [event.id for event in events] == numbers[-len(events) :]


async def _read_all(reader: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    parts = []
    async with asyncio.timeout(30):
        while part := await loop.sock_recv(reader, 65536):
            parts.append(part)
    return b"".join(parts)


async def test_caller_that_hangs_up_in_the_middle_is_forgotten(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = await serve(heartbeat_s=0.1)
    run_id = await start(daemon, "counts", input=500)
    await suspended(daemon, run_id)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            head = f"GET /api/v1/runs/{run_id}/updates?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            writer.write(head.encode())
            await reader.readuntil(b"connected")
            writer.transport.abort()
        await send(daemon, run_id)
        await ended(daemon, run_id)
        async with asyncio.timeout(GUARD_S):
            while [one.message for one in caplog.records].count("updates closed") < 5:
                await asyncio.sleep(0.02)

    assert [] == [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_stream_needs_a_token_where_one_is_needed(serve: Serve) -> None:
    daemon = await serve(allowed_hosts=["agency.example"])

    assert 401 == (await daemon.ask("GET", "/api/v1/updates")).status


async def test_hooks_are_listed(daemon: Daemon) -> None:
    answer = await daemon.ask("GET", "/api/v1/hooks")

    assert (200, {"hooks": []}) == (answer.status, answer.json)
