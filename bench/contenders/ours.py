"""Agency's engine and store in one process, as the daemon puts them together, without the doors."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.daemon.main import SWITCH_INTERVAL_S
from agency.domain.run import RunStatus
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.engine.runs import Runs, StartRequest
from agency.ports.store import RunDetail
from agency.storage.sqlite.store import open_store
from bench import flows
from bench.meter import Meter

GUARD_S = 200.0
DATABASE = "agency.db"


@asynccontextmanager
async def open_runs(folder: str, **settings: Any) -> AsyncIterator[Runs]:
    """Open the engine over a database in ``folder``, with the daemon's own settings."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    registry = Registry()
    for function in (flows.steps, flows.wait, flows.grow, flows.fan):
        registry.add_function(function)
    async with (
        open_store(
            Path(folder) / DATABASE, settings=StoreSettings(), clock=SystemClock()
        ) as store,
        Engine(
            store=store,
            registry=registry,
            clock=SystemClock(),
            settings=replace(EngineSettings(), **settings),
            boot_id=new_id(),
        ) as engine,
    ):
        yield engine.runs


async def _start(runs: Runs, workflow: str, value: Mapping[str, Any] | None) -> str:
    return (await runs.start(StartRequest(workflow=workflow, input=value))).run.id


async def _completed(runs: Runs, run_id: str) -> RunDetail:
    detail = await runs.wait(run_id, timeout_s=GUARD_S)
    assert detail.run.status is RunStatus.COMPLETED, detail.run
    return detail


async def _do(runs: Runs, workflow: str, value: Mapping[str, Any]) -> RunDetail:
    return await _completed(runs, await _start(runs, workflow, value))


async def work(
    folder: str, runs: int, steps: int, size: int, spin_s: float = 0.0
) -> dict[str, Any]:
    """Do ``runs`` runs at once, each of ``steps`` steps.

    Args:
        folder: Where the database is made.
        runs: Started together and waited for together.
        steps: Of each run, one after another.
        size: Characters that a step hands back.
        spin_s: If above 0, a coroutine computes so long between its yields, all the time.
    """
    async with open_runs(folder) as verbs:
        await _do(verbs, "bench-steps", {"steps": 20, "size": size})
        spinning = asyncio.ensure_future(_spin(spin_s)) if spin_s else None
        meter = Meter()
        ids = await asyncio.gather(
            *(_start(verbs, "bench-steps", {"steps": steps, "size": size}) for _ in range(runs))
        )
        details = await asyncio.gather(*(_completed(verbs, run_id) for run_id in ids))
        answer = meter.stop()
        if spinning is not None:
            spinning.cancel()
            with suppress(asyncio.CancelledError):
                await spinning
        assert [detail.steps_executed for detail in details] == [steps] * runs
        return answer


async def _spin(spin_s: float) -> None:
    """Compute, yield, compute: what a badly behaved step does to the loop."""
    while True:
        until = time.perf_counter() + spin_s
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(0)


async def wake(folder: str, runs: int) -> dict[str, Any]:
    """Wake suspended runs one by one, and measure from event sent to completed."""
    async with open_runs(folder, linger_s=0.0) as verbs:
        ids = [await _start(verbs, "bench-wait", None) for _ in range(runs)]
        for run_id in ids:
            await verbs.wait(run_id, timeout_s=GUARD_S)
        taken_s = []
        for run_id in ids:
            started_s = time.perf_counter()
            await verbs.send(run_id, name="go", payload="now")
            await _completed(verbs, run_id)
            taken_s.append(time.perf_counter() - started_s)
        return {"elapsed_s": sum(taken_s), "taken_s": taken_s}


async def grow(folder: str, steps: int, size: int) -> dict[str, Any]:
    """Let a state of 100 KB grow, and measure what that writes at the start and at the end."""
    async with open_runs(folder) as verbs:
        await _do(verbs, "bench-steps", {"steps": 20, "size": size})
        started = _size(folder)
        meter = Meter()
        readings: dict[int, int] = {}
        run_id = await _start(verbs, "bench-grow", {"steps": steps, "size": size})
        watched = asyncio.ensure_future(_completed(verbs, run_id))
        marks = {1, 21, steps - 19, steps + 1}
        while not watched.done():
            await verbs.watch(run_id, timeout_s=GUARD_S)
            recorded = (await verbs.get(run_id)).steps_executed
            for mark in [mark for mark in marks if mark <= recorded]:
                marks.discard(mark)
                readings[recorded] = meter.stop()["written_bytes"] or 0
        await watched
        answer = meter.stop()
    return {**answer, "grown_bytes": _size(folder) - started, "readings": readings}


def _size(folder: str) -> int:
    """Bytes of the database with its log, and of nothing else."""
    return sum(
        entry.stat().st_size
        for entry in os.scandir(folder)
        if entry.name in {DATABASE, f"{DATABASE}-wal"}
    )
