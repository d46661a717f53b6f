"""Branches that have lost: what they still ask for is not done and counts for nothing."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from tests.integration.engine.house import open_house


async def echo(value: Any = None) -> Any:
    return value


async def test_losing_branch_that_swallows_its_cancel_does_nothing_more(tmp_path: Path) -> None:
    acts: list[str] = []

    async def act(name: str) -> None:
        acts.append(name)

    @workflow("w")
    async def w(ctx: Context) -> str:
        async def leg() -> None:
            try:
                await ctx.sleep(3600)
            except asyncio.CancelledError:
                ctx.at_end(act, "registered by a lost branch")
            await ctx.step("cleanup", act, "step of a lost branch")
            await ctx.wait_event("acknowledged")

        won = await ctx.first(a=leg(), b=ctx.wait_event("go"))
        return won.name

    async with open_house(tmp_path, w, linger_s=5.0) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        assert "b" == (await house.ended(run_id)).run.output

    assert [] == acts


@pytest.mark.parametrize("turns", range(6))
async def test_branches_cut_off_before_their_first_turn_are_not_missed(
    tmp_path: Path, turns: int
) -> None:
    """A losing branch makes branches of its own about when it loses."""
    start = asyncio.Event()
    begun = asyncio.Barrier(3)

    @workflow("w")
    async def w(ctx: Context) -> str:
        async def quick() -> str:
            await begun.wait()
            await start.wait()
            return "quick"

        async def own() -> Any:
            return await ctx.step("own", echo, 1)

        async def leg() -> None:
            await begun.wait()
            await start.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            await ctx.gather(x=ctx.step("x", echo, 1), y=own(), z=ctx.wait_event("z"))

        won = await ctx.first(quick=quick(), leg=leg())
        await ctx.step("after", echo, 2)
        return won.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await begun.wait()
        start.set()
        run = (await house.ended(run_id)).run

    assert ("completed", "quick") == (run.status, run.output)


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_operation_that_a_loser_was_handed_or_has_made_is_not_missed(
    tmp_path: Path, linger_s: float
) -> None:
    async def guarded(operation: Awaitable[Any]) -> Any:
        return await operation

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        async def leg() -> Any:
            later = ctx.step("later", echo, 1)
            await ctx.wait_event("never")
            return await later

        won = await ctx.first(
            handed=guarded(ctx.wait_event("never")), made=leg(), go=ctx.wait_event("go")
        )
        await ctx.wait_event("more")
        return won.name

    async with open_house(tmp_path, w, linger_s=linger_s) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["more"])
        await house.runs.send(run_id, name="more", payload=None)
        run = (await house.ended(run_id)).run

    assert ("completed", "go") == (run.status, run.output)


async def test_operation_that_nobody_awaits_fails_the_run(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        ctx.step("forgotten", echo, 1)
        return "done"

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "not_awaited") == (run.status, run.error.code)
    assert "ctx.step('forgotten')" in run.error.message


async def test_continuing_in_a_branch_leaves_one_that_waits_beside_it(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context, turn: int) -> str:
        async def leg() -> None:
            await ctx.step("echo", echo, 1)
            if turn == 0:
                ctx.continue_as(1)

        if turn == 1:
            return "successor"
        await ctx.gather(ctx.wait_event("never"), leg())
        return "not continued"

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w", 0)
        output = (await house.ended(run_id)).run.output
        assert "successor" == (await house.ended(output["continued_as"])).run.output


async def test_what_a_loser_has_recorded_in_an_earlier_life_is_not_missed(tmp_path: Path) -> None:
    """It loses before its replay has come to where it was."""
    may_pass = asyncio.Event()
    may_pass.set()

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        async def leg() -> Any:
            await may_pass.wait()
            return await ctx.gather(ctx.wait_event("x"), ctx.step("echo", echo, 1))

        won = await ctx.first(leg=leg(), go=ctx.wait_event("go"))
        return won.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        may_pass.clear()
        await house.runs.send(run_id, name="go", payload=None)
        run = (await house.ended(run_id)).run

    assert ("completed", "go") == (run.status, run.output)
