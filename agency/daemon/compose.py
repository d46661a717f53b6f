"""The only place that knows which adapter is behind which port.

Heavy modules are imported inside the functions, in the order in which the daemon needs them, so
that nothing is loaded for `--version`, `--check` or a start that is refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agency.config.places import database_path
from agency.config.schema import Settings
from agency.core.clock import Clock, SystemClock
from agency.core.lifetimes import running
from agency.core.records import dataclass
from agency.errors import ConfigurationInvalid, PlaceNotWritable
from agency.version import VERSION

if TYPE_CHECKING:
    from aiohttp import web

    from agency.engine.definition import Definition
    from agency.engine.engine import Engine
    from agency.engine.registry import Registry
    from agency.files.workspaces import FileWorkspaces
    from agency.memory.memories import Memories
    from agency.models.roles import Models
    from agency.ports.model import Provider
    from agency.ports.remote import RemoteAgents
    from agency.ports.sandbox import Sandbox
    from agency.ports.updates import UpdateStore
    from agency.ports.vault import Secrets, Vault
    from agency.storage.sqlite.store import SqliteStore
    from agency.tools.direct import DirectCalls
    from agency.tools.mcp.connections import McpConnections
    from agency.tools.toolsets import ToolsetRegistry
    from agency.web.published import Publication
    from agency.web.routes import Door
    from agency.web.services import Services
    from agency.workflows.agent.agent import Agent

log = logging.getLogger(__name__)

PROBE_DELAY_S = 2.0
"""The sandbox is probed so long after the start, if nothing has needed it before."""

PROBE_GRACE_S = 5.0
"""Longest wait for a probe that is at work when the daemon stops."""

STORE_CHECK_S = 2.0
"""Longest wait for the database in a health check; a slower one counts as failed."""


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock) -> AsyncIterator[SqliteStore]:
    """Open the database; its folder and the data directory are locked for this process.

    Raises:
        DataDirectoryLocked: another process has one of them.
        PlaceNotWritable: a file there cannot be opened.
        AgencyError: as `agency.storage.sqlite.store.open_store`.
    """
    from agency.storage.sqlite.place import locked
    from agency.storage.sqlite.store import open_store as open_sqlite

    data_dir, database = Path(settings.server.data_dir), database_path(settings.store.url)
    async with AsyncExitStack() as stack:
        # Usually one and the same, and then the store locks it.
        if not _is_same(database.parent, data_dir):
            stack.enter_context(locked(data_dir))
        opening = open_sqlite(database, settings=settings.store, clock=clock)
        try:
            store = await stack.enter_async_context(opening)
        except OSError as error:
            # Most often a file that is left from a start as another user.
            place = str(error.filename or database)
            raise PlaceNotWritable(place, error.strerror or str(error)) from error
        yield store


@asynccontextmanager
async def probed_later(probe: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Probe something beside the body, once the start is over."""

    async def serve(stop: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_DELAY_S):
                await stop.wait()
        if not stop.is_set():
            await probe()

    def failed(error: BaseException) -> None:
        log.error("probe failed", extra={"error": repr(error)})

    async with running(serve, name="probe", grace_s=PROBE_GRACE_S, on_failure=failed):
        yield


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


@asynccontextmanager
async def open_sandbox(settings: Settings, *, configuration: Path | None) -> AsyncIterator[Sandbox]:
    """Open the sandbox that commands of tools run in; it is probed when the daemon has started.

    Raises:
        ConfigurationInvalid, SandboxTooWeak: as `agency.tools.sandbox.sandbox.open_sandbox`.
    """
    from agency.tools.sandbox.sandbox import open_sandbox as open_chosen

    hidden = () if configuration is None else (configuration,)
    async with open_chosen(settings, hidden=hidden) as sandbox, probed_later(sandbox.ready):
        yield sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Tooling:
    """What tools work with, opened together."""

    toolsets: ToolsetRegistry
    workspaces: FileWorkspaces
    calls: DirectCalls
    remote_agents: RemoteAgents


