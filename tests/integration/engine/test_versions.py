"""Code that does not fit its journal asks what to do, and does nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency import Context, StepFailed, workflow
from agency.domain.entry import EntryKind
from tests.integration.engine.house import House, open_house


async def echo(value: Any = None) -> Any:
    return value


async def version_waits(house: House, run_id: str) -> list[str]:
    """Keys of the open waits for a choice of code, once there is one."""
    detail = await house.until(
        run_id,
        lambda detail: (
            detail.run.status == "suspended"
            and any(wait.kind == "version" for wait in detail.waits)
        ),
    )
    return [wait.key for wait in detail.waits if wait.kind == "version"]


def race(step: str) -> Callable[..., Any]:
    @workflow("race", version=step)
    async def race(ctx: Context) -> Any:
        async def leg() -> Any:
            await ctx.step(step, echo, 1)
            return await ctx.wait_event("x")

        won = await ctx.first(a=leg(), b=ctx.wait_event("b"))
        return [won.name, won.value]

    return race


async def test_mismatch_in_a_branch_does_not_win_the_race(tmp_path: Path) -> None:
    async with open_house(tmp_path, race("one")) as house:
        run_id = await house.start("race")
        await house.suspended(run_id)

    async with open_house(tmp_path, race("two")) as house:
        await house.runs.send(run_id, name="b", payload=1)
        (key,) = await version_waits(house, run_id)
        entries = await house.runs.entries(run_id, after=0, limit=99)
        assert EntryKind.WINNER not in {entry.kind for entry in entries}

    async with open_house(tmp_path, race("one")) as house:
        await house.resume(run_id, {"action": "continue"}, wait=key)
        assert ["b", 1] == (await house.ended(run_id)).run.output


def beside(step: str) -> Callable[..., Any]:
    @workflow("beside", version=step)
    async def beside(ctx: Context) -> Any:
        async def leg() -> Any:
            await ctx.wait_event("go")
            await ctx.step(step, echo, 1)
            return await ctx.wait_event("more")

        return await ctx.gather(ctx.wait_event("other"), leg())

    return beside


async def test_mismatch_leaves_a_branch_that_waits_beside_it(tmp_path: Path) -> None:
    async with open_house(tmp_path, beside("one")) as house:
        run_id = await house.start("beside")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        await house.until(run_id, lambda d: "more" in [wait.name for wait in d.waits])

    async with open_house(tmp_path, beside("two")) as house:
        await house.runs.send(run_id, name="more", payload=1)
        (key,) = await version_waits(house, run_id)

    async with open_house(tmp_path, beside("one")) as house:
        await house.resume(run_id, {"action": "continue"}, wait=key)
        await house.runs.send(run_id, name="other", payload=2)
        assert [2, 1] == (await house.ended(run_id)).run.output


def many(step: str) -> Callable[..., Any]:
    @workflow("many", version=step)
    async def many(ctx: Context) -> Any:
        await ctx.step(step, echo, 1)

        async def leg(name: str) -> Any:
            return await ctx.wait_event(name)

        return await ctx.gather(*[leg(f"e{number}") for number in range(4)])

    return many


async def asked_again(house: House, run_id: str, snapshot_id: str | None) -> None:
    await house.until(run_id, lambda detail: detail.snapshot_id not in {None, snapshot_id})


async def test_run_that_is_woken_again_asks_once(tmp_path: Path) -> None:
    async with open_house(tmp_path, many("one")) as house:
        run_id = await house.start("many")
        await house.suspended(run_id)

    async with open_house(tmp_path, many("two")) as house:
        for number in range(4):
            snapshot_id = (await house.suspended(run_id)).snapshot_id
            await house.runs.send(run_id, name=f"e{number}", payload=number)
            await asked_again(house, run_id, snapshot_id)
        assert 1 == len(await version_waits(house, run_id))
        await house.resume(run_id, {"action": "accept"})
        assert [0, 1, 2, 3] == (await house.ended(run_id)).run.output


@workflow("takes_a_number")
async def takes_a_number(ctx: Context, number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("called", "value", "code"),
    [
        ("no-such-workflow", {}, "workflow_not_found"),
        ("takes_a_number", "no number", "invalid_input"),
        ("takes_a_number", object(), "error"),
    ],
)
@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_call_that_cannot_be_made_fails_the_same_on_replay(
    tmp_path: Path, called: str, value: Any, code: str, linger_s: float
) -> None:
    @workflow("w", version="1")
    async def w(ctx: Context) -> Any:
        try:
            return await ctx.call(called, value)
        except StepFailed as failed:
            instead = await ctx.step("instead", echo, failed.error_code)
        await ctx.wait_event("go")
        return instead

    async with open_house(tmp_path, w, takes_a_number, linger_s=linger_s) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        assert code == (await house.ended(run_id)).run.output
