"""Connections over a real store, a real vault and real servers; outside of the sandbox."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Settings
from agency.config.schema import Store as StoreSettings
from agency.core.addresses import parse_rule
from agency.core.clock import SystemClock
from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.domain.tool import Asks, ToolOutput
from agency.ports.tool import Tool, ToolContext
from agency.storage.sqlite.store import SqliteStore, open_store
from agency.tools.mcp.connections import McpConnections
from agency.tools.mcp.means import Means
from agency.tools.toolsets import ToolsetRegistry
from agency.vault.opening import open_vault
from agency.vault.vault import StoredVault
from tests.databases import database_at
from tests.mcp_servers import hostile

HOSTILE = Path(hostile.__file__)
GUARD_S = 30.0


class NoSandbox:
    """Stands where the sandbox would be; the tests here run outside of one, and say so."""

    name = "none"

    async def ready(self) -> None: ...


class Folder:
    """A workspace that is only a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def folder(self) -> Path:
        return self._path

    async def put(self, path: str, content: bytes) -> None:
        file = self._path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)


@dataclass
class World:
    """Connections, and what they stand on."""

    connections: McpConnections
    store: SqliteStore
    folder: Path
    sources: ToolsetRegistry
    vault: StoredVault
    lines: list[str] = field(default_factory=list)

    async def tool(self, full_name: str) -> Tool:
        for toolset in self.sources.all():
            if full_name.startswith(f"{toolset.name}__"):
                for tool in await toolset.tools():
                    if tool.spec.name == full_name:
                        return tool
        raise AssertionError(f"there is no {full_name}")

    async def call(
        self, full_name: str, arguments: Mapping[str, Any] | None = None, **context: Any
    ) -> ToolOutput | Asks:
        tool = await self.tool(full_name)
        return await tool.call(arguments or {}, self.context(**context))

    async def say(self, full_name: str, **arguments: Any) -> str:
        """Call a tool that does not ask, and give what it says."""
        output = await self.call(full_name, arguments)
        assert isinstance(output, ToolOutput)
        return output.content

    def context(self, **more: Any) -> ToolContext:
        told = {"call_key": "run-1/call-1", "answers": {}, "state": None, **more}
        workspace: Any = Folder(self.folder)
        return ToolContext(
            run_id="run-1",
            agent="default",
            session_id=None,
            principal="owner",
            workspace=workspace,
            progress=self.lines.append,
            **told,
        )

    async def reach(self, name: str, *states: ConnectionState) -> None:
        """Wait until a connection is in one of the states."""
        wanted = states or (ConnectionState.READY,)
        async with asyncio.timeout(GUARD_S):
            while self.connections.get(name).status.state not in wanted:
                await asyncio.sleep(0.01)


Opener = Callable[..., AbstractAsyncContextManager[World]]


def hostile_setup(*words: str, **more: Any) -> ConnectionSetup:
    """Make the setup of the hostile server."""
    told = {"sandbox": False, "timeout_s": 10.0, **more}
    return ConnectionSetup(command=sys.executable, args=[str(HOSTILE), *words], **told)


@pytest.fixture
def world_of(tmp_path: Path) -> Opener:
    """Opens connections; opened again they are those of the same database."""

    @asynccontextmanager
    async def open_world(
        configured: Mapping[str, ConnectionSetup] | None = None, **more: Any
    ) -> AsyncIterator[World]:
        clock = SystemClock()
        settings = Settings()
        stored = StoreSettings(free_bytes_min=0)
        async with open_store(
            database_at(tmp_path / "agency.db"), settings=stored, clock=clock
        ) as store:
            from dataclasses import replace

            server = replace(settings.server, data_dir=str(tmp_path))
            vault = await open_vault(replace(settings, server=server), clock, store=store.secrets)
            sandbox: Any = NoSandbox()
            means = {
                "clock": clock,
                "store": store.connections,
                "vault": vault,
                "sandbox": sandbox,
                "environ": dict(os.environ),
                "folder": tmp_path / "mcp",
                "private": [parse_rule("127.0.0.1")],
                "own_port": 0,
                "own_hosts": frozenset(),
                "timeout_s": 10.0,
                "connect_timeout_s": 15.0,
                "concurrency": 8,
                **more,
            }
            sources = ToolsetRegistry()
            described = {name: (setup, True) for name, setup in (configured or {}).items()}
            connections = McpConnections(Means(**means), described, sources)
            async with connections.opened():
                connections.begin()
                yield World(connections, store, tmp_path, sources, vault)

    return open_world


Wait = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def until() -> Wait:
    """Waits for something of the system that nobody tells."""

    async def wait(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not is_so():
                await asyncio.sleep(0.02)

    return wait
