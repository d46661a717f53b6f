"""A hold that is lifted by the wish for a run's end, while the run's work for the end waits."""

import asyncio
from pathlib import Path

from agency import Context, workflow
from tests.integration.engine.house import GUARD_S, open_house


async def test_work_for_the_end_is_done_when_the_hold_before_it_is_lifted_by_a_cancel(
    tmp_path: Path,
) -> None:
    has_begun, tidied = asyncio.Event(), []

    async def work() -> None:
        has_begun.set()
        await asyncio.sleep(GUARD_S)

    async def tidy() -> None:
        tidied.append("tidied")

    @workflow("w")
    async def w(ctx: Context) -> None:
        ctx.at_end(tidy)
        await ctx.step("work", work)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        async with asyncio.timeout(GUARD_S):
            await has_begun.wait()
        assert None is await house.runs.suspend(run_id, reason="look", wait_s=0)
        await house.runs.cancel(run_id)
        detail = await house.ended(run_id)
        strays = await house.engine.sweep()

    assert ("cancelled", ["tidied"]) == (detail.run.status, tidied)
    assert [] == strays
