"""A server of HTTP that answers what a test wants, byte by byte if need be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answering = Callable[["Asked"], Awaitable[bytes]]


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def rpc(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hostile:
    """What it answers, and what it was asked.

    Attributes:
        card: Answers requests for the card; by default with a good one.
        rpc: Answers all others.
    """

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    card: Answering | None = None
    rpc: Answering | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def good_card(self, **changed: Any) -> dict[str, Any]:
        return {
            "name": "Hostile",
            "description": "No good.",
            "version": "1",
            "supportedInterfaces": [
                {"url": f"{self.url}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
            ],
            "capabilities": {"streaming": True},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [],
            **changed,
        }

    async def answer(self, asked: Asked) -> bytes:
        if asked.path.startswith("/.well-known/"):
            if self.card is not None:
                return await self.card(asked)
            return answer(json.dumps(self.good_card()))
        assert self.rpc is not None
        return await self.rpc(asked)


def answer(body: str | bytes, *, status: str = "200 OK", **headers: str) -> bytes:
    """Write an answer; ``_`` in names of headers means ``-``."""
    raw = body.encode() if isinstance(body, str) else body
    head = {"content-type": "application/json", "content-length": str(len(raw))}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status}\r\n{lines}connection: close\r\n\r\n".encode() + raw


def always(what: bytes) -> Answering:
    async def give(_: Asked) -> bytes:
        return what

    return give


def result(value: Any) -> Answering:
    """Answer each call of JSON-RPC with a result."""

    async def give(asked: Asked) -> bytes:
        return answer(json.dumps({"jsonrpc": "2.0", "id": asked.rpc["id"], "result": value}))

    return give


@asynccontextmanager
async def open_hostile() -> AsyncIterator[Hostile]:
    """Serve on a free port of the loopback."""
    hostile = Hostile()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = first.split(" ")
            asked = Asked(method, path, headers, body, writer)
            hostile.asked.append(asked)
            writer.write(await hostile.answer(asked))
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    hostile.port = server.sockets[0].getsockname()[1]
    try:
        yield hostile
    finally:
        server.close()
        if serving:
            _, late = await asyncio.wait(serving, timeout=2.0)
            assert not late, "a connection was left open"
