"""A real server on a real socket, over a real engine and a database file."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agency.a2a.envelope.door import make_desk_door
from agency.api.application import make_application
from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Memory as MemorySettings
from agency.config.schema import Publish, Server, Settings
from agency.config.schema import Queue as QueueSettings
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.daemon import listener
from agency.domain.message import Message
from agency.domain.principal import Token
from agency.domain.run import Run
from agency.engine.definition import Definition, make_definition
from agency.engine.engine import Engine
from agency.engine.peers import Peers
from agency.engine.queues import Queues
from agency.engine.registry import LoadFailure, load_registry
from agency.engine.runs import Runs
from agency.files.workspaces import FileWorkspaces, open_workspaces
from agency.memory.memories import Memories
from agency.models.roles import Models
from agency.ports.store import RunFilter, SessionStore, TokenStore
from agency.storage.sqlite.store import open_store
from agency.tools.mcp.connections import McpConnections
from agency.tools.mcp.means import Means
from agency.tools.sandbox.sandbox import make_sandbox
from agency.tools.toolsets import ToolsetRegistry
from agency.vault.opening import open_vault
from agency.web.published import Publication
from agency.web.services import Services
from agency.workflows.agent.agent import Agent
from agency.workflows.agent.catalogue import Catalogue
from agency.workflows.memory.notebook_add import NotebookAdd
from agency.workflows.memory.reembed import MemoryReembed
from agency.workflows.models.check import ModelCheck
from agency.workflows.models.pull import ModelPull
from agency.workflows.saga.sagas import Sagas
from tests.databases import database_at
from tests.integration.api.played import WORKFLOWS, PlayedProvider


class CountedTokens:
    """A token store around a token store that counts how often the list is read."""

    def __init__(self, inner: TokenStore) -> None:
        self._inner = inner
        self.reads = 0

    async def add(self, token: Token) -> None:
        await self._inner.add(token)

    async def list(self) -> Sequence[Token]:
        self.reads += 1
        return await self._inner.list()

    async def revoke(self, name: str, *, now: datetime) -> None:
        await self._inner.revoke(name, now=now)


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
    runs: Runs
    sessions: SessionStore
    queues: Queues
    tokens: CountedTokens
    provider: PlayedProvider
    session: aiohttp.ClientSession
    doors: AsyncExitStack
    workspaces: FileWorkspaces
    store_works: bool = True
    has_bug: bool = False
    is_stopping: bool = False

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    async def messages(self, session_id: str) -> Sequence[Message]:
        return await self.sessions.messages(session_id, limit=100)

    async def all_runs(self) -> Sequence[Run]:
        return await self.runs.list(RunFilter(), before=None, limit=500)

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """Make one request, under a guard of 10 seconds."""
        more.setdefault("allow_redirects", False)
        async with (
            asyncio.timeout(10),
            self.session.request(method, self.url + path, **more) as response,
        ):
            text = await response.text()
            is_json = response.content_type.endswith(("/json", "+json")) and text != ""
            value = json.loads(text) if is_json else None
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
async def serving(
    folder: Path,
    server: Server,
    *,
    free_bytes_min: int = 0,
    queues: Mapping[str, QueueSettings] | None = None,
    memory: Mapping[str, Any] | None = None,
    allowed_peers: Sequence[str] = ("*",),
) -> AsyncIterator[Daemon]:
    """Serve from a database in ``folder`` until the end of the block."""
    settings = replace(
        Settings(),
        server=replace(server, data_dir=str(folder)),
        memory=MemorySettings(**(memory or {})),
        store=StoreSettings(free_bytes_min=free_bytes_min),
        engine=EngineSettings(memory_delay_s=0.05, resource_poll_s=0.1),
    )
    clock = SystemClock()
    provider = PlayedProvider()
    models = Models({provider.name: provider}, default=provider.name, model=settings.llm.model)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(database_at(folder / "agency.db"), settings=settings.store, clock=clock)
        )
        vault = await open_vault(settings, clock, store=store.secrets)
        memories = Memories(
            settings.memory,
            clock,
            core=store.core,
            passages=store.passages,
            notebooks=store.notebooks,
            roles=models,
            redact=vault.redact,
        )
        workspaces = await stack.enter_async_context(
            open_workspaces(folder, versions=store.versions, bytes_max=1 << 24, files_max=1000)
        )
        agent = Agent(
            providers={provider.name: provider},
            default=provider.name,
            settings=settings.llm,
            sessions=store.sessions,
            agents={"default": AgentSettings(), "writer": AgentSettings(tools=["todo"], turns=3)},
            workspaces=workspaces.of,
        )
        pull = ModelPull(models, models.providers).definition()
        check = ModelCheck(models, models.providers, store.fitness).definition()
        remembering = (NotebookAdd(memories).definition(), MemoryReembed(memories).definition())
        registry = load_registry([], built_in=[agent.definition(), pull, check, *remembering])
        for definition in _definitions():
            registry.add(definition)

        async def embeds() -> bool:
            return provider.health_now.reachable and provider.embedding_error is None

        engine = await stack.enter_async_context(
            Engine(
                store=store,
                registry=registry,
                clock=clock,
                settings=settings.engine,
                queues=queues,
                boot_id=new_id(),
                health={provider.resource: embeds},
            )
        )
        tokens = CountedTokens(store.tokens)
        connections = McpConnections(
            Means(
                clock=clock,
                store=store.connections,
                vault=vault,
                sandbox=make_sandbox(settings, scratch=folder / "scratch"),
                # Nothing is found there: what requests name here is never run.
                environ={"PATH": "/nonexistent"},
                folder=folder / "mcp",
                private=[],
                own_port=0,
                own_hosts=frozenset(),
                timeout_s=5.0,
                connect_timeout_s=5.0,
                concurrency=2,
            ),
            {},
            ToolsetRegistry(),
        )
        await stack.enter_async_context(connections.opened())
        connections.begin()
        state: list[Daemon] = []

        async def check_store() -> bool:
            if state[0].has_bug:
                raise ZeroDivisionError("a bug")
            return state[0].store_works and await store.check(timeout_s=2.0)

        application = make_application(
            Services(
                runs=engine.runs,
                queues=engine.queues,
                lineage=engine.lineage,
                dead_letters=engine.dead_letters,
                transfers=engine.transfers,
                schedules=engine.schedules,
                retention=engine.retention,
                sagas=Sagas(
                    runs=engine.runs,
                    registry=registry,
                    definitions=store.definitions,
                    journal=store.journal,
                    clock=clock,
                ),
                updates=engine.updates,
                approvals=engine.approvals,
                topics=engine.topics,
                tokens=tokens,
                sessions=store.sessions,
                vault=vault,
                memory=memories,
                provider=provider,
                providers=models.providers,
                roles=models,
                fitness=store.fitness,
                tasks=store.tasks,
                pushes=store.pushes,
                peers=Peers(store.peers, clock, allowed=allowed_peers),
                settings=settings,
                clock=clock,
                version="0.0.test",
                started_at=clock.now(),
                check_store=check_store,
                count_by_status=store.runs.count_by_status,
                is_stopping=lambda: state[0].is_stopping,
                workspaces=workspaces,
                connections=connections,
                agents=Catalogue(agent.means),
                load_failures=[LoadFailure("broken.py", "SyntaxError: invalid syntax", "…")],
            ),
            [make_desk_door(Publication(Publish(), engine.runs, Catalogue(agent.means)))],
        )
        sockets = await listener.bind("127.0.0.1", 0)
        doors = await stack.enter_async_context(AsyncExitStack())
        await doors.enter_async_context(
            listener.serving(application, sockets, connections_max=server.connections_max)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        state.append(
            Daemon(
                url=listener.address_of("127.0.0.1", sockets),
                runs=engine.runs,
                sessions=store.sessions,
                queues=engine.queues,
                tokens=tokens,
                provider=provider,
                session=session,
                doors=doors,
                workspaces=workspaces,
            )
        )
        yield state[0]


@functools.cache
def _definitions() -> list[Definition]:
    """Read the workflows once: their types and their hashes stay what they are."""
    return [make_definition(function) for function in WORKFLOWS]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start servers with the settings of the test's choice."""
    async with AsyncExitStack() as stack:
        count = 0

        async def start(
            *,
            free_bytes_min: int = 0,
            queues: Mapping[str, QueueSettings] | None = None,
            memory: Mapping[str, Any] | None = None,
            allowed_peers: Sequence[str] = ("*",),
            **settings: Any,
        ) -> Daemon:
            nonlocal count
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            settings.setdefault("sync_wait_s", 5.0)
            return await stack.enter_async_context(
                serving(
                    folder,
                    Server(**settings),
                    free_bytes_min=free_bytes_min,
                    queues=queues,
                    memory=memory,
                    allowed_peers=allowed_peers,
                )
            )

        yield start


@pytest.fixture
async def daemon(serve: Serve) -> Daemon:
    """Start a server on loopback with the default settings."""
    return await serve()
