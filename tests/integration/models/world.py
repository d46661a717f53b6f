"""A real engine and store over a fake Ollama, with the built-in workflows about models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Llm
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.domain.run import Run
from agency.engine.engine import Engine
from agency.engine.registry import load_registry
from agency.engine.runs import StartRequest
from agency.models.ollama.provider import open_ollama
from agency.models.rehearsal import RehearsalProvider
from agency.models.roles import Models
from agency.ports.model import Provider, Role
from agency.storage.sqlite.store import SqliteStore, open_store
from agency.workflows.models.check import ModelCheck
from agency.workflows.models.pull import ModelPull
from tests.databases import database_at
from tests.fake_ollama import FakeOllama

GUARD_S = 20.0


@dataclass(frozen=True)
class World:
    """What is open."""

    engine: Engine
    store: SqliteStore
    models: Models

    async def start(self, workflow: str, **value: Any) -> str:
        started = await self.engine.runs.start(StartRequest(workflow=workflow, input=value))
        return started.run.id

    async def end(self, run_id: str) -> Run:
        async with asyncio.timeout(GUARD_S):
            detail = await self.engine.runs.wait(run_id, timeout_s=GUARD_S)
        return detail.run

    async def run(self, workflow: str, **value: Any) -> Run:
        return await self.end(await self.start(workflow, **value))


@asynccontextmanager
async def opened(
    folder: Path,
    fake: FakeOllama,
    *,
    more: Sequence[Provider] = (),
    roles: Mapping[Role, Sequence[str]] | None = None,
    **llm: Any,
) -> AsyncIterator[World]:
    """Open the world; opened again on the same folder it goes on where it was."""
    settings = Llm(**{"base_url": fake.url, **llm})
    async with AsyncExitStack() as stack:
        opening = open_store(
            database_at(folder / "agency.db"),
            settings=StoreSettings(free_bytes_min=0),
            clock=SystemClock(),
        )
        store = await stack.enter_async_context(opening)
        ollama = await stack.enter_async_context(open_ollama(settings))
        providers: dict[str, Provider] = {one.name: one for one in (ollama, *more)}
        models = Models(
            providers,
            default="ollama",
            model=settings.model,
            roles=roles,
            fitness=store.fitness,
        )
        pull = ModelPull(models, providers).definition()
        check = ModelCheck(models, providers, store.fitness).definition()
        engine = Engine(
            store=store,
            registry=load_registry([], built_in=[pull, check]),
            clock=SystemClock(),
            settings=EngineSettings(memory_delay_s=0.05, resource_poll_s=0.1),
            boot_id=new_id(),
            health={one.resource: _look(one) for one in providers.values()},
        )
        await stack.enter_async_context(engine)
        yield World(engine, store, models)


def rehearsal() -> RehearsalProvider:
    return RehearsalProvider(Llm(provider="rehearsal"))


def _look(provider: Provider) -> Any:
    async def is_reachable() -> bool:
        return (await provider.health()).reachable

    return is_reachable
