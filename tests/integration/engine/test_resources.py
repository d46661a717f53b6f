"""Runs that wait for a resource: asked for when it is back, and less and less when it refuses."""

import asyncio
from pathlib import Path

import pytest

from agency import Context, workflow
from agency.engine.steps import PATIENT_WAITS
from agency.errors import ModelInterrupted, ModelUnavailable
from tests.integration.engine.house import GUARD_S, open_house


async def test_resource_that_says_it_is_there_and_refuses_is_not_asked_without_pause(
    tmp_path: Path,
) -> None:
    calls = 0
    is_patient_no_more, is_asked = asyncio.Event(), asyncio.Event()

    async def look() -> bool:
        return True

    async def model() -> str:
        nonlocal calls
        calls += 1
        is_asked.set()
        if calls > PATIENT_WAITS:
            is_patient_no_more.set()
        raise ModelUnavailable("model:m", "503 of a proxy")

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        return await ctx.step("ask", model)

    async with open_house(tmp_path, w, health={"model:m": look}) as house:
        await house.start("w")
        async with asyncio.timeout(GUARD_S):
            await is_patient_no_more.wait()
        is_asked.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(is_asked.wait(), 0.6)  # six polls of the watcher


async def test_many_runs_wait_together_and_all_go_on(tmp_path: Path) -> None:
    is_there = False

    async def look() -> bool:
        return is_there

    async def model(number: int) -> int:
        if not is_there:
            raise ModelUnavailable("model:m", "it is away")
        return number

    @workflow("w", version="1")
    async def w(ctx: Context, number: int) -> int:
        return await ctx.step("ask", model, number)

    async with open_house(tmp_path, w, health={"model:m": look}) as house:
        run_ids = [await house.start("w", number) for number in range(20)]
        for run_id in run_ids:
            detail = await house.suspended(run_id)
            assert ["resource"] == [wait.kind for wait in detail.waits]
    async with open_house(tmp_path, w, health={"model:m": look}) as house:
        is_there = True
        assert list(range(20)) == [(await house.ended(run_id)).run.output for run_id in run_ids]


async def test_call_that_dies_with_its_server_waits_for_the_server(tmp_path: Path) -> None:
    is_there = False
    calls = 0

    async def look() -> bool:
        return is_there

    async def model() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ModelInterrupted("model:m", "the connection was lost")
        return "answer"

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        return await ctx.step("ask", model)

    async with open_house(tmp_path, w, health={"model:m": look}) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        is_there = True
        assert "answer" == (await house.ended(run_id)).run.output
    assert 2 == calls


async def test_once_step_that_was_refused_waits_and_is_done(tmp_path: Path) -> None:
    """Who was not reached has done nothing: nobody needs to be asked."""
    is_there = False
    calls = 0

    async def look() -> bool:
        return is_there

    async def model() -> str:
        nonlocal calls
        calls += 1
        if not is_there:
            raise ModelUnavailable("model:m", "it is away")
        return "answer"

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        return await ctx.step("ask", model, effect="once")

    async with open_house(tmp_path, w, health={"model:m": look}) as house:
        run_id = await house.start("w")
        detail = await house.suspended(run_id)
        assert ["resource"] == [wait.kind for wait in detail.waits]
    async with open_house(tmp_path, w, health={"model:m": look}) as house:
        is_there = True
        assert "answer" == (await house.ended(run_id)).run.output
    assert 2 == calls
