"""A suspended run whose coroutine stays in memory does nothing without a claim."""

import asyncio
from pathlib import Path
from typing import Any

from agency import Context, workflow
from tests.integration.engine.house import open_house


async def echo(value: Any = None) -> Any:
    return value


async def test_wait_in_a_branch_under_a_timer_of_asyncio_is_refused(tmp_path: Path) -> None:
    """The timer would go off while nobody has the run."""

    @workflow("w")
    async def w(ctx: Context) -> str:
        async with asyncio.timeout(60):
            await ctx.gather(a=ctx.wait_event("x"))
        return "end"

    async with open_house(tmp_path, w, linger_s=5.0) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "wait_inside_timeout") == (run.status, run.error.code)


async def test_coroutine_that_stirs_while_parked_does_nothing_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    acts: list[str] = []
    tasks: list[asyncio.Task[Any]] = []

    async def act(name: str) -> None:
        acts.append(name)

    @workflow("w", version="1")
    async def w(ctx: Context) -> Any:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            return await ctx.wait_event("x")
        except asyncio.CancelledError:
            await ctx.step("late", act, "acted without a claim")
            raise

    async with open_house(tmp_path, w, linger_s=30.0) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        await house.runs.send(run_id, name="x", payload=5)
        assert 5 == (await house.ended(run_id)).run.output
        assert [] == await house.engine.sweep()

    assert [] == acts
    assert 2 == len(tasks)


async def test_runs_beyond_the_limit_of_those_that_linger_are_replayed(tmp_path: Path) -> None:
    lives = 0

    @workflow("w", version="1")
    async def w(ctx: Context) -> Any:
        nonlocal lives
        lives += 1
        return await ctx.wait_event("x")

    async with open_house(tmp_path, w, linger_s=30.0, linger_runs_max=2) as house:
        run_ids = []
        for _ in range(3):
            run_ids.append(await house.start("w"))
            await house.suspended(run_ids[-1])
        for run_id in run_ids:
            await house.runs.send(run_id, name="x", payload=1)
            await house.ended(run_id)

    assert 4 == lives


async def test_run_that_has_lingered_long_enough_is_dropped(tmp_path: Path) -> None:
    dropped = asyncio.Event()

    @workflow("w", version="1")
    async def w(ctx: Context) -> Any:
        try:
            return await ctx.wait_event("x")
        finally:
            dropped.set()

    async with open_house(tmp_path, w, linger_s=0.02) as house:
        run_ids = [await house.start("w") for _ in range(2)]
        async with asyncio.timeout(5):
            await dropped.wait()
        for run_id in run_ids:
            await house.runs.send(run_id, name="x", payload=5)
            assert 5 == (await house.ended(run_id)).run.output
