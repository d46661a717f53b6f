"""What branches of one run commit beside each other: its order, and who is told."""

import asyncio
from pathlib import Path
from typing import Any

from agency import Context, workflow
from agency.engine.recorder import Recorder
from agency.errors import ModelUnavailable
from agency.ports.store import Writes
from tests.integration.engine.disk import HeldDisk, block_until_recorded
from tests.integration.engine.house import crashed, open_house


async def test_moment_that_rides_with_another_branch_comes_before_the_step_after_it(
    tmp_path: Path,
) -> None:
    may_end = asyncio.Event()
    begun = asyncio.Barrier(3)

    async def work(value: int) -> int:
        await begun.wait()
        await may_end.wait()
        return value

    @workflow("w", version="1")
    async def w(ctx: Context) -> list[Any]:
        async def leg() -> int:
            ctx.now()
            return await ctx.step("work", work, 2)

        both = await ctx.gather(ctx.step("work", work, 1), leg())
        await ctx.wait_event("go")
        return both

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await begun.wait()
        async with HeldDisk(house.store) as disk:
            may_end.set()
            await disk.until_waiting(2)
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        assert [1, 2] == (await house.ended(run_id)).run.output
        keys = await house.keys(run_id)

    assert keys.index("gather#1.1/now#1") < keys.index("gather#1.1/work#1")


async def test_wait_that_rides_with_a_losing_branch_is_watched_for(tmp_path: Path) -> None:
    """The commit is awaited by nobody any more when it is done."""
    is_there = False
    x_may_end, y_may_end, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begun = asyncio.Barrier(4)

    async def wait_for(event: asyncio.Event) -> None:
        await begun.wait()
        await event.wait()

    async def model() -> str:
        if not asked.is_set():
            await wait_for(asked)
        if not is_there:
            raise ModelUnavailable("model:m", "it is away")
        return "answer"

    async def look() -> bool:
        return is_there

    @workflow("w", version="1")
    async def w(ctx: Context) -> dict[str, Any]:
        async def race() -> str:
            won = await ctx.first(
                x=ctx.step("x", wait_for, x_may_end), y=ctx.step("y", wait_for, y_may_end)
            )
            await ctx.wait_event("go")
            return won.name

        return await ctx.gather(race=race(), ask=ctx.step("ask", model))

    async with open_house(tmp_path, w, health={"model:m": look}, linger_s=30.0) as house:
        run_id = await house.start("w")
        await begun.wait()
        async with HeldDisk(house.store) as disk:
            x_may_end.set()
            await disk.until_waiting(1)
            disk.let_go()
            block_until_recorded(tmp_path, "gather#1.race/first#1.x/x#1")
            asked.set()
            y_may_end.set()
        detail = await house.suspended(run_id)
        assert {"resource", "event"} == {wait.kind for wait in detail.waits}
        is_there = True
        await house.until(run_id, lambda d: [wait.kind for wait in d.waits] == ["event"])
        await house.runs.send(run_id, name="go", payload=None)
        assert {"race": "x", "ask": "answer"} == (await house.ended(run_id)).run.output


async def test_answer_that_came_before_its_branch_waits_is_found_at_once(tmp_path: Path) -> None:
    """Another branch is busy all the while, and only ends when the answer has come through."""
    may_wait, has_come, is_busy = asyncio.Event(), asyncio.Event(), asyncio.Event()
    may_wait.set()

    async def busy() -> None:
        is_busy.set()
        await has_come.wait()

    @workflow("w", version="1")
    async def w(ctx: Context) -> list[Any]:
        async def leg() -> Any:
            await may_wait.wait()
            payload = await ctx.wait_event("x")
            has_come.set()
            return payload

        async def other() -> None:
            await ctx.wait_event("go")
            await ctx.step("busy", busy)

        return await ctx.gather(leg(), other())

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        may_wait.clear()
        await house.runs.send(run_id, name="go", payload=None)
        await is_busy.wait()
        await house.runs.send(run_id, name="x", payload=5)
        may_wait.set()
        assert [5, None] == (await house.ended(run_id)).run.output


async def test_wait_beside_a_busy_branch_is_stored_without_being_pushed(tmp_path: Path) -> None:
    may_end = asyncio.Event()

    @workflow("w", version="1")
    async def w(ctx: Context) -> list[Any]:
        return await ctx.gather(ctx.wait_event("x"), ctx.step("busy", may_end.wait))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["x"])
        left = crashed(tmp_path, tmp_path / "killed")
        may_end.set()

    async with open_house(left, w) as house:
        await house.runs.send(run_id, name="x", payload=5)
        assert [5, True] == (await house.ended(run_id)).run.output


async def test_flush_that_finds_nothing_left_does_not_end_the_claim(tmp_path: Path) -> None:
    """What it was for may have ridden with the suspension, after which nothing can be recorded."""
    lost = []

    @workflow("w")
    async def w(ctx: Context) -> None:
        return

    async with open_house(tmp_path, w) as house:
        worker = house.engine._worker
        worker._is_draining = True  # the test claims the run itself
        run_id = await house.start("w")
        parts = worker._parts
        (run,) = await parts.store.runs.claim(limit=1, owner="test", now=parts.clock.now())
        recorder = Recorder(
            parts,
            run,
            on_resolved=lambda _: None,
            on_lost=lambda: lost.append(run_id),
            on_broken=lambda error: lost.append(str(error)),
        )
        recorder.set_progress({"done": 1})
        recorder.flush_within(0.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 1 == len(recorder._commits), "the flush is under way, and has not begun"
        writes = recorder.take()
        suspension = await parts.store.runs.suspend(
            recorder.claim,
            writes,
            blocked_on=["something"],
            snapshot_id="00000000-0000-7000-8000-000000000000",
            reason="test",
            now=parts.clock.now(),
        )
        await recorder.settle()

    assert isinstance(writes, Writes)
    assert writes.has_progress
    assert suspension.snapshot_id is not None
    assert [] == lost
    assert not recorder.is_lost
