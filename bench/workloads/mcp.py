"""A call of a tool over stdio: what the owner adds to the bare SDK."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

from agency.config.schema import Server, Settings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.domain.connection import ConnectionSetup
from agency.domain.tool import ToolOutput
from agency.ports.tool import Tool, ToolContext
from agency.storage.sqlite.store import open_store
from agency.tools.mcp.connections import McpConnections
from agency.tools.mcp.means import Means
from agency.tools.sandbox.sandbox import make_sandbox
from agency.tools.toolsets import ToolsetRegistry
from agency.vault.opening import open_vault
from bench import mcp_server
from bench.contender import Laboratory
from bench.report import Outcome, Table, Target

ROUNDS = 500
TARGET_MS = 2.0
SERVER = str(Path(mcp_server.__file__))
ARGUMENTS = {"text": "hello"}

NAMES = {"bare": "a connection", "sandboxed": "a connection, sandboxed"}

_Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What calls have taken, in milliseconds, in the order in which they were made."""

    elapsed_ms: Sequence[float]
    processor_ms: Sequence[float]


def measure(laboratory: Laboratory) -> Outcome:
    """Call the same tool by the SDK alone, and through connections in the sandbox and outside."""
    rounds = 50 if laboratory.is_quick else ROUNDS
    outcome = Outcome(name="mcp")
    taken = asyncio.run(_measure(laboratory, laboratory.places[-1].folder / "mcp", rounds))
    outcome.tables.append(
        Table(
            title=f"a call of a tool over stdio · {rounds} rounds, taking turns",
            columns=("", "least", "median", "p90", "our processor, median"),
            rows=[[name, *_figures(one)] for name, one in taken.items()],
        )
    )
    bare = taken["the SDK alone"].elapsed_ms
    for name in NAMES.values():
        found = taken.get(name)
        # Of pairs that followed one another: a machine that others use, too, is slow in spells.
        added = (
            None if found is None else [a - b for a, b in zip(found.elapsed_ms, bare, strict=True)]
        )
        outcome.targets.append(
            Target(
                name=f"{name} adds to the bare SDK, median",
                limit=TARGET_MS,
                attained=None if added is None else statistics.median(added),
                unit="ms",
            )
        )
    return outcome


async def _measure(laboratory: Laboratory, folder: Path, rounds: int) -> dict[str, Taken]:
    folder.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        bare = StdioServerParameters(command=sys.executable, args=[SERVER])
        client = await stack.enter_async_context(Client(bare, cache=None))
        await client.list_tools()
        sources = await stack.enter_async_context(_open(laboratory, folder))
        calls: dict[str, _Call] = {"the SDK alone": lambda: client.call_tool("echo", ARGUMENTS)}
        for source in sources.all():
            (tool,) = await source.tools()
            calls[NAMES[source.name]] = _called(tool)
        taken: dict[str, list[float]] = {name: [] for name in calls}
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            await call()
        for _ in range(rounds):
            for name, call in calls.items():
                started_s, processor_s = time.perf_counter(), time.process_time()
                await call()
                spent[name].append((time.process_time() - processor_s) * 1e3)
                taken[name].append((time.perf_counter() - started_s) * 1e3)
        return {name: Taken(taken[name], spent[name]) for name in calls}


def _called(tool: Tool) -> _Call:
    nowhere: Any = _Nowhere()

    async def call() -> None:
        context = ToolContext(
            run_id="run",
            agent="default",
            session_id=None,
            principal="owner",
            call_key=new_id(),
            workspace=nowhere,
            progress=lambda _: None,
        )
        output = await tool.call(ARGUMENTS, context)
        assert isinstance(output, ToolOutput)
        assert output.content == ARGUMENTS["text"]

    return call


class _Nowhere:
    """A workspace that nobody asks for."""

    async def folder(self) -> Path:
        raise NotImplementedError


@asynccontextmanager
async def _open(laboratory: Laboratory, folder: Path) -> AsyncIterator[ToolsetRegistry]:
    settings = Settings(server=Server(data_dir=str(folder)))
    clock = SystemClock()
    sandbox = make_sandbox(settings)
    await sandbox.ready()
    kinds = {"bare": False}
    if sandbox.choice.driver is None:
        laboratory.skipped["a sandboxed server of tools"] = sandbox.fix
    else:
        kinds["sandboxed"] = True
    configured = {
        name: (ConnectionSetup(command=sys.executable, args=[SERVER], sandbox=is_in), True)
        for name, is_in in kinds.items()
    }
    async with open_store(folder / "agency.db", settings=settings.store, clock=clock) as store:
        vault = await open_vault(settings, clock, store=store.secrets)
        means = Means(
            clock=clock,
            store=store.connections,
            vault=vault,
            sandbox=sandbox,
            environ=dict(os.environ),
            folder=folder / "mcp",
            private=[],
            own_port=0,
            own_hosts=frozenset(),
            timeout_s=30.0,
            connect_timeout_s=30.0,
            concurrency=8,
        )
        sources = ToolsetRegistry()
        connections = McpConnections(means, configured, sources)
        async with connections.opened():
            connections.begin()
            yield sources


def _figures(taken: Taken) -> list[str]:
    ordered = sorted(taken.elapsed_ms)
    picked = (
        ordered[0],
        statistics.median(ordered),
        ordered[len(ordered) * 9 // 10],
        statistics.median(taken.processor_ms),
    )
    return [f"{value:.2f} ms" for value in picked]
