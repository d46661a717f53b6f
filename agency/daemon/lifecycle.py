"""The life of the daemon: opened from the bottom to the top, closed in reverse.

Data directory and its lock, store, sockets, models, workflows, engine, doors, "ready". Each is a
context on one exit stack, so that whatever was opened is closed, also when a later one fails.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agency.config.connections import setups_of
from agency.config.load import Loaded
from agency.config.places import database_path
from agency.core.clock import SystemClock, monotonic_s
from agency.core.ids import new_id
from agency.core.records import dataclass
from agency.daemon import compose
from agency.daemon.announcement import announced
from agency.daemon.banner import Serving, log_serving, write_banner
from agency.daemon.detach import Report
from agency.daemon.listener import BACKLOG, address_of, bind, serving
from agency.daemon.phases import phase
from agency.daemon.place import make_data_directory, make_folder
from agency.daemon.reload import reload
from agency.daemon.signals import Signals
from agency.daemon.startup import collector_paused, preload_http
from agency.daemon.systemd import Notifier
from agency.errors import BindRefused, StoreBroken
from agency.telemetry.logs import Logs

if TYPE_CHECKING:
    from agency.engine.engine import Engine
    from agency.engine.registry import Registry
    from agency.ports.store import TokenStore
    from agency.tools.mcp.connections import McpConnections

log = logging.getLogger(__name__)

SPARE_DESCRIPTORS = 256 + BACKLOG
"""Open files beside connections: database, logs, calls to models, steps' own; and connections that
were accepted in one sweep, before those of the same sweep were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a daemon is started with.

    Attributes:
        load: Reads the configuration again, as it was read for ``loaded``.
        show: Shows a banner to whoever sits in front.
        started_s: When the process began, on the monotonic clock.
    """

    loaded: Loaded
    load: Callable[[], Loaded]
    logs: Logs
    notifier: Notifier
    report: Report
    show: Callable[[str], object]
    started_s: float


@dataclass(frozen=True, slots=True)
class _Opened:
    engine: Engine
    connections: McpConnections
    broken: asyncio.Event
    serving: Serving


async def serve(boot: Boot) -> None:
    """Open everything, serve until asked to stop, let runs come to rest, close everything.

    Raises:
        AgencyError: something cannot be opened, or the store broke.
    """
    signals = Signals()
    with signals.caught():
        async with AsyncExitStack() as stack:
            with collector_paused():
                opened = await _open(boot, stack, signals)
            if opened is None:
                log.info("asked to stop before it was ready")
                return
            log_serving(opened.serving)
            boot.show(write_banner(opened.serving))
            boot.notifier.ready(opened.serving.status)
            boot.report.ready()
            await _attend(boot, opened, signals)
            boot.notifier.stopping("Stopping: letting steps finish")
            await _drain(opened.engine, signals, grace_s=boot.loaded.settings.server.grace_s)
            boot.notifier.status("Stopping: closing")
    log.info("stopped")


async def _open(boot: Boot, stack: AsyncExitStack, signals: Signals) -> _Opened | None:
    """Open everything; None when the daemon was asked to stop meanwhile."""
    settings, clock = boot.loaded.settings, SystemClock()
    data_dir = Path(settings.server.data_dir)
    http = preload_http()
    stack.callback(http.join)
    make_data_directory(data_dir)
    make_folder(database_path(settings.store.url).parent)
    store = await stack.enter_async_context(phase("store", compose.open_store(settings, clock)))
    vault = await compose.open_vault(settings, clock, store=store)
    boot.logs.redact_with(vault.redact)
    http.join()
    await _refuse_open_door(boot.loaded, store.tokens)
    sockets = await bind(settings.server.host, settings.server.port)
    for bound in sockets:
        stack.enter_context(closing(bound))
    _raise_open_files(settings.server.connections_max)
    opening_models = compose.open_models(settings, store=store, vault=vault)
    models = await stack.enter_async_context(phase("models", opening_models))
    opening_sandbox = compose.open_sandbox(settings, configuration=boot.loaded.path)
    sandbox = await stack.enter_async_context(phase("sandbox", opening_sandbox))
    opening_tooling = compose.open_tooling(settings, store=store, sandbox=sandbox, vault=vault)
    tooling = await stack.enter_async_context(phase("tools", opening_tooling))
    connections = compose.make_connections(
        settings,
        clock,
        store=store,
        vault=vault,
        sandbox=sandbox,
        tooling=tooling,
        own_port=sockets[0].getsockname()[1],
    )
    await stack.enter_async_context(phase("connections", connections.opened()))
    memories = compose.make_memories(
        settings, clock, store=store, models=models, vault=vault, tooling=tooling
    )
    agent = compose.make_agent(
        settings,
        store=store,
        models=models,
        vault=vault,
        sandbox=sandbox,
        tooling=tooling,
        memories=memories,
    )
    registry = compose.load_workflows(
        settings,
        store=store,
        models=models,
        agent=agent,
        memories=memories,
        tooling=tooling,
    )
    await compose.load_stored(registry, clock, store=store)
    _switch(registry, boot.loaded)
    _log_failures(registry)
    compose.log_misnamed_tools(settings, tooling)
    if signals.stop.is_set():
        return None
    opening = compose.open_engine(
        settings,
        clock,
        store=store,
        registry=registry,
        models=models,
        boot_id=new_id(),
        tooling=tooling,
    )
    registry.tool_calls = tooling.calls
    engine = await stack.enter_async_context(phase("engine", opening))
    application = compose.make_application(
        settings,
        clock,
        store=store,
        engine=engine,
        registry=registry,
        models=models,
        vault=vault,
        memories=memories,
        started_at=clock.now(),
        is_stopping=signals.stop.is_set,
        sandbox=sandbox,
        tooling=tooling,
        agent=agent,
        connections=connections,
    )
    doors = serving(application, sockets, connections_max=settings.server.connections_max)
    await stack.enter_async_context(phase("doors", doors))
    url = address_of(settings.server.host, sockets)
    stack.enter_context(announced(data_dir, url))
    connections.begin()
    return _Opened(
        engine,
        connections,
        store.broken,
        Serving(
            url=url,
            configuration=str(boot.loaded.path or ""),
            data_dir=str(data_dir),
            database=str(database_path(settings.store.url)),
            provider=models.default.name,
            model=settings.llm.model,
            is_rehearsal=models.default.is_rehearsal,
            workflows=[definition.name for definition in registry],
            failures=[(failure.path, failure.reason) for failure in registry.failures],
            elapsed_s=monotonic_s() - boot.started_s,
        ),
    )


async def _refuse_open_door(loaded: Loaded, tokens: TokenStore) -> None:
    """Refuse to be reachable for others while nothing tells them from the owner.

    Raises:
        BindRefused: the address or the host names are open, and there is no token.
    """
    from agency.web.access import Access

    server = loaded.settings.server
    if not Access(server, tokens).needs_token or await tokens.list():
        return
    # The origin is told because HOST is a variable that some shells set by themselves.
    key = "allowed_hosts" if server.allowed_hosts else "host"
    origin = loaded.origins[f"server.{key}"]
    raise BindRefused(f"[server] {key} = {getattr(server, key)!r} ({origin})")


def _raise_open_files(connections_max: int) -> None:
    """Let the process have a file for each connection; shells often allow 1,024 only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + SPARE_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < wanted:
        log.warning(
            "fewer files may be open than [server] connections_max needs",
            extra={"allowed": soft, "wanted": wanted},
        )


