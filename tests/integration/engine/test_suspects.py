"""Runs that were claimed when the daemon died, twice, go first and alone, for a bounded time."""

import asyncio
from pathlib import Path

import pytest

from agency import Context, workflow
from agency.engine.worker import SUSPECTS_ALONE_S_MAX
from tests.integration.engine.house import crashed, open_house


@workflow("quick")
async def quick(ctx: Context) -> str:
    return "quick"


async def crash_twice(path: Path, count: int) -> Path:
    """Leave a database whose runs were at their first step when the daemon was killed, twice."""
    begun = asyncio.Semaphore(0)

    async def work() -> None:
        begun.release()
        await asyncio.sleep(3600)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.step("work", work)

    left = path
    for number in range(2):
        async with open_house(left, w) as house:
            if number == 0:
                for _ in range(count):
                    await house.start("w")
            for _ in range(count):
                await begun.acquire()
            left = crashed(left, path / f"killed-{number}")
    return left


async def test_suspects_run_alone_and_then_the_others(tmp_path: Path) -> None:
    at_once, most, ended = 0, 0, 0

    async def work() -> str:
        nonlocal at_once, most, ended
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        ended += 1
        return "worked"

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        return await ctx.step("work", work)

    left = await crash_twice(tmp_path, 3)
    async with open_house(left, w, quick) as house:
        suspects = house.engine.recovery.suspects
        run_id = await house.start("quick")
        assert "quick" == (await house.ended(run_id)).run.output
        assert 3 == len(suspects)
        assert 3 == ended
        for suspect in suspects:
            assert "worked" == (await house.ended(suspect)).run.output
    assert 1 == most


async def test_suspect_that_takes_long_holds_up_the_others_only_for_its_time(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        await asyncio.sleep(3600)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.step("work", work)

    left = await crash_twice(tmp_path, 2)
    async with open_house(left, w, quick, suspect_alone_s=0.05) as house:
        run_id = await house.start("quick")
        assert "quick" == (await house.ended(run_id)).run.output
        assert [] == await house.engine.sweep()


async def test_run_that_was_alone_at_the_third_crash_is_a_dead_letter(tmp_path: Path) -> None:
    is_begun = asyncio.Event()

    async def work() -> None:
        is_begun.set()
        await asyncio.sleep(3600)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.step("work", work)

    left = await crash_twice(tmp_path, 1)
    async with open_house(left, w) as house:
        (suspect,) = house.engine.recovery.suspects
        await is_begun.wait()
        left = crashed(left, tmp_path / "third")
    async with open_house(left, w, quick) as house:
        run = (await house.runs.get(suspect)).run
        assert run.error is not None
        assert ("dead_letter", "crash") == (run.status, run.error.code)
        assert [suspect] == list(house.engine.recovery.quarantined)
        assert "quick" == (await house.run("quick")).run.output


@pytest.mark.soak
async def test_all_suspects_together_hold_up_the_others_for_a_bounded_time(tmp_path: Path) -> None:
    async def work() -> None:
        await asyncio.sleep(3600)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.step("work", work)

    left = await crash_twice(tmp_path, 20)
    async with open_house(left, w, quick, suspect_alone_s=SUSPECTS_ALONE_S_MAX / 5) as house:
        run_id = await house.start("quick")
        detail = await house.runs.wait(run_id, timeout_s=1.5 * SUSPECTS_ALONE_S_MAX)
    assert "quick" == detail.run.output
