"""Children: begun while their parents work, ended with them, never left behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agency import Context, StepFailed, workflow
from agency.domain.run import Run
from agency.ports.store import RunFilter
from tests.integration.engine.disk import HeldDisk
from tests.integration.engine.house import GUARD_S, House, open_house


async def echo(value: Any = None) -> Any:
    return value


async def runs_of(house: House, workflow: str, count: int) -> list[Run]:
    """Newest first, once there are so many."""
    async with asyncio.timeout(GUARD_S):
        while True:
            found = await house.runs.list(RunFilter(workflow=workflow), before=None, limit=99)
            if len(found) >= count:
                return list(found)
            await asyncio.sleep(0.005)


async def test_child_of_a_busy_parent_begins_at_once(tmp_path: Path) -> None:
    has_begun = asyncio.Event()

    async def begin() -> None:
        has_begun.set()

    @workflow("child")
    async def child(ctx: Context) -> int:
        await ctx.step("begin", begin)
        return 1

    @workflow("w")
    async def w(ctx: Context) -> list[Any]:
        return await ctx.gather(ctx.call("child"), ctx.step("busy", has_begun.wait))

    async with open_house(tmp_path, w, child) as house:
        run_id = await house.start("w")
        assert [1, True] == (await house.ended(run_id)).run.output


async def test_deadline_of_a_child_is_kept(tmp_path: Path) -> None:
    @workflow("late", timeout_s=0.1)
    async def late(ctx: Context) -> None:
        await ctx.wait_event("never")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.call("late")
        except StepFailed as failed:
            return failed.error_code
        return ""

    async with open_house(tmp_path, w, late) as house:
        run_id = await house.start("w")
        assert "timed_out" == (await house.ended(run_id)).run.output


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_successor_of_a_losing_child_is_cancelled(tmp_path: Path, linger_s: float) -> None:
    @workflow("chain", version="1")
    async def chain(ctx: Context, turn: int) -> None:
        await ctx.wait_event("on")
        if turn < 1:
            ctx.continue_as(turn + 1)
        await ctx.wait_event("never")

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        won = await ctx.first(child=ctx.call("chain", 0), go=ctx.wait_event("go"))
        return won.name

    async with open_house(tmp_path, w, chain, linger_s=linger_s) as house:
        run_id = await house.start("w")
        (child,) = await runs_of(house, "chain", 1)
        await house.runs.send(child.id, name="on", payload=None)
        successor, _ = await runs_of(house, "chain", 2)
        await house.suspended(successor.id)
        await house.runs.send(run_id, name="go", payload=None)
        assert "go" == (await house.ended(run_id)).run.output
        assert "cancelled" == (await house.ended(successor.id)).run.status


async def test_child_that_is_started_after_the_cancel_of_its_parent_is_cancelled(
    tmp_path: Path,
) -> None:
    """The cancel is committed just before the suspension that starts the child."""
    is_there, may_go_on = asyncio.Event(), asyncio.Event()

    @workflow("child")
    async def child(ctx: Context) -> None:
        await ctx.wait_event("never")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("echo", echo, 1)
        is_there.set()
        await may_go_on.wait()
        await ctx.call("child")

    async with open_house(tmp_path, w, child) as house:
        run_id = await house.start("w")
        await is_there.wait()
        async with HeldDisk(house.store) as disk:
            cancel = asyncio.ensure_future(house.runs.cancel(run_id))
            await disk.until_waiting(1)
            may_go_on.set()
            await disk.until_waiting(2)
        await cancel
        assert "cancelled" == (await house.ended(run_id)).run.status
        (started,) = await runs_of(house, "child", 1)
        assert "cancelled" == (await house.ended(started.id)).run.status
        assert [] == await house.engine.sweep()


@pytest.mark.parametrize("how", ["completes", "fails", "times out"])
async def test_child_does_not_outlive_a_parent_that_has_ended_without_it(
    tmp_path: Path, how: str
) -> None:
    """A branch that fails does not wait for its child, and nobody would ask for its result."""

    @workflow("child")
    async def child(ctx: Context) -> None:
        await ctx.wait_event("never")

    @workflow("w", timeout_s=1.5 if how == "times out" else None)
    async def w(ctx: Context) -> str:
        won = await ctx.first(
            child=ctx.call("child"), other=ctx.wait_event("other"), go=ctx.wait_event("go")
        )
        if how == "fails":
            raise ValueError(won.name)
        return won.name

    async with open_house(tmp_path, w, child) as house:
        run_id = await house.start("w")
        (started,) = await runs_of(house, "child", 1)
        if how != "times out":
            await house.suspended(started.id)
            await house.runs.send(run_id, name="go", payload=None)
        statuses = {"completes": "completed", "fails": "failed", "times out": "timed_out"}
        assert statuses[how] == (await house.ended(run_id)).run.status
        assert (await house.ended(started.id)).run.status in {"cancelled", "timed_out"}


async def test_child_with_work_for_its_end_does_it_when_its_parent_has_ended(
    tmp_path: Path,
) -> None:
    done = []

    async def release() -> None:
        done.append(1)

    @workflow("child")
    async def child(ctx: Context) -> None:
        ctx.at_end(release)
        await ctx.wait_event("never")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.call("child")

    async with open_house(tmp_path, w, child) as house:
        run_id = await house.start("w")
        (started,) = await runs_of(house, "child", 1)
        await house.suspended(started.id)
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status
        assert "cancelled" == (await house.ended(started.id)).run.status

    assert [1] == done
