"""A store and an engine on a temporary folder, that can be closed and opened again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.domain.run import RunStatus
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.engine.runs import StartRequest
from agency.ports.store import RunDetail
from agency.storage.sqlite.store import SqliteStore, open_store

GUARD_S = 5.0
SETTINGS = EngineSettings(linger_s=0.0, resource_poll_s=0.1, memory_delay_s=0.05)


class House:
    """One daemon's engine over one database file."""

    def __init__(self, engine: Engine, store: SqliteStore) -> None:
        self.engine = engine
        self.store = store
        self.runs = engine.runs

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

    async def until(self, run_id: str, is_so: Callable[[RunDetail], bool]) -> RunDetail:
        async with asyncio.timeout(GUARD_S):
            while True:
                detail = await self.runs.get(run_id)
                if is_so(detail):
                    return detail
                await self.runs.watch(run_id, timeout_s=0.2)


@asynccontextmanager
async def open_house(
    path: Path,
    *functions: Callable[..., Any],
    health: Mapping[str, Callable[[], Any]] | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    registry = Registry()
    for function in functions:
        registry.add_function(function)
    async with (
        open_store(
            path / "agency.db", settings=StoreSettings(free_bytes_min=0), clock=SystemClock()
        ) as store,
        Engine(
            store=store,
            registry=registry,
            clock=SystemClock(),
            settings=replace(SETTINGS, **settings),
            boot_id=new_id(),
            health=health,
        ) as engine,
    ):
        yield House(engine, store)