@asynccontextmanager
async def open_tooling(
    settings: Settings, *, store: SqliteStore, sandbox: Sandbox, vault: Secrets
) -> AsyncIterator[Tooling]:
    """Open the files of runs and the tools of our own; commands that still run are ended at last.

    Raises:
        ConfigurationInvalid: an entry of ``[tools] fetch_allow`` is no host.
    """
    from agency.files.workspaces import open_workspaces
    from agency.tools.background import open_background
    from agency.tools.direct import DirectCalls
    from agency.tools.toolsets import open_tools

    async with AsyncExitStack() as stack:
        background = await stack.enter_async_context(open_background(store.versions.is_live))
        opening_files = open_workspaces(
            Path(settings.server.data_dir),
            versions=store.versions,
            bytes_max=settings.tools.workspace_bytes_max,
            files_max=settings.tools.workspace_files_max,
            is_busy=background.is_busy,
        )
        workspaces = await stack.enter_async_context(opening_files)
        opening_tools = open_tools(settings.tools, sandbox=sandbox, background=background)
        toolsets = await stack.enter_async_context(opening_tools)
        calls = DirectCalls(toolsets, workspaces, allow=settings.tools.legs_allow)
        yield Tooling(
            toolsets=toolsets,
            workspaces=workspaces,
            calls=calls,
            remote_agents=make_remote_agents(settings, vault=vault, toolsets=toolsets),
        )


def make_connections(
    settings: Settings,
    clock: Clock,
    *,
    store: SqliteStore,
    vault: Secrets,
    sandbox: Sandbox,
    tooling: Tooling,
    own_port: int,
) -> McpConnections:
    """Make the connections to servers of tools; they are opened when the doors are.

    Raises:
        ConfigurationInvalid: an entry of ``[mcp] allow_private`` is no host.
    """
    from agency.config.connections import setups_of
    from agency.core.addresses import parse_rule
    from agency.tools.mcp.connections import McpConnections
    from agency.tools.mcp.means import Means

    try:
        private = [parse_rule(one) for one in settings.mcp.allow_private]
    except ValueError as error:
        raise ConfigurationInvalid(f"[mcp] allow_private: {error}") from error
    means = Means(
        clock=clock,
        store=store.connections,
        vault=vault,
        sandbox=sandbox,
        environ=dict(os.environ),
        folder=Path(settings.server.data_dir) / "mcp",
        private=private,
        own_port=own_port,
        own_hosts=frozenset({settings.server.host, *settings.server.allowed_hosts}),
        timeout_s=settings.mcp.timeout_seconds,
        connect_timeout_s=settings.mcp.connect_timeout_s,
        concurrency=settings.mcp.concurrency,
        login_url=settings.mcp.login_url,
    )
    connections = McpConnections(means, setups_of(settings), tooling.toolsets)
    vault.add_usage(connections.secret_usage)
    return connections


async def open_vault(settings: Settings, clock: Clock, *, store: SqliteStore) -> Secrets:
    """Open the secrets; without their key they are there, and locked."""
    from agency.vault.opening import open_vault as open_stored

    vault = await open_stored(settings, clock, store=store.secrets)

    async def in_settings() -> Mapping[str, Sequence[str]]:
        used: dict[str, list[str]] = {}
        for place, name in vault.references(asdict(settings)).items():
            setting = place.partition("#")[0].strip("/").replace("/", ".")
            used.setdefault(f"setting {setting}", []).append(name)
        return used

    vault.add_usage(in_settings)
    return vault


def open_models(
    settings: Settings, *, store: SqliteStore, vault: Secrets
) -> AbstractAsyncContextManager[Models]:
    """Open all model servers; ``[llm] provider`` says which one serves what names none."""
    from agency.models.opening import open_models as open_described
    from agency.models.opening import secret_usage

    vault.add_usage(secret_usage(settings))
    return open_described(settings, vault=vault, fitness=store.fitness)


def make_memories(
    settings: Settings,
    clock: Clock,
    *,
    store: SqliteStore,
    models: Models,
    vault: Vault,
    tooling: Tooling,
) -> Memories:
    """Make the memory of agents, and offer them the tools for it."""
    from agency.memory.memories import Memories
    from agency.tools.memory import NAME, memory_tools
    from agency.tools.toolsets import OwnToolset

    memories = Memories(
        settings.memory,
        clock,
        core=store.core,
        passages=store.passages,
        notebooks=store.notebooks,
        roles=models,
        redact=vault.redact,
    )
    if settings.memory.tools:
        tooling.toolsets.add(OwnToolset(NAME, memory_tools(memories)))
    return memories


