"""Agency's engine and store in one process, as the daemon puts them together, without the doors."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from agency import Context, workflow
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
async def open_runs(
    folder: str, *functions: Callable[..., Any], **settings: Any
) -> AsyncIterator[Runs]:
    """Open the engine over a database in ``folder``, with the daemon's own settings."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    registry = Registry()
    known: tuple[Callable[..., Any], ...] = (flows.steps, flows.wait, *functions)
    for function in known:
        registry.add_function(function)
    async with (
        open_store(Path(folder) / DATABASE, settings=StoreSettings(), clock=SystemClock()) as store,
        Engine(
            store=store,
            registry=registry,
            clock=SystemClock(),
            settings=replace(EngineSettings(), **settings),
            boot_id=new_id(),
        ) as engine,
    ):
        yield engine.runs


async def _start(runs: Runs, name: str, value: Mapping[str, Any] | None) -> str:
    return (await runs.start(StartRequest(workflow=name, input=value))).run.id


async def _completed(runs: Runs, run_id: str) -> RunDetail:
    detail = await runs.wait(run_id, timeout_s=GUARD_S)
    assert detail.run.status is RunStatus.COMPLETED, detail.run
    return detail


async def _do(runs: Runs, name: str, value: Mapping[str, Any] | None) -> RunDetail:
    return await _completed(runs, await _start(runs, name, value))


async def work(
    folder: str,
    runs: int,
    steps: int,
    size: int,
    spin_s: float = 0.0,
    at_once: int = 0,
    also: Callable[[], Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """Do ``runs`` runs, each of ``steps`` steps.

    Args:
        folder: Where the database is made.
        runs: Started together and waited for together, if ``at_once`` does not say otherwise.
        steps: Of each run, one after another.
        size: Characters that a step hands back.
        at_once: If above 0, so many callers each start one, wait for it, and start the next.
        also: Tells what else is counted, by name.
        spin_s: If above 0, a coroutine computes so long between its yields, all the time.
    """
    value = {"steps": steps, "size": size}
    async with open_runs(folder, **({"runs_max": at_once} if at_once else {})) as verbs:
        await _do(verbs, "bench-steps", {"steps": 20, "size": size})
        spinning = asyncio.ensure_future(_spin(spin_s)) if spin_s else None
        meter = Meter(also=also)
        if at_once:
            details = await _in_turns(verbs, value, runs, at_once)
        else:
            ids = await asyncio.gather(*(_start(verbs, "bench-steps", value) for _ in range(runs)))
            details = await asyncio.gather(*(_completed(verbs, run_id) for run_id in ids))
        answer = meter.stop()
        if spinning is not None:
            spinning.cancel()
            with suppress(asyncio.CancelledError):
                await spinning
        assert [detail.steps_executed for detail in details] == [steps] * runs
        return answer


async def _in_turns(
    verbs: Runs, value: Mapping[str, Any], runs: int, at_once: int
) -> list[RunDetail]:
    numbers = iter(range(runs))

    details: list[RunDetail] = []

    async def call() -> None:
        for _ in numbers:
            details.append(await _do(verbs, "bench-steps", value))

    await asyncio.gather(*(call() for _ in range(at_once)))
    return details


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


async def grow(folder: str, steps: int, size: int, begin: int, window: int) -> dict[str, Any]:
    """Let a state grow, and measure what that writes at the start and at the end.

    Args:
        folder: Where the database is made.
        steps: How often the state grows.
        size: Characters that it grows by.
        begin: Characters that it begins with.
        window: How many steps are the start, and how many the end.
    """
    written: list[int] = []

    @workflow("bench-grow", version="1")
    async def growing(ctx: Context) -> int:
        state = await ctx.step("begin", flows.work, 0, begin)
        # Each step has been committed when it hands back its result.
        written.append(meter.stop()["written_bytes"] or 0)
        for number in range(steps):
            state += await ctx.step("grow", flows.work, number, size)
            written.append(meter.stop()["written_bytes"] or 0)
        return len(state)

    async with open_runs(folder, growing) as verbs:
        await _do(verbs, "bench-steps", {"steps": 20, "size": size})
    before = _size(folder)
    async with open_runs(folder, growing) as verbs:
        meter = Meter()
        detail = await _do(verbs, "bench-grow", None)
        answer = meter.stop()
    assert detail.run.output == begin + steps * size
    is_counted = answer["written_bytes"] is not None
    return {
        **answer,
        "grown_bytes": _size(folder) - before,
        "first_bytes": written[window] - written[0] if is_counted else None,
        "last_bytes": written[-1] - written[-1 - window] if is_counted else None,
    }


def _size(folder: str) -> int:
    """Bytes of the database with its log, and of nothing else."""
    return sum(
        entry.stat().st_size
        for entry in os.scandir(folder)
        if entry.name in {DATABASE, f"{DATABASE}-wal"}
    )
