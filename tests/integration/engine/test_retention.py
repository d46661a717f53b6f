"""Retention over a running engine whose clock is moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from agency.config.schema import Retention as RetentionSettings
from agency.domain.run import RunStatus
from agency.engine.retention import Pass, Retention
from agency.errors import StoreFull
from agency.ports.store import RunFilter
from agency.testing.clock import MovedClock
from tests.integration.engine.house import Between, House, open_house

NEVER = RetentionSettings(
    completed_age_s=0, failed_age_s=0, cancelled_age_s=0, pause_s=0, batch_runs=3, batch_rows=20
)
DAY = timedelta(days=1)


@workflow("worker")
async def worker(ctx: Context, value: Any) -> Any:
    for i in range(3):
        await ctx.step(f"s{i}", echo, value)
    if value == "fail":
        raise ValueError("as asked")
    return value


async def echo(value: Any) -> Any:
    return value


@workflow("waiter")
async def waiter(ctx: Context) -> Any:
    return await ctx.wait_event("go")


@workflow("family")
async def family(ctx: Context) -> Any:
    return await ctx.gather(a=ctx.call("worker", 1), b=ctx.call("worker", 2))


@asynccontextmanager
async def kept(path: Path) -> AsyncIterator[tuple[House, MovedClock]]:
    clock = MovedClock()
    async with open_house(path, worker, waiter, family, clock=clock) as house:
        # It has the newest wait and the newest row, which always stay.
        yield house, clock


async def make_pass(house: House, clock: MovedClock, **changes: Any) -> Pass:
    await house.suspended(await house.start("waiter"))
    settings = replace(NEVER, **changes)
    retention = Retention(store=house.store.upkeep, clock=clock, settings=settings)
    return await retention.make_pass()


async def statuses(house: House) -> dict[str, int]:
    counted = await house.store.runs.count_by_status()
    return {status.value: count for status, count in counted.items()}


async def test_each_outcome_has_an_age_of_its_own(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        for value in (1, "fail"):
            await house.run("worker", value)
        cancelled = await house.start("waiter")
        await house.suspended(cancelled)
        await house.runs.cancel(cancelled)
        clock.move(2 * DAY)

        done = await make_pass(house, clock, completed_age_s=86_400, failed_age_s=864_000)
        left = await statuses(house)
        again = await make_pass(house, clock, completed_age_s=86_400, cancelled_age_s=1)

    assert (1, 1) == (done.runs, again.runs)
    assert {"failed": 1, "cancelled": 1, "suspended": 1} == left


async def test_nothing_is_forgotten_where_nothing_is_said(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        await house.run("worker", 1)
        clock.move(10_000 * DAY)

        assert 0 == (await make_pass(house, clock)).runs


async def test_newest_runs_are_kept(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        ids = [(await house.run("worker", i)).run.id for i in range(20)]

        done = await make_pass(house, clock, completed_runs_max=5)

        left = await house.runs.list(RunFilter(workflow="worker"), before=None, limit=99)
        assert 15 == done.runs
        assert ids[:14:-1] == [run.id for run in left]


async def test_newest_bytes_are_kept(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        for _ in range(6):
            await house.run("worker", "x" * 20_000)

        done = await make_pass(house, clock, completed_bytes_max=250_000)

        # Input, output and three results of each.
        assert 4 == done.runs
        assert 2 == (await statuses(house))["completed"]


async def test_families_go_together_and_live_ones_stay(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        await house.run("family")
        live = await house.start("waiter")
        await house.suspended(live)
        clock.move(2 * DAY)

        done = await make_pass(house, clock, completed_age_s=1, cancelled_age_s=1, failed_age_s=1)
        await house.runs.send(live, name="go", payload=1)

        assert 3 == done.runs
        assert RunStatus.COMPLETED is (await house.ended(live)).run.status


async def test_pass_gives_space_back(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        for i in range(60):
            await house.run("worker", f"{i}" * 60_000)
        clock.move(2 * DAY)

        done = await make_pass(house, clock, completed_age_s=1)

        assert 60 == done.runs
        assert done.bytes > 3_000_000


async def test_runs_go_on_while_others_are_forgotten(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, clock):
        for i in range(40):
            await house.run("worker", i)
        clock.move(2 * DAY)

        passing = asyncio.ensure_future(
            make_pass(house, clock, completed_age_s=86_400, batch_runs=1)
        )
        ended = await asyncio.gather(*(house.run("worker", i) for i in range(40)))
        done = await passing

        assert 40 == done.runs
        assert {RunStatus.COMPLETED} == {detail.run.status for detail in ended}
        assert 40 == (await statuses(house))["completed"]


async def test_loop_makes_passes_and_outlives_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with kept(tmp_path) as (house, clock):
        await house.run("worker", 1)
        await house.suspended(await house.start("waiter"))
        clock.move(2 * DAY)
        inner = house.store.upkeep
        calls = 0
        has_passed = asyncio.Event()

        async def retire(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise StoreFull("The disk is full.")
            retired = await inner.retire(*arguments, **more)
            has_passed.set()
            return retired

        store: Any = Between(inner, retire=retire)
        settings = replace(NEVER, completed_age_s=1, interval_s=0.05)
        stop = asyncio.Event()
        loop = asyncio.ensure_future(
            Retention(store=store, clock=clock, settings=settings).serve(stop)
        )
        async with asyncio.timeout(15):
            await has_passed.wait()
            stop.set()
            await loop

        assert "retention put off" in [record.message for record in caplog.records]
        assert {"suspended": 1} == await statuses(house)


async def test_engine_makes_passes_by_itself(tmp_path: Path) -> None:
    async with kept(tmp_path) as (house, _):
        assert (await house.engine.retention.make_pass()).runs == 0
        assert [] == list((await house.engine.retention.check(timeout_s=30)).faults)