def make_remote_agents(
    settings: Settings, *, vault: Secrets, toolsets: ToolsetRegistry
) -> RemoteAgents:
    """Make the agents of other systems that may be called, and offer ours those with a name."""
    from agency.tools.a2a.agents import A2aAgents

    agents = A2aAgents(
        settings.a2a_agents, settings.a2a.allowed_agents, clock=SystemClock(), vault=vault
    )
    if agents.setups():
        from agency.workflows.remote.tool import RemoteToolset

        toolsets.add(RemoteToolset(agents))
    return agents


def make_agent(
    settings: Settings,
    *,
    store: SqliteStore,
    models: Models,
    vault: Vault,
    sandbox: Sandbox,
    tooling: Tooling,
    memories: Memories,
) -> Agent:
    """Make the agents of ``[agents.NAME]`` over everything that they work with."""
    from agency.workflows.agent.agent import Agent

    return Agent(
        providers=models.providers,
        default=models.default.name,
        roles=models,
        settings=settings.llm,
        sessions=store.sessions,
        agents=settings.agents,
        toolsets=tooling.toolsets,
        workspaces=tooling.workspaces.of,
        redact=vault.redact,
        core_memory=memories.core_of,
        levels=lambda: sandbox.levels,
        sees=bool(settings.roles.vision),
    )


def log_misnamed_tools(settings: Settings, tooling: Tooling) -> None:
    """Warn of names in ``[agents.NAME]`` that mean no tool; servers may yet bring some."""
    from agency.workflows.agent.misnamed import misnamed_tools

    for said in misnamed_tools(settings.agents, tooling.toolsets.names()):
        log.warning("%s", said)


def load_workflows(
    settings: Settings,
    *,
    store: SqliteStore,
    models: Models,
    agent: Agent,
    memories: Memories,
    tooling: Tooling,
) -> Registry:
    """Load the built-in workflows and the authors' files."""
    from agency.engine.registry import load_registry
    from agency.workflows.saga.stored import read_declared

    built_in = [
        agent.definition(),
        *model_workflows(models, store),
        *memory_workflows(memories),
        remote_workflow(settings, tooling.remote_agents),
    ]
    return load_registry(settings.workflows.paths, built_in=built_in, read_declared=read_declared)


def remote_workflow(settings: Settings, agents: RemoteAgents) -> Definition:
    """Make the built-in workflow that calls agents of other systems."""
    from agency.workflows.remote.call_agent import CallAgent

    return CallAgent(agents, hops_max=settings.a2a.hops_max).definition()


def model_workflows(models: Models, store: SqliteStore) -> Sequence[Definition]:
    """Make the built-in workflows about models."""
    from agency.workflows.models.check import ModelCheck
    from agency.workflows.models.pull import ModelPull

    return (
        ModelPull(models, models.providers).definition(),
        ModelCheck(models, models.providers, store.fitness).definition(),
    )


def memory_workflows(memories: Memories) -> Sequence[Definition]:
    """Make the built-in workflows about memory."""
    from agency.workflows.memory.notebook_add import NotebookAdd
    from agency.workflows.memory.reembed import MemoryReembed

    return (NotebookAdd(memories).definition(), MemoryReembed(memories).definition())


async def load_stored(registry: Registry, clock: Clock, *, store: SqliteStore) -> None:
    """Register the workflows that are stored; before the engine begins to claim runs."""
    from agency.workflows.saga.stored import load_stored as load

    await load(registry, store.definitions, clock=clock)


