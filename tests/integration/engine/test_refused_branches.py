"""Branches that were made and can never run: nobody is told that they were not awaited."""

import asyncio
import gc
import warnings
from pathlib import Path

import pytest

from agency import Context, workflow
from tests.integration.engine.house import GUARD_S, open_house


@pytest.mark.parametrize("join", ["gather", "first", "nested"])
async def test_branches_of_a_join_that_is_refused_are_closed(tmp_path: Path, join: str) -> None:
    has_begun, may_go_on, has_left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def branch(ctx: Context) -> None:
        await ctx.sleep(1)

    @workflow("w")
    async def w(ctx: Context) -> None:
        has_begun.set()
        while not may_go_on.is_set():
            try:
                await may_go_on.wait()
            except asyncio.CancelledError:
                continue  # it does not stop when it is told to
        try:
            if join == "gather":
                await ctx.gather(branch(ctx), ctx.gather(branch(ctx)))
            elif join == "first":
                await ctx.first(a=branch(ctx), b=branch(ctx))
            else:
                await ctx.first(a=ctx.gather(a=branch(ctx), b=branch(ctx)))
        finally:
            has_left.set()

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        async with open_house(tmp_path, w) as house:
            run_id = await house.start("w")
            async with asyncio.timeout(GUARD_S):
                await has_begun.wait()
            await house.runs.cancel(run_id)
            may_go_on.set()
            detail = await house.ended(run_id)
        gc.collect()

    assert "cancelled" == detail.run.status
    assert has_left.is_set()
    assert [] == [str(warning.message) for warning in heard]
