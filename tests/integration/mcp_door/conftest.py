"""A real daemon for each file of tests, and the official client of MCP before its door."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.processes import Daemons, daemons_in, free_port, post

FLOWS = Path(__file__).with_name("flows.py")
CALL_WAIT_S = 2.0
SESSIONS_MAX = 60
MODES = ("2025-11-25", "2026-07-28")

CONFIG = f"""
[workflows]
paths = [{json.dumps(str(FLOWS))}]

[mcp]
call_wait_s = {CALL_WAIT_S}
serve_sessions_max = {SESSIONS_MAX}

[sandbox]
driver = "none"  # proving one costs a second of each start, and no command is run here

[publish]
workflows = ["*"]
"""


@dataclass
class Door:
    """A daemon whose door for MCP is tried.

    Attributes:
        tokens: Secrets by the names of their principals.
    """

    daemons: Daemons
    port: int
    tokens: dict[str, str]
    pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        return self.daemons.folder

    def start(self) -> None:
        """Start the daemon; its data is what an earlier one has left."""
        self.pid = self.daemons.start("--config", "config.toml", "--port", str(self.port)).pid

    def kill(self) -> None:
        """Kill it as a power cut would."""
        child = next(one for one in self.daemons._children if one.pid == self.pid)
        child.send_signal(signal.SIGKILL)
        child.wait()

    @asynccontextmanager
    async def client(
        self, mode: str, *, of: str | None = None, **more: Any
    ) -> AsyncIterator[Client]:
        """Connect the official client over HTTP, on behalf of a token if one is named."""
        era = mode if mode >= "2026" else "legacy"
        headers = {"Authorization": f"Bearer {self.tokens[of]}"} if of is not None else {}
        async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=era, read_timeout_seconds=20, **more) as client:
                yield client


Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    (folder / "config.toml").write_text(CONFIG)
    with daemons_in(folder) as daemons:
        started = Door(daemons, free_port(), {})
        started.start()
        for name in ("alice", "bob"):
            status, made = post(f"{started.url}/api/v1/tokens", {"name": name})
            assert status == 201, made
            started.tokens[name] = made["token"]
        yield started


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@dataclass
class Raw:
    """What a server has answered to a request made by hand."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    door: Door,
    body: bytes | object,
    *,
    method: str = "POST",
    of: str | None = None,
    **headers: str,
) -> Raw:
    """Make one request by hand."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{door.url}/mcp", data=data if method == "POST" else None, method=method
    )
    sent = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if of is not None:
        sent["Authorization"] = f"Bearer {door.tokens[of]}"
    for name, value in sent.items():
        request.add_header(name, value)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return Raw(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Raw(refusal.code, dict(refusal.headers), refusal.read())


def request(method: str, params: dict[str, Any], mode: str, *, id: int = 1) -> dict[str, Any]:
    """Write a request of an era; that of 2026-07-28 says with each one who it is."""
    meta = {}
    if mode >= "2026":
        meta = {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": mode,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "hand", "version": "1"},
            }
        }
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, **meta}}


def envelope(method: str, name: str = "") -> dict[str, str]:
    """Write the headers of a request of 2026-07-28."""
    named = {"Mcp-Name": name} if name else {}
    return {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **named}


def opened(door: Door, *, of: str | None = None) -> dict[str, str]:
    """Open a session, and give the headers of its requests."""
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "hand", "version": "1"},
    }
    answer = ask(door, request("initialize", opening, "2025-11-25"), of=of)
    assert answer.status == 200, answer
    headers = {
        "Mcp-Session-Id": answer.headers["mcp-session-id"],
        "MCP-Protocol-Version": "2025-11-25",
    }
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert ask(door, ready, of=of, **named(headers)).status == 202
    return headers


def named(headers: dict[str, str]) -> dict[str, str]:
    """Write headers as arguments of `ask`."""
    return {name.replace("-", "_"): value for name, value in headers.items()}


async def sent(
    door: Door, message: dict[str, Any], headers: dict[str, str], *, method: str = "POST"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request over a connection of its own, and do not wait for its answer."""
    body = json.dumps(message).encode() if message else b""
    lines = [
        f"{method} /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{door.port}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return reader, writer