def _switch(registry: Registry, loaded: Loaded) -> None:
    """Switch workflows off as ``[features]`` says, and tell what has no effect."""
    for name in registry.switch(loaded.settings.features):
        origin = str(loaded.origins[f"features.{name}"])
        log.warning("feature names no workflow", extra={"feature": name, "origin": origin})
    disabled = [one.name for one in registry if not registry.is_enabled(one.name)]
    if disabled:
        log.info("workflows are switched off", extra={"workflows": disabled})
    for variable, instead in loaded.ignored.items():
        told = {"variable": variable, "instead": instead}
        log.warning("environment variable has no effect", extra=told)


def _log_failures(registry: Registry) -> None:
    for failure in registry.failures:
        log.error(
            "workflows not loaded",
            extra={
                "path": failure.path,
                "reason": failure.reason,
                "traceback": failure.traceback,
            },
        )


async def _attend(boot: Boot, opened: _Opened, signals: Signals) -> None:
    """Serve until asked to stop; reload on the way.

    Raises:
        StoreBroken: what the disk holds is unknown; the next start finds out.
        BaseException: a loop of the engine has failed with it.
    """
    failed = opened.engine.failed
    while True:
        await _first(failed, signals.stop, signals.hangup, opened.broken)
        if opened.broken.is_set():
            raise StoreBroken("A commit or a sync of the database failed.")
        if failed.done():
            await failed
        if signals.stop.is_set():
            return
        signals.hangup.clear()
        boot.notifier.reloading()
        fresh = reload(boot.loaded, boot.load, boot.logs)
        if fresh is not None:
            await opened.connections.configure(setups_of(fresh.settings))
        boot.notifier.ready(opened.serving.status)


async def _first(failed: asyncio.Future[None], *events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    watched: list[asyncio.Future[Any]] = [failed, *waiting]
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def _drain(engine: Engine, signals: Signals, *, grace_s: float) -> None:
    started_s = monotonic_s()
    left: Sequence[str] = await engine.drain(grace_s=grace_s, hurry=signals.hurry)
    log.info(
        "drained",
        extra={
            "elapsed_s": round(monotonic_s() - started_s, 4),
            "put_back": len(left),
            "run_ids": list(left),
        },
    )
