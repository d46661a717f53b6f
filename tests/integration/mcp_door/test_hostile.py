"""What clients send that is wrong, too much, or not theirs; and a daemon that dies under them."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.integration.mcp_door.conftest import (
    SESSIONS_MAX,
    Door,
    Raw,
    ask,
    envelope,
    named,
    opened,
    request,
    sent,
)
from tests.processes import get

STREAMS, SESSIONS = 500, 20


def test_deep_and_broken_json_is_refused(door: Door, mode: str) -> None:
    headers = named(envelope("tools/list")) if mode >= "2026" else named(opened(door))

    for body in (b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"nope", b"", b"9" * 100_000):
        answer = ask(door, body, **headers)

        assert answer.status == 400, (body[:10], answer)


def test_arguments_that_no_run_can_hold_are_refused(door: Door) -> None:
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    headers = named(envelope("tools/call", "run_start"))

    def start(value: object) -> Raw:
        arguments = {"workflow": "echo.any", "input": value}
        call = request("tools/call", {"name": "run_start", "arguments": arguments}, "2026-07-28")
        return ask(door, call, **headers)

    nested, half = start(deep), start("\ud800")

    assert nested.status == 400
    assert b"nested" in nested.body
    assert half.json["result"]["isError"]
    assert "JSON" in half.json["result"]["content"][0]["text"]


def test_body_that_is_too_large_is_refused(door: Door, mode: str) -> None:
    huge = request("tools/call", {"name": "double", "arguments": {"x": "x" * (18 << 20)}}, mode)

    try:
        answer = ask(door, huge, **named(envelope("tools/call", "double")))
    except OSError:
        pass  # the daemon has closed while it was still being sent
    else:
        assert answer.status == 413
    assert get(f"{door.url}/health")[0] == 200


def test_batch_is_refused(door: Door, mode: str) -> None:
    headers = named(envelope("ping")) if mode >= "2026" else named(opened(door))

    answer = ask(door, [request("ping", {}, mode), request("ping", {}, mode, id=2)], **headers)

    assert answer.status == 400


def test_wrong_version_accept_and_type_are_refused(door: Door) -> None:
    call = request("tools/list", {}, "2026-07-28")
    headers = named(envelope("tools/list"))

    later = request("tools/list", {}, "2099-01-01")
    strange = ask(door, later, **{**headers, "MCP_Protocol_Version": "2099-01-01"})
    deaf = ask(door, call, **headers, Accept="text/html")
    typed = ask(door, call, **{**headers, "Content_Type": "text/plain"})
    mixed = ask(door, call, **{**headers, "Mcp_Method": "tools/call"})

    assert strange.status == 400
    assert strange.json["error"]["code"] == -32022
    assert deaf.status == 406
    assert typed.status in {400, 415}
    assert mixed.status == 400
    assert mixed.json["error"]["code"] == -32020


def test_unknown_method_is_told_so(door: Door, mode: str) -> None:
    headers = named(envelope("no/such")) if mode >= "2026" else named(opened(door))

    answer = ask(door, request("no/such", {}, mode), **headers)

    assert b"-32601" in answer.body


def test_page_of_another_site_is_refused_also_where_it_only_reads(door: Door) -> None:
    posted = ask(door, request("ping", {}, "2026-07-28"), Origin="https://evil.example")
    read = ask(door, b"", method="GET", Origin="https://evil.example")
    strange = ask(door, request("ping", {}, "2026-07-28"), Host="evil.example")

    assert (posted.status, read.status, strange.status) == (403, 403, 403)


def test_wrong_token_is_refused_with_a_challenge(door: Door) -> None:
    answer = ask(door, request("ping", {}, "2026-07-28"), Authorization="Bearer ag_wrong")

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_session_of_another_is_not_there(door: Door) -> None:
    headers = opened(door, of="alice")
    ping = request("ping", {}, "2025-11-25")

    own = ask(door, ping, of="alice", **named(headers))
    others = ask(door, ping, of="bob", **named(headers))
    none = ask(door, ping, **named({**headers, "Mcp-Session-Id": "made-up"}))

    assert (own.status, others.status, none.status) == (200, 404, 404)


def test_session_that_its_client_has_ended_is_not_there(door: Door) -> None:
    headers = named(opened(door))

    assert ask(door, b"", method="DELETE", **headers).status == 200
    assert ask(door, request("ping", {}, "2025-11-25"), **headers).status == 404


def test_session_beyond_their_limit_ends_the_longest_idle_of_who_has_most(door: Door) -> None:
    own = opened(door, of="bob")
    sessions = [opened(door, of="alice") for _ in range(SESSIONS_MAX + 1)]
    ping = request("ping", {}, "2025-11-25")

    kept = ask(door, ping, of="bob", **named(own))
    first = ask(door, ping, of="alice", **named(sessions[0]))
    last = ask(door, ping, of="alice", **named(sessions[-1]))
    for session in sessions:
        ask(door, b"", method="DELETE", of="alice", **named(session))

    assert (kept.status, first.status, last.status) == (200, 404, 200)


async def test_sessions_beyond_their_limit_are_refused_while_all_are_in_use(door: Door) -> None:
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "many", "version": "1"},
    }
    async with AsyncExitStack() as stack:
        for _ in range(SESSIONS_MAX):
            headers = await asyncio.to_thread(opened, door)
            reader, writer = await sent(door, {}, headers, method="GET")
            stack.callback(writer.close)
            await reader.readuntil(b"\r\n\r\n")
        begin = request("initialize", opening, "2025-11-25")
        refused = await asyncio.to_thread(ask, door, begin)
        modern = request("tools/list", {}, "2026-07-28")
        needs_none = await asyncio.to_thread(ask, door, modern, **named(envelope("tools/list")))

    assert (refused.status, needs_none.status) == (503, 200)


async def test_five_hundred_idle_streams_leave_the_daemon_healthy(door: Door) -> None:
    listen = request(
        "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "2026-07-28"
    )
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS):
            reader, writer = await sent(door, listen, envelope("subscriptions/listen"))
            stack.callback(writer.close)
            await reader.readuntil(b"notifications/subscriptions/acknowledged")
        for _ in range(SESSIONS):
            headers = await asyncio.to_thread(opened, door)
            reader, writer = await sent(door, {}, headers, method="GET")
            stack.callback(writer.close)
            await reader.readuntil(b"\r\n\r\n")
        async with door.client("2026-07-28") as client:
            called = await client.call_tool("double", {"input": 3})
        status, health = await asyncio.to_thread(get, f"{door.url}/health")

    assert called.structured_content == {"output": 6}
    assert (status, health["status"]) == (200, "healthy")


async def test_daemon_killed_in_a_call_goes_on_and_its_client_begins_anew(
    door: Door, mode: str
) -> None:
    session = named(await asyncio.to_thread(opened, door))
    # What the client makes of it differs: the newer one breaks down with its connection.
    with pytest.raises((MCPError, BaseExceptionGroup)):  # noqa: PT012  also its end fails
        async with door.client(mode) as client:
            calling = asyncio.create_task(client.call_tool("steps", {"input": 1.8}))
            run_id = await _running(door)
            await asyncio.to_thread(door.kill)
            await calling
    await asyncio.to_thread(door.start)

    lost = await asyncio.to_thread(ask, door, request("tools/list", {}, "2025-11-25"), **session)
    async with door.client(mode) as client:
        result = await _result(client, run_id)

    assert result == "done"
    assert lost.status == 404


async def test_daemon_stops_at_once_under_open_streams(door: Door) -> None:
    """The last one here: it leaves no daemon."""
    listen = request(
        "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "2026-07-28"
    )
    headers = await asyncio.to_thread(opened, door)
    call = request("tools/call", {"name": "paid", "arguments": {}}, "2025-11-25", id=9)
    streams = [
        await sent(door, listen, envelope("subscriptions/listen")),
        await sent(door, {}, headers, method="GET"),
        await sent(door, call, headers),
    ]
    await _running(door, "paid", "suspended")
    child = next(one for one in door.daemons._children if one.pid == door.pid)

    began = time.monotonic()
    child.terminate()
    await asyncio.to_thread(child.wait)
    elapsed_s = time.monotonic() - began

    heard = [await reader.read() for reader, _ in streams]
    assert child.returncode == 0
    assert elapsed_s < 4
    # The call was answered with where its run is, before the daemon has gone.
    assert b"run_result" in heard[2]
    for _, writer in streams:
        writer.close()


async def _running(door: Door, workflow: str = "steps", status: str = "running") -> str:
    which = f"workflow={workflow}&status={status}&limit=1"
    async with asyncio.timeout(10):
        while True:
            _, page = await asyncio.to_thread(get, f"{door.url}/api/v1/runs?{which}")
            if page["runs"]:
                return str(page["runs"][0]["id"])


async def _result(client: Client, run_id: str) -> str:
    async with asyncio.timeout(20):
        while True:
            result = await client.call_tool("run_result", {"run_id": run_id})
            if result.structured_content and result.structured_content.get("output") is not None:
                return str(json.loads(json.dumps(result.structured_content))["output"])