def open_engine(
    settings: Settings,
    clock: Clock,
    *,
    store: SqliteStore,
    registry: Registry,
    models: Models,
    boot_id: str,
    tooling: Tooling | None = None,
) -> AbstractAsyncContextManager[Engine]:
    """Make the engine; it recovers what an earlier daemon left and begins to work when entered."""
    from agency.engine.engine import Engine

    def look_at(provider: Provider) -> Callable[[], Awaitable[bool]]:
        async def is_reachable() -> bool:
            return (await provider.health()).reachable

        return is_reachable

    return Engine(
        store=store,
        registry=registry,
        clock=clock,
        settings=settings.engine,
        queues=settings.queues,
        retention=settings.retention,
        boot_id=boot_id,
        # Runs that wait for the model server are woken when it answers again.
        health={one.resource: look_at(one) for one in models.providers.values()},
        files=None if tooling is None else tooling.workspaces,
    )


def make_application(  # noqa: PLR0913  one for each thing below the doors
    settings: Settings,
    clock: Clock,
    *,
    store: SqliteStore,
    engine: Engine,
    registry: Registry,
    models: Models,
    vault: Secrets,
    memories: Memories,
    started_at: datetime,
    is_stopping: Callable[[], bool],
    sandbox: Sandbox | None = None,
    tooling: Tooling | None = None,
    agent: Agent | None = None,
    connections: McpConnections | None = None,
) -> web.Application:
    """Make the doors over everything below."""
    from agency.api.application import make_application as make_doors
    from agency.engine.peers import Peers
    from agency.web.services import Services
    from agency.workflows.agent.catalogue import Catalogue
    from agency.workflows.saga.sagas import Sagas

    async def check_store() -> bool:
        return await store.check(timeout_s=STORE_CHECK_S)

    services = Services(
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
        tokens=store.tokens,
        sessions=store.sessions,
        vault=vault,
        memory=memories,
        provider=models.default,
        providers=models.providers,
        roles=models,
        fitness=store.fitness,
        tasks=store.tasks,
        pushes=store.pushes,
        peers=Peers(store.peers, clock, allowed=settings.a2a.allowed_peers),
        settings=settings,
        clock=clock,
        version=VERSION,
        started_at=started_at,
        check_store=check_store,
        count_by_status=store.runs.count_by_status,
        is_stopping=is_stopping,
        has_room=store.has_room,
        load_failures=registry.failures,
        sandbox=sandbox,
        workspaces=None if tooling is None else tooling.workspaces,
        connections=connections,
        agents=None if agent is None else Catalogue(agent.means),
        remote_agents=None if tooling is None else tooling.remote_agents,
    )
    return make_doors(services, doors_of(settings, services, registry, store.updates))


def doors_of(
    settings: Settings, services: Services, registry: Registry, updates: UpdateStore
) -> Sequence[Door]:
    """Make the doors beside the API.

    Raises:
        ConfigurationInvalid: a setting of theirs cannot be used.
    """
    from agency.web.published import Publication

    publication = Publication(settings.publish, services.runs, services.agents)
    doors: list[Door] = []
    if settings.mcp.serve:
        doors.append(mcp_door(settings, publication, registry))
    if settings.a2a.enabled:
        doors += a2a_doors(settings, services, publication, updates)
    else:
        doors.append(silent_door(services))
    return doors


def silent_door(services: Services) -> Door:
    """Make what sees to it that nothing waits for notifications that nobody will send."""
    from agency.a2a.push.opening import make_silent

    return make_silent(services.pushes)


def a2a_doors(
    settings: Settings, services: Services, publication: Publication, updates: UpdateStore
) -> Sequence[Door]:
    """Make the door for A2A clients; its SDK is loaded when the first of them comes."""
    from agency.a2a.door import make_door
    from agency.a2a.envelope.door import make_desk_door

    desk = make_desk_door(publication)
    from agency.a2a.push.opening import make_pushed, make_silent

    if not settings.a2a.push:
        return (desk, make_door(publication), make_silent(services.pushes))
    pushed = make_pushed(settings.a2a, services, updates)
    return (desk, make_door(publication, pushing=pushed.make), pushed.door)


def mcp_door(settings: Settings, publication: Publication, registry: Registry) -> Door:
    """Make the door for MCP clients; its SDK is loaded when the first of them comes."""
    from agency.mcp.door import McpDoor
    from agency.vault.own_keys import load_own_key

    key_file = Path(settings.server.data_dir) / "mcp.key"
    return McpDoor(
        publication=publication,
        offers=registry.offers,
        load_key=lambda: load_own_key(key_file),
    ).door()
