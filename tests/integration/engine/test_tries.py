"""Tries of a run as a whole, and of its steps in each of them."""

from pathlib import Path
from typing import Any

from agency import Context, Retry, StepFailed, workflow
from tests.integration.engine.house import open_house


async def test_step_has_all_its_tries_again_in_each_try_of_its_run(tmp_path: Path) -> None:
    tries = []

    async def flaky() -> None:
        tries.append(1)
        raise OSError("down")

    @workflow("w", retry=Retry(attempts=2, base_s=0))
    async def w(ctx: Context) -> None:
        await ctx.step("flaky", flaky, retry=Retry(attempts=3, base_s=0))

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert ("dead_letter", 2) == (run.status, run.attempt)
    assert 6 == len(tries)


async def test_failure_that_was_caught_stays_when_the_run_is_tried_again(tmp_path: Path) -> None:
    calls = {"caught": 0, "named": 0}

    async def fail(name: str) -> str:
        calls[name] += 1
        if name == "caught" or calls[name] == 1:
            raise OSError(name)
        return name

    @workflow("w", retry=Retry(attempts=2, base_s=0))
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("caught", fail, "caught")
        except StepFailed as failed:
            first = str(failed)
        return [first, await ctx.step("named", fail, "named")]

    async with open_house(tmp_path, w) as house:
        assert ["caught", "named"] == (await house.run("w")).run.output

    assert {"caught": 1, "named": 2} == calls


async def test_retry_delay_beyond_memory_is_a_wait_that_can_be_cut_short(tmp_path: Path) -> None:
    calls = []

    async def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("down")
        return "up"

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        return await ctx.step(
            "flaky", flaky, retry=Retry(attempts=2, base_s=3600, cap_s=3600, jitter=False)
        )

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        (wait,) = (await house.suspended(run_id)).waits
        assert "timer" == wait.kind
        await house.resume(run_id)
        assert "up" == (await house.ended(run_id)).run.output
