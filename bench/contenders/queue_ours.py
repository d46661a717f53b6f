"""Agency's queue in one process: filled first and worked off then, each measured by itself."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.core.limits import BULK_RUNS_MAX
from agency.core.names import DEFAULT_QUEUE
from agency.daemon.main import SWITCH_INTERVAL_S
from agency.domain.run import RunStatus
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.engine.runs import StartedRun, StartRequest
from agency.storage.sqlite.store import open_store
from bench import flows
from bench.contenders.ours import DATABASE, GUARD_S
from bench.meter import Meter

_LOOK_S = 0.002


@asynccontextmanager
async def _open(folder: str, workers: int) -> AsyncIterator[Engine]:
    """Open an engine whose queue is paused, as the daemon would open it."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    registry = Registry()
    registry.add_function(flows.noop)
    async with (
        open_store(Path(folder) / DATABASE, settings=StoreSettings(), clock=SystemClock()) as store,
        Engine(
            store=store,
            registry=registry,
            clock=SystemClock(),
            settings=EngineSettings(runs_max=workers),
            boot_id=new_id(),
        ) as engine,
    ):
        await engine.queues.pause(DEFAULT_QUEUE)
        gc.freeze()  # as the daemon does once it has started
        yield engine


def _requests(count: int) -> list[StartRequest]:
    return [StartRequest(workflow="bench-noop", input=None) for _ in range(count)]


async def process(folder: str, runs: int, workers: int) -> dict[str, Any]:
    """Work off so many runs that do nothing, with so many at once; to fill the queue is no part."""
    async with _open(folder, workers) as engine:
        last = await _fill(engine, runs)
        meter = Meter()
        await engine.queues.resume(DEFAULT_QUEUE)
        # To look all the time how far it is would be a good part of the work.
        await engine.runs.wait(last, timeout_s=GUARD_S)
        until_s = time.monotonic() + GUARD_S
        while (await engine.queues.get(DEFAULT_QUEUE)).count(RunStatus.COMPLETED) < runs:
            assert time.monotonic() < until_s, "the queue is not worked off"
            await asyncio.sleep(_LOOK_S)
        return meter.stop()


async def enqueue(folder: str, runs: int, at_once: int) -> dict[str, Any]:
    """Put so many runs into a held queue one by one, by so many callers beside each other."""
    async with _open(folder, 1) as engine:
        requests = iter(_requests(runs))

        async def call() -> None:
            for request in requests:
                await engine.runs.start(request)

        meter = Meter()
        await asyncio.gather(*(call() for _ in range(at_once)))
        return meter.stop()


async def enqueue_many(folder: str, runs: int) -> dict[str, Any]:
    """Put so many runs into a held queue, as many in one commit as may be."""
    async with _open(folder, 1) as engine:
        meter = Meter()
        await _fill(engine, runs)
        return meter.stop()


async def _fill(engine: Engine, runs: int) -> str:
    """Put them in, and give the id of the last."""
    last = ""
    for begin in range(0, runs, BULK_RUNS_MAX):
        started = await engine.runs.start_many(_requests(min(BULK_RUNS_MAX, runs - begin)))
        assert isinstance(started[-1], StartedRun), started[-1]
        last = started[-1].run.id
    held = await engine.queues.get(DEFAULT_QUEUE)
    assert held.count(RunStatus.PENDING) == runs, held
    return last
