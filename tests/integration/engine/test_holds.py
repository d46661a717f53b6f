"""An operator's hold stands until it is lifted."""

import asyncio
from pathlib import Path

from agency import Context, workflow
from tests.integration.engine.house import crashed, open_house


async def test_hold_of_a_running_run_outlives_a_kill_and_a_stop(tmp_path: Path) -> None:
    begun: list[int] = []
    is_begun = asyncio.Event()
    may_end = asyncio.Event()

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
        assert await house.runs.suspend(run_id, reason="stop it", wait_s=0) is None
        killed = crashed(tmp_path, tmp_path / "killed")

    may_end.set()
    for left in (killed, tmp_path):
        begun.clear()
        async with open_house(left, w) as house:
            detail = await house.suspended(run_id)
            assert "stop it" == detail.run.hold
            assert [] == begun
            await house.resume(run_id)
            assert [0, 1, 2] == (await house.ended(run_id)).run.output
        assert [0, 1, 2] == begun


async def test_hold_that_is_lifted_at_once_leaves_the_run_going_on(tmp_path: Path) -> None:
    @workflow("w", version="1")
    async def w(ctx: Context) -> list[int]:
        return [await ctx.wait_event("news") for _ in range(2)]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        for number in range(2):
            await house.suspended(run_id)
            snapshot = await house.runs.suspend(run_id, reason="look", wait_s=1)
            assert snapshot is not None
            await house.runs.send(run_id, name="news", payload=number)
            assert "suspended" == (await house.runs.get(run_id)).run.status
            await house.runs.resume(snapshot.id)
        assert [0, 1] == (await house.ended(run_id)).run.output
