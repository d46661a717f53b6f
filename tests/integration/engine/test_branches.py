import asyncio
from pathlib import Path
from typing import Any

from agency import Context, StepFailed, workflow
from tests.integration.engine.house import open_house


async def echo(value: Any) -> Any:
    return value


async def test_gather_runs_branches_beside_each_other(tmp_path: Path) -> None:
    both = asyncio.Barrier(2)

    async def meet(value: int) -> int:
        await both.wait()
        return value

    @workflow("w")
    async def w(ctx: Context) -> Any:
        named = await ctx.gather(a=ctx.step("meet", meet, 1), b=ctx.step("meet", meet, 2))
        listed = await ctx.gather(ctx.step("echo", echo, 3), ctx.step("echo", echo, 4))
        return [named, listed]

    async with open_house(tmp_path, w) as house:
        assert [{"a": 1, "b": 2}, [3, 4]] == (await house.run("w")).run.output


async def test_gather_of_authors_coroutines_nests(tmp_path: Path) -> None:
    async def leg(ctx: Context, name: str) -> Any:
        first = await ctx.step("one", echo, name)
        pair = await ctx.gather(x=ctx.step("two", echo, 1), y=ctx.wait_event(f"go-{name}"))
        return [first, pair]

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(a=leg(ctx, "a"), b=leg(ctx, "b"))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        for name in ("b", "a"):
            await house.runs.send(run_id, name=f"go-{name}", payload=name)
        output = (await house.ended(run_id)).run.output

    assert {
        "a": ["a", {"x": 1, "y": "a"}],
        "b": ["b", {"x": 1, "y": "b"}],
    } == output


async def test_gather_waits_for_all_and_raises_by_branch_order(tmp_path: Path) -> None:
    seen = []

    async def fail(name: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        seen.append(name)
        raise ValueError(name)

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.gather(a=ctx.step("f", fail, "a", 0.05), b=ctx.step("f", fail, "b", 0.0))
        except StepFailed as failed:
            return str(failed)

    async with open_house(tmp_path, w) as house:
        assert "a" == (await house.run("w")).run.output
    assert ["b", "a"] == seen


async def test_map_bounds_what_runs_at_once_and_keeps_order(tmp_path: Path) -> None:
    running = [0]
    most = [0]

    async def work(item: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.005)
        running[0] -= 1
        return item * 2

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.map("item", range(20), work, limit=4)

    async with open_house(tmp_path, w) as house:
        detail = await house.run("w")

    assert [n * 2 for n in range(20)] == detail.run.output
    assert 4 == most[0]
    assert 20 == detail.steps_executed


async def test_first_records_its_winner_and_cancels_the_others(tmp_path: Path) -> None:
    seen = []

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @workflow("w")
    async def w(ctx: Context) -> Any:
        won = await ctx.first(
            paid=ctx.wait_event("paid"), late=ctx.sleep(3600), busy=ctx.step("slow", slow)
        )
        rest = await ctx.wait_event("go")
        return [won.name, won.value, rest]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.until(run_id, lambda d: d.run.status == "running")
        await house.runs.send(run_id, name="paid", payload=5)
        detail = await house.suspended(run_id)
        assert ["go"] == [wait.name for wait in detail.waits]
        await house.runs.send(run_id, name="go", payload=6)
        assert ["paid", 5, 6] == (await house.ended(run_id)).run.output
    assert ["cancelled"] == seen


async def test_event_of_a_losing_branch_goes_back_to_the_mailbox(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        won = await ctx.first(a=ctx.wait_event("a"), b=ctx.wait_event("b"))
        other = await ctx.wait_event("b" if won.name == "a" else "a")
        return [won.name, won.value, other]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        snapshot = await house.runs.suspend(run_id, reason="both at once", wait_s=1)
        assert snapshot is not None
        await house.runs.send(run_id, name="a", payload=1)
        await house.runs.send(run_id, name="b", payload=2)
        await house.runs.resume(snapshot.id)
        assert ["a", 1, 2] == (await house.ended(run_id)).run.output


async def test_child_of_a_losing_branch_is_cancelled(tmp_path: Path) -> None:
    @workflow("child")
    async def child(ctx: Context) -> Any:
        await ctx.wait_event("never")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        won = await ctx.first(child=ctx.call("child"), go=ctx.wait_event("go"))
        return won.name

    async with open_house(tmp_path, w, child) as house:
        run_id = await house.start("w")
        detail = await house.until(run_id, lambda d: len(d.waits) == 2)
        child_id = next(wait.target for wait in detail.waits if wait.kind == "child")
        await house.runs.send(run_id, name="go", payload=None)
        assert "go" == (await house.ended(run_id)).run.output
        assert "cancelled" == (await house.ended(child_id)).run.status


async def test_nested_branches_of_a_loser_are_cut_off(tmp_path: Path) -> None:
    async def leg(ctx: Context) -> Any:
        return await ctx.gather(ctx.wait_event("x"), ctx.sleep(3600), ctx.step("echo", echo, 1))

    @workflow("w")
    async def w(ctx: Context) -> Any:
        won = await ctx.first(leg=leg(ctx), go=ctx.wait_event("go"))
        after = await ctx.wait_event("end")
        return [won.name, after]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        detail = await house.until(
            run_id, lambda d: d.run.status == "suspended" and len(d.waits) == 1
        )
        assert ["end"] == [wait.name for wait in detail.waits]
        await house.runs.send(run_id, name="end", payload="e")
        assert ["go", "e"] == (await house.ended(run_id)).run.output


async def test_wait_in_one_branch_does_not_hold_up_another(tmp_path: Path) -> None:
    async def long_leg(ctx: Context) -> Any:
        return [await ctx.step("echo", echo, n) for n in range(5)]

    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(wait=ctx.wait_event("go"), steps=long_leg(ctx))

    async with open_house(tmp_path, w, linger_s=5.0) as house:
        run_id = await house.start("w")
        detail = await house.suspended(run_id)
        assert 5 == detail.steps_executed
        await house.runs.send(run_id, name="go", payload="went")
        assert {"wait": "went", "steps": [0, 1, 2, 3, 4]} == (await house.ended(run_id)).run.output
