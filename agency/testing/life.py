"""One life of an engine over the database of a folder: opened, worked with, closed or killed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Llm
from agency.core.ids import new_id
from agency.domain.run import Run, RunStatus
from agency.domain.wait import WaitKind
from agency.engine.definition import Definition
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.errors import ShuttingDown
from agency.ports.store import RunDetail, RunFilter, Store
from agency.storage.sqlite.store import SqliteStore
from agency.testing.clock import MovedClock
from agency.testing.gate import Cut, Gate, Look
from agency.testing.model import ScriptedModel
from agency.testing.store import open_store_in
from agency.workflows.agent.agent import Agent

SETTINGS = EngineSettings(linger_s=0.0, memory_delay_s=0.0, resource_poll_s=0.1)
"""Suspended runs leave memory at once, so that each wait is replayed, and no delay is slept."""
LLM = Llm(provider="rehearsal", system_prompt="You are a rehearsal.")
LIVE_RUNS_MAX = 1000
"""Live runs that are looked at; a test has fewer."""
_NOTICE_S = 0.05

AgentMaker = Callable[[SqliteStore, ScriptedModel, Path], Agent]
"""Makes the agent of a life: over its store, its model, and the folder of its database."""

log = logging.getLogger(__name__)


class LongestDelay(random.Random):
    """Randomness that is none: each retry waits as long as its policy allows."""

    def uniform(self, a: float, b: float) -> float:
        """Give the upper end."""
        return max(a, b)


class Life:
    """An engine at work.

    Attributes:
        engine: The engine.
        gate: What it sees of the store.
        store: The store itself.
        registry: The workflows that it knows.
    """

    def __init__(
        self,
        engine: Engine,
        gate: Gate,
        store: SqliteStore,
        registry: Registry,
        clock: MovedClock,
        model: ScriptedModel,
    ) -> None:
        self.engine = engine
        self.runs = engine.runs
        self.gate = gate
        self.store = store
        self.registry = registry
        self._clock = clock
        self._model = model

    @property
    def is_killed(self) -> bool:
        return self.gate.cut.is_set()

    async def settle(self) -> None:
        """Return when everything waits for somebody, or for a moment that its author has named.

        The clock is moved over the delays between retries: nobody's code has asked for them. A
        killed engine is not waited for.
        """
        held: frozenset[str] = frozenset()
        while not self.is_killed:
            await self._idle()
            if self.is_killed:
                return
            live = await self._live()
            moving = _moving(live)
            if moving != held:
                # Woken between the two looks; or held up by others, if the next shows the same.
                held = moving
                continue
            retry_at = _earliest_retry(live, now=self._clock.now())
            if retry_at is not None:
                self._clock.set(max(retry_at, self._clock.now()))
                await self.catch_up()
                continue
            waiting = [detail for detail in live if self._goes_on(detail)]
            if not waiting:
                return
            await self.runs.watch(waiting[0].run.id, timeout_s=_NOTICE_S)

    async def advance(self, until: datetime) -> None:
        """Move the clock to a moment, and stop on the way at each at which something is due."""
        while not self.is_killed:
            await self.settle()
            next_at = await self._next_at()
            if next_at is None or next_at > until:
                break
            self._clock.set(max(next_at, self._clock.now()))
            await self.catch_up()
        if until > self._clock.now() and not self.is_killed:
            self._clock.set(until)
            await self.catch_up()
            await self.settle()

    async def catch_up(self) -> None:
        """Wake what is due by the clock as it is now; a killed engine wakes nothing."""
        try:
            await self.engine.catch_up()
        except (asyncio.CancelledError, ShuttingDown):
            task = asyncio.current_task()
            if not self.is_killed or (task is not None and task.cancelling()):
                raise

    async def _next_at(self) -> datetime | None:
        """Tell when the next run or schedule is due; upkeep of the engine has no moment here."""
        await self.catch_up()
        due = await self.store.schedules.due(now=self._clock.now(), limit=1)
        moments = (self.gate.next_at, due.next_at)
        return min((moment for moment in moments if moment is not None), default=None)

    async def _idle(self) -> None:
        """Wait until the engine is idle, or was killed."""
        idle = asyncio.ensure_future(self.engine.idle())
        cut = asyncio.ensure_future(self.gate.cut.wait())
        try:
            await asyncio.wait({idle, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            cut.cancel()

    async def _live(self) -> list[RunDetail]:
        live = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED})
        which = RunFilter(statuses=live)
        runs = await self.store.runs.list(which, before=None, limit=LIVE_RUNS_MAX)
        return [await self.store.runs.get(run.id) for run in runs]

    def _goes_on(self, detail: RunDetail) -> bool:
        """Its model is there, and it is woken in a moment."""
        if self._model.is_away or detail.run.hold is not None:
            return False
        return any(wait.kind is WaitKind.RESOURCE for wait in detail.waits)


def _moving(live: list[RunDetail]) -> frozenset[str]:
    return frozenset(
        detail.run.id for detail in live if detail.run.status is not RunStatus.SUSPENDED
    )


def _earliest_retry(live: list[RunDetail], *, now: datetime) -> datetime | None:
    moments = [
        wait.due_at
        for detail in live
        for wait in detail.waits
        if wait.due_at is not None and _is_retry(wait.kind, wait.show)
    ]
    moments += [detail.run.available_at for detail in live if _is_put_off(detail.run, now)]
    return min(moments, default=None)


def _is_retry(kind: WaitKind, show: Any) -> bool:  # noqa: ANN401  JSON value
    return kind is WaitKind.TIMER and isinstance(show, dict) and "retry" in show


def _is_put_off(run: Run, now: datetime) -> bool:
    return run.status is RunStatus.PENDING and run.attempt > 1 and run.available_at > now


@asynccontextmanager
async def open_life(
    folder: Path,
    definitions: Iterable[Definition],
    *,
    clock: MovedClock,
    model: ScriptedModel,
    at: Cut | None = None,
    look: Look | None = None,
    make_agent: AgentMaker | None = None,
    **settings: Any,  # noqa: ANN401  of [engine]
) -> AsyncIterator[Life]:
    """Open the store of a folder, and an engine that works off its runs.

    An engine that was cut off, or is (`Gate.close`), ends as a killed process does: what it had
    not committed is gone. Otherwise it is stopped in the middle of what it does.

    Args:
        definitions: The workflows that it knows, beside the agent.
        at: Where the engine is killed by itself.
        look: As of `Gate`.
        make_agent: Makes the agent; by default one without tools.
        settings: Of the section ``[engine]``, beside those of a test.
    """

    async def is_there() -> bool:
        return (await model.health()).reachable

    async with open_store_in(folder, clock) as store:
        gate = Gate(store, at, look)
        agent = (make_agent or _make_agent)(store, model, folder)
        registry = _make_registry(definitions, agent)
        engine = Engine(
            store=cast(Store, gate),
            registry=registry,
            clock=clock,
            settings=replace(SETTINGS, **settings),
            boot_id=new_id(),
            health={model.resource: is_there},
            source=LongestDelay(),
        )
        await engine.__aenter__()
        try:
            yield Life(engine, gate, store, registry, clock, model)
        finally:
            await _close(engine, gate)


def _make_agent(store: SqliteStore, model: ScriptedModel, folder: Path) -> Agent:
    del folder
    return Agent(
        providers={model.name: model}, default=model.name, settings=LLM, sessions=store.sessions
    )


def _make_registry(definitions: Iterable[Definition], agent: Agent) -> Registry:
    registry = Registry()
    registry.add(agent.definition())
    for definition in definitions:
        registry.add(definition)
    return registry


async def _close(engine: Engine, gate: Gate) -> None:
    with _silence(is_wanted=gate.cut.is_set()):
        await engine.__aexit__(None, None, None)
        if engine.failed.done():
            error = engine.failed.exception()
            if not gate.cut.is_set():
                log.error("the engine of a test has failed", exc_info=error)


@contextmanager
def _silence(*, is_wanted: bool) -> Iterator[None]:
    """Let a killed process say nothing any more."""
    logger = logging.getLogger("agency")
    level = logger.level
    if is_wanted:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
