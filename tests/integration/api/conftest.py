"""A real server on a real socket over the verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agency.api.application import make_application
from agency.config.schema import Server, Settings
from agency.core.clock import SystemClock
from agency.domain.message import Message
from agency.domain.principal import Token
from agency.domain.run import RunStatus
from agency.engine.registry import LoadFailure
from agency.errors import TokenNotFound
from agency.ports.model import ChatReply, Health, ModelInfo
from agency.web.services import Services
from tests.integration.api.memory_runs import MemoryRuns


class MemoryTokens:
    """Tokens in a list; counts how often it is read."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.reads = 0

    async def add(self, token: Token) -> None:
        self.tokens.append(token)

    async def list(self) -> Sequence[Token]:
        self.reads += 1
        return list(self.tokens)

    async def revoke(self, name: str, *, now: datetime) -> None:
        if not any(token.name == name for token in self.tokens):
            raise TokenNotFound(name)
        self.tokens = [token for token in self.tokens if token.name != name]


class NoSessions:
    async def messages(self, session_id: str, *, limit: int) -> Sequence[Message]:
        return []


@dataclass
class PlayedProvider:
    """A provider whose health is what the test says."""

    health_now: Health = field(default_factory=lambda: Health(reachable=True))
    hangs: bool = False
    looks: int = 0
    name: str = "rehearsal"
    resource: str = "model:rehearsal"
    is_rehearsal: bool = True

    async def chat(self, *args: Any, **more: Any) -> ChatReply:
        raise NotImplementedError

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        raise NotImplementedError

    async def models(self) -> Sequence[ModelInfo]:
        return []

    async def health(self) -> Health:
        self.looks += 1
        if self.hangs:
            await asyncio.Event().wait()
        return self.health_now


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass
class Daemon:
    """A running server, and what it stands on."""

    url: str
    runs: MemoryRuns
    tokens: MemoryTokens
    provider: PlayedProvider
    session: aiohttp.ClientSession
    runner: web.AppRunner
    store_works: bool = True
    is_stopping: bool = False

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """Make one request, under a guard of 10 seconds."""
        more.setdefault("allow_redirects", False)
        async with (
            asyncio.timeout(10),
            self.session.request(method, self.url + path, **more) as response,
        ):
            text = await response.text()
            value = (
                await response.json(content_type=None) if "json" in response.content_type else None
            )
            return Answer(response.status, response.headers, text, value)

    async def raw(self, data: bytes, *, until: bytes | None = None) -> bytes:
        """Send bytes over a connection of their own, and read until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(10):
                writer.write(data)
                await writer.drain()
                return await (reader.read() if until is None else reader.readuntil(until))
        finally:
            writer.close()


Serve = Callable[..., Awaitable[Daemon]]


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Daemon]:
    runs = MemoryRuns()
    tokens = MemoryTokens()
    provider = PlayedProvider()
    state: list[Daemon] = []

    async def check_store() -> bool:
        return state[0].store_works

    async def count_by_status() -> Mapping[RunStatus, int]:
        counts: dict[RunStatus, int] = {}
        for detail in runs.details.values():
            counts[detail.run.status] = counts.get(detail.run.status, 0) + 1
        return counts

    services = Services(
        runs=runs,
        tokens=tokens,
        sessions=NoSessions(),
        provider=provider,
        settings=replace(Settings(), server=server),
        clock=SystemClock(),
        version="0.0.test",
        started_at=datetime.now(UTC),
        check_store=check_store,
        count_by_status=count_by_status,
        is_stopping=lambda: state[0].is_stopping,
        load_failures=[LoadFailure("broken.py", "SyntaxError: invalid syntax", "Traceback …")],
    )
    runner = web.AppRunner(make_application(services), access_log=None, lingering_time=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    # Tests may send addresses as they are, percent signs included.
    async with aiohttp.ClientSession(requote_redirect_url=False) as session:
        daemon = Daemon(
            url=f"http://127.0.0.1:{port}",
            runs=runs,
            tokens=tokens,
            provider=provider,
            session=session,
            runner=runner,
        )
        state.append(daemon)
        try:
            yield daemon
        finally:
            await runner.cleanup()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers with the settings of the test's choice."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Daemon:
            settings.setdefault("sync_wait_s", 5.0)
            return await stack.enter_async_context(serving(Server(**settings)))

        yield start


@pytest.fixture
async def daemon(serve: Serve) -> Daemon:
    """Start a server on loopback with the default settings."""
    return await serve()
