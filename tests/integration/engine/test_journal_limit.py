"""The length of a journal has a limit, which holds for everything that is recorded."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from tests.integration.engine.house import open_house

LIMIT = 100
"""The smallest that the configuration allows."""


async def echo(value: Any = None) -> Any:
    return value


async def work(ctx: Context, what: str) -> None:
    match what:
        case "step":
            await ctx.step("echo", echo)
        case "sleep":
            await ctx.sleep(0)
        case "event":
            await ctx.first(a=ctx.wait_event("never"), b=ctx.sleep(0))
        case "now":
            ctx.now()
        case "at_end":
            ctx.at_end(echo)
        case _:
            await ctx.call("child")


@workflow("child")
async def child(ctx: Context) -> None:
    return


@pytest.mark.parametrize("what", ["step", "sleep", "event", "now", "at_end", "call"])
async def test_run_that_never_stops_recording_fails_at_the_limit(tmp_path: Path, what: str) -> None:
    @workflow("endless")
    async def endless(ctx: Context) -> None:
        for _ in range(LIMIT * 3):
            await work(ctx, what)

    async with open_house(
        tmp_path, endless, child, journal_entries_max=LIMIT, linger_s=5.0
    ) as house:
        run_id = await house.start("endless")
        run = (await house.ended(run_id)).run
        recorded = len(await house.keys(run_id))

    assert run.error is not None
    assert ("failed", "journal_full") == (run.status, run.error.code)
    assert recorded <= LIMIT


async def test_full_journal_fails_the_run_also_beside_a_branch_that_only_waits(
    tmp_path: Path,
) -> None:
    is_full = asyncio.Event()

    @workflow("w")
    async def w(ctx: Context) -> None:
        async def leg() -> None:
            for number in range(LIMIT):
                await ctx.step("echo", echo, number)
            is_full.set()

        async def other() -> None:
            await is_full.wait()
            await ctx.wait_event("x")

        await ctx.gather(leg(), other())

    async with open_house(tmp_path, w, journal_entries_max=LIMIT) as house:
        run_id = await house.start("w")
        run = (await house.ended(run_id)).run
        assert [] == await house.engine.sweep()

    assert run.error is not None
    assert ("failed", "journal_full") == (run.status, run.error.code)


async def test_journal_that_is_nearly_full_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow("w")
    async def w(ctx: Context) -> int:
        for number in range(LIMIT - 5):
            await ctx.step("echo", echo, number)
        return LIMIT

    with caplog.at_level(logging.WARNING, logger="agency.engine.recorder"):
        async with open_house(tmp_path, w, journal_entries_max=LIMIT) as house:
            assert LIMIT == (await house.run("w")).run.output

    assert ["journal nearly full"] == [record.message for record in caplog.records]
