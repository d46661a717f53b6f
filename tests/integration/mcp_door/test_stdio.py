"""``agency mcp serve``: the daemon's door on stdin and stdout, for clients that start programs."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError

from agency.cli.address import Address
from agency.cli.bridge import Bridge
from tests.integration.mcp_door.conftest import Door, request
from tests.processes import ROOT

CLI = [sys.executable, "-m", "agency.cli.main"]
GUARD_S = 20


def environ(door: Door) -> dict[str, str]:
    return {**door.daemons.environ, "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def bridged(door: Door, mode: str, *arguments: str) -> AsyncIterator[Client]:
    """Connect the official client through the bridge, which finds the daemon as the CLI does."""
    where = arguments or ("--config", str(door.folder / "config.toml"))
    program = StdioServerParameters(
        command=CLI[0],
        args=[*CLI[1:], "mcp", "serve", *where],
        env=environ(door),
        cwd=door.folder,
    )
    era = mode if mode >= "2026" else "legacy"
    async with Client(program, mode=era, read_timeout_seconds=GUARD_S) as client:
        yield client


async def test_client_uses_the_daemon_through_the_bridge(door: Door, mode: str) -> None:
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with bridged(door, mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        called = await client.call_tool("order", {"sku": "Ü-1\n2", "count": 4})
        stepped = await client.call_tool("steps", {"input": 0.5}, progress_callback=on_progress)
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("no-such", {})
        together = await asyncio.gather(
            *(client.call_tool("double", {"input": index}) for index in range(20))
        )

    assert "order" in tools
    assert called.structured_content == {"total": 12, "sku": "Ü-1\n2"}
    assert stepped.structured_content == {"output": "done"}
    assert told == sorted(told)
    assert told
    assert [one.structured_content["output"] for one in together] == [2 * n for n in range(20)]


async def test_client_goes_on_with_a_daemon_that_was_killed_and_started_anew(
    door: Door, mode: str
) -> None:
    heard: list[str] = []

    async with bridged(door, mode) as client:
        calling = asyncio.create_task(client.call_tool("steps", {"input": 1.5}))
        run_id = await _running(client)
        await asyncio.to_thread(door.kill)
        with pytest.raises(MCPError, match="goes on"):
            await calling
        with pytest.raises(MCPError, match=r"does not answer|broke off"):
            await client.list_prompts()
        await asyncio.to_thread(door.start)
        called = await client.call_tool("double", {"input": 4})
        async with asyncio.timeout(GUARD_S):
            while not heard:
                result = await client.call_tool("run_result", {"run_id": run_id})
                output = (result.structured_content or {}).get("output")
                heard += [output] if output else []

    assert called.structured_content == {"output": 8}
    assert heard == ["done"]


async def _running(client: Client) -> str:
    async with asyncio.timeout(GUARD_S):
        while True:
            arguments = {"workflow": "steps", "status": "running", "limit": 1}
            listed = await client.call_tool("runs_list", arguments)
            if runs := listed.structured_content["runs"]:
                return str(runs[0]["run_id"])


def run_bridge(door: Door, lines: bytes, *arguments: str) -> tuple[list[Any], str, int]:
    """Send lines and the end of the input; give the answers, what was logged, and the exit code."""
    where = arguments or ("--config", "config.toml")
    done = subprocess.run(
        [*CLI, "mcp", "serve", *where],
        input=lines,
        capture_output=True,
        cwd=door.folder,
        env=environ(door),
        timeout=GUARD_S,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return answers, done.stderr.decode(), done.returncode


def test_bridge_ends_with_its_input_and_answers_what_was_asked_before(door: Door) -> None:
    line = json.dumps(request("tools/list", {}, "2026-07-28", id=7)).encode() + b"\n"

    answers, said, code = run_bridge(door, line)

    assert [answer["id"] for answer in answers] == [7]
    assert answers[0]["result"]["tools"]
    assert (said, code) == ("", 0)


def test_lines_that_are_piped_in_at_once_find_the_session_of_the_first(door: Door) -> None:
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}}
    opening["clientInfo"] = {"name": "a shell", "version": "1"}
    lines = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    )

    answers, _, code = run_bridge(door, b"".join(json.dumps(one).encode() + b"\n" for one in lines))

    assert [answer["id"] for answer in answers if "id" in answer] == [1, 2]
    assert answers[-1]["result"]["tools"]
    assert code == 0


def test_lines_that_are_no_json_are_refused_and_the_next_one_is_answered(door: Door) -> None:
    ping = json.dumps(request("server/discover", {}, "2026-07-28", id=2)).encode()

    answers, _, code = run_bridge(door, b"nope\n\n[1,\n" + ping + b"\n")

    assert [(one["id"], "error" in one) for one in answers] == [
        (None, True),
        (None, True),
        (2, False),
    ]
    assert code == 0


def test_daemon_that_is_away_is_told_to_the_client(door: Door) -> None:
    line = json.dumps(request("tools/list", {}, "2026-07-28", id=6)).encode() + b"\n"

    answers, _, code = run_bridge(door, line, "--url", "http://127.0.0.1:9")

    assert answers[0]["id"] == 6
    assert "agency-daemon" in answers[0]["error"]["message"]
    assert code == 0


def test_what_no_header_can_hold_is_refused_and_the_next_request_is_answered(door: Door) -> None:
    told = request("notifications/x\r\ny", {}, "2026-07-28")
    del told["id"]
    lines = [
        told,
        request("tools/list\r\nX-Other: 1", {}, "2026-07-28", id=1),
        request("werkzeuge/\u4e2d", {}, "2026-07-28", id=2),
        {**request("ping", {}, "2026-07-28", id=3), "method": ["ping"]},
        request("server/discover", {}, "2026-07-28", id=4),
    ]

    answers, said, code = run_bridge(
        door, b"".join(json.dumps(one).encode() + b"\n" for one in lines)
    )

    assert {one["id"]: "error" in one for one in answers} == {1: True, 2: True, 3: True, 4: False}
    assert "HTTP" in next(one for one in answers if one["id"] == 1)["error"]["message"]
    assert "Traceback" not in said
    assert code == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://a b", "http://[::1"])
def test_address_that_is_none_is_told_to_the_client(door: Door, url: str) -> None:
    line = json.dumps(request("tools/list", {}, "2026-07-28", id=6)).encode() + b"\n"

    answers, said, code = run_bridge(door, line, "--url", url)

    assert answers[0]["id"] == 6
    assert url in answers[0]["error"]["message"]
    assert "Traceback" not in said
    assert code == 0


def test_first_request_waits_for_a_daemon_that_is_about_to_start(door: Door) -> None:
    line = json.dumps(request("server/discover", {}, "2026-07-28", id=4)).encode() + b"\n"
    nowhere = Address("http://127.0.0.1:9", None, is_named=True)
    places = iter([nowhere, nowhere])
    said: list[str] = []
    out, sink = os.pipe()

    with os.fdopen(out, "rb") as answers, os.fdopen(sink, "wb") as written:
        there = Address(door.url, None, is_named=True)
        bridge = Bridge(
            lambda: next(places, there), io.BytesIO(line), written.fileno(), said.append
        )
        bridge.run()
        answer = json.loads(answers.readline())

    assert answer["result"]["supportedVersions"]
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert "answers at" in said[1]


def test_configuration_that_cannot_be_read_is_told_at_once(door: Door) -> None:
    answers, said, code = run_bridge(door, b"", "--config", "no-such.toml")

    assert answers == []
    assert "no-such.toml" in said
    assert code != 0


def test_refusal_of_the_daemon_is_told_to_the_client(door: Door) -> None:
    line = json.dumps(request("tools/list", {}, "2026-07-28", id=3)).encode() + b"\n"

    answers, _, _ = run_bridge(door, line, "--url", door.url, "--token", "ag_wrong")

    assert answers[0]["id"] == 3
    assert "token" in answers[0]["error"]["message"]


def test_program_is_there_at_once_and_loads_no_sdk(door: Door) -> None:
    code = (
        "import sys; import agency.cli.mcp_serve, agency.cli.bridge; "
        "print(sorted({'mcp', 'aiohttp', 'pydantic'} & set(sys.modules)))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ(door), check=True
    )

    assert loaded.stdout.strip() == "[]"
