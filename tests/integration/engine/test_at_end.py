"""Work that was registered for the end of a run is done once, whichever way the run came there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agency import Context, StepFailed, workflow
from tests.integration.engine.house import crashed, open_house


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_cancel_does_what_every_branch_has_registered(
    tmp_path: Path, linger_s: float
) -> None:
    done: list[str] = []

    async def release(name: str) -> None:
        done.append(name)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        async def leg(name: str) -> None:
            ctx.at_end(release, name)
            await ctx.wait_event(name)

        await ctx.gather(a=leg("a"), b=leg("b"))

    async with open_house(tmp_path, w, linger_s=linger_s) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status

    assert ["b", "a"] == done


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_work_of_a_losing_branch_is_done_once_with_and_without_replay(
    tmp_path: Path, linger_s: float
) -> None:
    done: list[str] = []

    async def release(name: str) -> None:
        done.append(name)

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        async def leg() -> None:
            ctx.at_end(release, "lock")
            await ctx.sleep(3600)

        await ctx.first(slow=leg(), go=ctx.wait_event("go"))
        await ctx.wait_event("more")
        return "ok"

    async with open_house(tmp_path, w, linger_s=linger_s) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["more"])
        assert ["lock"] == done
        await house.runs.send(run_id, name="more", payload=None)
        assert "ok" == (await house.ended(run_id)).run.output

    assert ["lock"] == done


async def test_only_unrecorded_work_is_done_again_whatever_the_order_of_replay(
    tmp_path: Path,
) -> None:
    """Live ``b`` registers before ``a``; on replay it is the other way round."""
    done: list[str] = []
    b_is_registered = asyncio.Event()
    may_go_on = asyncio.Event()

    async def acquire(name: str) -> str:
        if name == "a":
            await b_is_registered.wait()
        return name

    async def release(name: str) -> None:
        done.append(name)
        if name == "b":
            await may_go_on.wait()

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        async def leg(name: str) -> None:
            await ctx.step("acquire", acquire, name)
            ctx.at_end(release, name)
            b_is_registered.set()
            await ctx.step("use", acquire, "nothing")

        await ctx.gather(a=leg("a"), b=leg("b"))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        async with asyncio.timeout(5):
            while not any(key.startswith("!end/") for key in await house.keys(run_id)):
                await house.runs.watch(run_id, timeout_s=0.2)
        left = crashed(tmp_path, tmp_path / "killed")
    assert ["a", "b"] == done

    done.clear()
    may_go_on.set()
    async with open_house(left, w) as house:
        assert "completed" == (await house.ended(run_id)).run.status
    assert ["b"] == done


async def test_work_that_fails_does_not_keep_the_rest_from_being_done(tmp_path: Path) -> None:
    done: list[str] = []

    async def release(name: str) -> None:
        done.append(name)
        if name == "second":
            raise OSError("it cannot be released")

    @workflow("w")
    async def w(ctx: Context) -> None:
        for name in ("first", "second", "third"):
            ctx.at_end(release, name)
        raise ValueError("the reason of the end")

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert ["third", "second", "first"] == done
    assert run.error is not None
    assert ("failed", "the reason of the end") == (run.status, run.error.message)


async def test_work_of_a_run_that_goes_on_as_another_is_done(tmp_path: Path) -> None:
    done: list[Any] = []

    async def release(value: int) -> None:
        done.append(value)

    @workflow("w")
    async def w(ctx: Context, turn: int) -> str:
        ctx.at_end(release, turn)
        if turn < 2:
            ctx.continue_as(turn + 1)
        return "last"

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w", 1)).run
        assert [1] == done[:1]
        output = run.output
        assert output is not None
        assert "last" == (await house.ended(output["continued_as"])).run.output

    assert [1, 2] == done


async def test_end_does_nothing_of_a_branch_beyond_its_frontier(tmp_path: Path) -> None:
    """A cancelled run is replayed to find its work; no step that was not begun is begun."""
    acts: list[str] = []

    async def act(name: str) -> None:
        acts.append(name)

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        ctx.at_end(act, "end")
        try:
            await ctx.wait_event("never")
        except StepFailed:
            acts.append("failed")
        await ctx.step("after", act, "after")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status

    assert ["end"] == acts
