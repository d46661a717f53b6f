"""Stopping: of the daemon, and of code that does not want to."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agency import Context, Retry, workflow
from agency.domain.run import Run
from agency.engine.execution import STUBBORN_S
from agency.errors import ShuttingDown
from agency.ports.store import RunDetail
from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.disk import HeldDisk
from tests.integration.engine.house import GUARD_S, Between, House, open_house


async def echo(value: Any = None) -> Any:
    return value


async def test_stop_during_a_claim_puts_its_runs_back_and_names_them(tmp_path: Path) -> None:
    begun = []

    async def work() -> None:
        begun.append(1)
        await asyncio.sleep(3600)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.step("work", work)

    is_claimed, may_be_told = asyncio.Event(), asyncio.Event()

    def slow_claims(store: SqliteStore) -> Between:
        async def claim(**more: Any) -> Sequence[Run]:
            runs = await store.runs.claim(**more)
            if runs:
                is_claimed.set()
                await may_be_told.wait()
            return runs

        return Between(store.runs, claim=claim)

    async with open_house(tmp_path, w, runs=slow_claims) as house:
        run_id = await house.start("w")
        await is_claimed.wait()
        drain = asyncio.ensure_future(house.engine.drain(grace_s=GUARD_S, hurry=asyncio.Event()))
        await asyncio.sleep(0)
        may_be_told.set()
        assert [run_id] == list(await drain)
        assert "pending" == (await house.runs.get(run_id)).run.status
        assert [] == begun

    async with open_house(tmp_path, w) as house:
        assert 0 == house.engine.recovery.requeued


async def test_stop_waits_for_a_step_and_begins_no_other(tmp_path: Path) -> None:
    begun: list[int] = []
    is_begun, may_end = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> int:
        begun.append(number)
        is_begun.set()
        await may_end.wait()
        return number

    @workflow("w", version="1")
    async def w(ctx: Context) -> list[int]:
        return [await ctx.step("work", work, number) for number in range(3)]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await is_begun.wait()
        drain = asyncio.ensure_future(house.engine.drain(grace_s=GUARD_S, hurry=asyncio.Event()))
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await house.start("w")
        may_end.set()
        assert [run_id] == list(await drain)
        detail = await house.runs.get(run_id)
        assert ("pending", 1) == (detail.run.status, detail.steps_executed)

    async with open_house(tmp_path, w) as house:
        assert [0, 1, 2] == (await house.ended(run_id)).run.output
    assert [0, 1, 2] == begun


async def test_hurry_cuts_the_grace(tmp_path: Path) -> None:
    is_begun = asyncio.Event()
    begun = []

    async def work() -> str:
        begun.append(1)
        is_begun.set()
        if len(begun) == 1:
            await asyncio.sleep(3600)
        return "done"

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        return await ctx.step("work", work)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await is_begun.wait()
        hurry = asyncio.Event()
        drain = asyncio.ensure_future(house.engine.drain(grace_s=3600, hurry=hurry))
        hurry.set()
        async with asyncio.timeout(GUARD_S):
            assert [run_id] == list(await drain)

    async with open_house(tmp_path, w) as house:
        run = (await house.ended(run_id)).run
        assert ("completed", "done", 1) == (run.status, run.output, run.attempt)


async def test_code_that_does_not_stop_is_left_to_itself(tmp_path: Path) -> None:
    """Its run ends without it, and what was registered for the end is done once."""
    done: list[str] = []
    may_stop = asyncio.Event()
    is_under_way = asyncio.Barrier(3)

    async def stubborn() -> None:
        await is_under_way.wait()
        while not may_stop.is_set():
            try:
                await may_stop.wait()
            except asyncio.CancelledError:
                done.append("swallowed")

    async def release() -> None:
        done.append("released")

    @workflow("step", timeout_s=0.3)
    async def step(ctx: Context) -> None:
        await ctx.step("stubborn", stubborn)

    @workflow("tidy")
    async def tidy(ctx: Context) -> None:
        ctx.at_end(release)

        async def leg() -> None:
            try:
                await is_under_way.wait()
                await ctx.sleep(3600)
            finally:
                await may_stop.wait()

        await ctx.gather(leg(), ctx.wait_event("x"))

    async with open_house(tmp_path, step, tidy, linger_s=60) as house:
        runs = {name: await house.start(name) for name in ("step", "tidy")}
        try:
            await is_under_way.wait()
            await house.suspended(runs["tidy"])
            await house.runs.cancel(runs["tidy"])
            async with asyncio.timeout(3 * STUBBORN_S):
                assert "timed_out" == (await ended(house, runs["step"])).run.status
                assert "cancelled" == (await ended(house, runs["tidy"])).run.status
            assert [] == await house.engine.sweep()
        finally:
            may_stop.set()

    assert 1 == done.count("released")
    assert "swallowed" in done


@pytest.mark.soak  # it takes as long as the engine is patient, twice
async def test_cancel_ends_a_run_whose_code_hangs_before_it_is_known_where_it_was(
    tmp_path: Path,
) -> None:
    """To find its work for the end the code is run again, and this time waits for something."""
    done: list[str] = []
    may_pass = asyncio.Event()
    may_pass.set()

    async def release() -> None:
        done.append("released")

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        ctx.at_end(release)
        await ctx.step("echo", echo)
        await may_pass.wait()
        await ctx.wait_event("never")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        may_pass.clear()
        await house.runs.cancel(run_id)
        async with asyncio.timeout(3 * STUBBORN_S):
            assert "cancelled" == (await ended(house, run_id)).run.status

    assert ["released"] == done


async def ended(house: House, run_id: str) -> RunDetail:
    """Without the guard of the house: it takes as long as the engine is patient."""
    while True:
        detail = await house.runs.get(run_id)
        if detail.run.ended_at is not None:
            return detail
        await house.runs.watch(run_id, timeout_s=0.2)


async def test_cancel_that_comes_just_before_the_next_try_ends_the_run(tmp_path: Path) -> None:
    """It is committed before the failed run is put back, and must not wait for the back-off."""
    is_there, may_fail = asyncio.Event(), asyncio.Event()

    @workflow("w", version="1", retry=Retry(attempts=3, base_s=3600, jitter=False))
    async def w(ctx: Context) -> None:
        ctx.at_end(echo, 1)
        await ctx.step("echo", echo, 1)
        is_there.set()
        await may_fail.wait()
        raise OSError("again")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await is_there.wait()
        async with HeldDisk(house.store) as disk:
            cancel = asyncio.ensure_future(house.runs.cancel(run_id))
            await disk.until_waiting(1)
            may_fail.set()
            await disk.until_waiting(2)
        await cancel
        run = (await house.ended(run_id)).run

    assert run.error is not None
    assert ("cancelled", "cancelled") == (run.status, run.error.code)


@pytest.mark.parametrize("status", ["pending", "suspended", "running"])
async def test_cancel_ends_a_run_wherever_it_is(tmp_path: Path, status: str) -> None:
    may_end = asyncio.Event()

    @workflow("blocker")
    async def blocker(ctx: Context) -> None:
        await ctx.step("wait", may_end.wait)

    @workflow("w")
    async def w(ctx: Context) -> None:
        if status == "running":
            await ctx.step("wait", may_end.wait)
        await ctx.wait_event("never")

    async with open_house(tmp_path, blocker, w, runs_max=1) as house:
        if status == "pending":
            blocking = await house.start("blocker")
            await house.until(blocking, lambda d: d.run.status == "running")
        run_id = await house.start("w")
        await house.until(run_id, lambda d: d.run.status == status)
        await house.runs.cancel(run_id, reason="not wanted")
        run = (await house.ended(run_id)).run
        may_end.set()

    assert run.error is not None
    assert ("cancelled", "Cancelled: not wanted") == (run.status, run.error.message)
