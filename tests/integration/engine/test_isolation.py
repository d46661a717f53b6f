"""Steps in threads and in processes of their own."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agency import Context, Retry, workflow
from tests.integration.engine import isolated_steps
from tests.integration.engine.house import open_house


async def test_process_that_dies_is_tried_again(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step(
            "die",
            isolated_steps.die_once,
            str(tmp_path / "mark"),
            isolation="process",
            retry=Retry(attempts=3, base_s=0),
        )

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        assert "survived" == (await house.ended(run_id)).run.output
        assert ["die#1~1", "die#1"] == await house.keys(run_id)


@pytest.mark.parametrize(
    ("function", "arguments", "status", "answer"),
    [
        (isolated_steps.print_much, [5], "completed", "printed"),
        (isolated_steps.echo_later, ["later"], "completed", "later"),
        (isolated_steps.fail, [], "failed", "it went wrong over there"),
        (isolated_steps.return_nothing_plain, [], "failed", "not JSON serializable"),
        (isolated_steps.Methods.step, [], "failed", "cannot run in a process of its own"),
        (lambda: 1, [], "failed", "cannot run in a process of its own"),
        (isolated_steps.echo_later, [object()], "failed", "not JSON serializable"),
    ],
    ids=["prints", "async", "fails", "no-json", "method", "lambda", "argument"],
)
async def test_step_in_a_process_of_its_own(
    tmp_path: Path, function: Any, arguments: list[Any], status: str, answer: str
) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.step("work", function, *arguments, isolation="process")

    async with open_house(tmp_path, w) as house:
        run = (await house.ended(await house.start("w"))).run

    assert status == run.status
    assert answer in (str(run.output) if run.error is None else run.error.message)


async def test_cancel_kills_the_process_of_a_step(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("sleep", isolated_steps.sleep_long, isolation="process")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.until(run_id, lambda d: d.run.status == "running")
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status


async def test_waiting_for_a_thread_does_not_count_towards_the_limit(tmp_path: Path) -> None:
    may_end = threading.Event()
    has_begun = threading.Event()

    def block() -> str:
        has_begun.set()
        assert may_end.wait(10)
        return "blocked"

    def quick() -> str:
        return "quick"

    @workflow("w")
    async def w(ctx: Context) -> list[str]:
        return await ctx.gather(ctx.step("block", block), ctx.step("quick", quick, timeout_s=0.05))

    async with open_house(tmp_path, w, step_threads=1) as house:
        run_id = await house.start("w")
        while not has_begun.is_set():
            await asyncio.sleep(0.005)
        asyncio.get_running_loop().call_later(0.2, may_end.set)
        assert ["blocked", "quick"] == (await house.ended(run_id)).run.output


async def test_plain_function_may_hand_back_something_to_await(tmp_path: Path) -> None:
    async def later() -> str:
        return "later"

    def begin() -> Any:
        return later()

    def stop() -> None:
        raise StopIteration("nothing more")

    @workflow("w")
    async def w(ctx: Context) -> str:
        return str(await ctx.step("begin", begin))

    @workflow("stops")
    async def stops(ctx: Context) -> None:
        await ctx.step("stop", stop)

    async with open_house(tmp_path, w, stops) as house:
        assert "later" == (await house.run("w")).run.output
        run = (await house.run("stops")).run

    assert run.error is not None
    assert "nothing more" in run.error.message


async def test_late_function_that_raises_after_a_cancel_disturbs_nobody(tmp_path: Path) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def block() -> None:
        has_begun.set()
        assert may_end.wait(10)
        raise ValueError("nobody hears this")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("block", block)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        while not has_begun.is_set():
            await asyncio.sleep(0.005)
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status
        may_end.set()
        assert not house.engine.failed.done()
