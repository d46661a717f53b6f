"""A store and an engine on a temporary folder, that can be closed and opened again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from agency import Saga
from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Queue as QueueSettings
from agency.config.schema import Store as StoreSettings
from agency.core.clock import Clock, SystemClock
from agency.core.ids import new_id
from agency.domain.run import RunStatus
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.engine.runs import StartRequest
from agency.ports.store import RunDetail, Store
from agency.storage.sqlite.store import SqliteStore, open_store
from tests.databases import database_at

GUARD_S = 15.0
SETTINGS = EngineSettings(linger_s=0.0, resource_poll_s=0.1, memory_delay_s=0.05)


class House:
    """One daemon's engine over one database file."""

    def __init__(
        self, engine: Engine, store: SqliteStore, registry: Registry | None = None
    ) -> None:
        self.engine = engine
        self.registry = Registry() if registry is None else registry
        self.store = store
        self.runs = engine.runs
        self.queues = engine.queues

    async def start(self, workflow: str, value: Any = None, **more: Any) -> str:
        started = await self.runs.start(StartRequest(workflow=workflow, input=value, **more))
        return started.run.id

    async def run(self, workflow: str, value: Any = None, **more: Any) -> RunDetail:
        return await self.settled(await self.start(workflow, value, **more))

    async def settled(self, run_id: str) -> RunDetail:
        """Wait until the run has ended or waits for somebody."""
        return await self.runs.wait(run_id, timeout_s=GUARD_S)

    async def ended(self, run_id: str) -> RunDetail:
        return await self.until(
            run_id, lambda detail: detail.run.status not in {"pending", "running", "suspended"}
        )

    async def suspended(self, run_id: str) -> RunDetail:
        return await self.until(run_id, lambda detail: detail.run.status is RunStatus.SUSPENDED)

    async def keys(self, run_id: str) -> list[str]:
        """Keys of what is recorded of a run, in order."""
        return [entry.key for entry in await self.runs.entries(run_id, after=0, limit=10_000)]

    async def resume(self, run_id: str, value: Any = None, *, wait: str | None = None) -> None:
        """Answer a wait of a suspended run."""
        snapshot_id = (await self.suspended(run_id)).snapshot_id
        assert snapshot_id is not None
        await self.runs.resume(snapshot_id, wait=wait, input=value, has_input=value is not None)

    async def until(self, run_id: str, is_so: Callable[[RunDetail], bool]) -> RunDetail:
        async with asyncio.timeout(GUARD_S):
            while True:
                detail = await self.runs.get(run_id)
                if is_so(detail):
                    return detail
                await self.runs.watch(run_id, timeout_s=0.2)


class Between:
    """A store, or a room of it, with some of its parts put before its own."""

    def __init__(self, inner: object, **parts: Any) -> None:
        self._inner = inner
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        return self._parts.get(name) or getattr(self._inner, name)


def crashed(path: Path, to: Path) -> Path:
    """Copy what a kill would leave on the disk now into another folder."""
    to.mkdir()
    for file in path.glob("agency.db*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, to)
    return to


@asynccontextmanager
async def open_house(
    path: Path,
    *functions: Callable[..., Any] | Saga,
    health: Mapping[str, Callable[[], Any]] | None = None,
    clock: Clock | None = None,
    runs: Callable[[SqliteStore], Between] | None = None,
    queues: Mapping[str, QueueSettings] | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """Open an engine over the database in ``path``.

    Args:
        runs: Makes what stands between the engine and the store's room of runs.
        queues: Sections ``[queues.NAME]``.
    """
    clock = clock or SystemClock()
    registry = Registry()
    for function in functions:
        if isinstance(function, Saga):
            registry.add(function.definition())
        else:
            registry.add_function(function)
    async with (
        open_store(
            database_at(path / "agency.db"),
            settings=StoreSettings(free_bytes_min=0),
            clock=clock,
        ) as store,
        Engine(
            store=cast(Store, Between(store, runs=runs(store))) if runs is not None else store,
            registry=registry,
            clock=clock,
            settings=replace(SETTINGS, **settings),
            boot_id=new_id(),
            health=health,
            queues=queues,
        ) as engine,
    ):
        yield House(engine, store, registry)
