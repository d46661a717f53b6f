"""The small things that a workflow asks of its context, and misuse of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, StepFailed, workflow
from agency.engine.runs import StartRequest
from agency.errors import ForeignTask, InvalidInput, StepNameTaken
from tests.integration.engine.house import open_house


async def echo(value: Any = None) -> Any:
    return value


async def test_context_tells_what_the_run_is(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> list[Any]:
        return [ctx.run_id, ctx.name, ctx.attempt, ctx.provider, ctx.session_id]

    async with open_house(tmp_path, w) as house:
        request = StartRequest(workflow="w", input=None, name="mine", session_id="s")
        run_id = (await house.runs.start(request)).run.id
        assert [run_id, "mine", 1, None, "s"] == (await house.ended(run_id)).run.output


async def test_sleep_until_a_moment(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        await ctx.sleep_until(datetime.now(UTC) + timedelta(milliseconds=20))
        try:
            await ctx.sleep_until(datetime.now())  # noqa: DTZ005  that is what is refused
        except InvalidInput:
            return "awake"
        return "not refused"

    async with open_house(tmp_path, w) as house:
        assert "awake" == (await house.ended(await house.start("w"))).run.output


async def misuse(ctx: Context, how: str) -> None:
    match how:
        case "both named and unnamed":
            ctx.gather(ctx.step("a", echo), b=ctx.step("b", echo))  # type: ignore[call-overload]  # refused
        case "no branch":
            await ctx.first()
        case "not awaitable":
            await ctx.gather(a=1)  # type: ignore[call-overload]  # refused
        case "limit":
            await ctx.gather(ctx.step("a", echo), limit=0)
        case "name":
            await ctx.step("a/b", echo)
        case "no name":
            await ctx.step("", echo)
        case _:
            await ctx.first(**{"a.b/c": ctx.step("a", echo)})


@pytest.mark.parametrize(
    "how",
    ["both named and unnamed", "no branch", "not awaitable", "limit", "name", "no name", "branch"],
)
async def test_misuse_is_refused(tmp_path: Path, how: str) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await misuse(ctx, how)

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "invalid_input") == (run.status, run.error.code)


async def test_call_inside_a_step_is_refused(tmp_path: Path) -> None:
    refusals: list[type[Exception]] = []

    @workflow("w")
    async def w(ctx: Context) -> None:
        async def inside() -> None:
            for name in ("outer", "inner"):
                try:
                    await ctx.step(name, echo)
                except (ForeignTask, StepNameTaken) as error:
                    refusals.append(type(error))

        await ctx.step("outer", inside)

    async with open_house(tmp_path, w) as house:
        assert "completed" == (await house.run("w")).run.status
    assert [StepNameTaken, ForeignTask] == refusals


async def test_operation_is_awaited_only_once(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        step = ctx.step("echo", echo, 1)
        await step
        try:
            await step
        except RuntimeError as error:
            return str(error)
        return ""

    async with open_house(tmp_path, w) as house:
        assert "only once" in (await house.run("w")).run.output


async def test_payload_that_does_not_fit_fails_the_wait(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.wait_event("news", schema=int)
        except StepFailed as failed:
            return failed.error_code
        return ""

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="news", payload="no number")
        status = (await house.ended(run_id)).run.status

    assert "completed" == status


async def test_code_that_cancels_itself_fails_its_run(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        raise asyncio.CancelledError

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "The workflow's code has cancelled itself.") == (
        run.status,
        run.error.message,
    )


async def test_code_that_ends_before_its_journal_asks(tmp_path: Path) -> None:
    def make(steps: int) -> Any:
        @workflow("w", version=str(steps))
        async def w(ctx: Context) -> str:
            for _ in range(steps):
                await ctx.step("echo", echo)
            if steps > 1:
                await ctx.wait_event("news")
            return "ended"

        return w

    async with open_house(tmp_path, make(2)) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
    async with open_house(tmp_path, make(1)) as house:
        await house.runs.send(run_id, name="news", payload=1)
        detail = await house.until(
            run_id, lambda d: any(wait.kind == "version" for wait in d.waits)
        )
        (wait,) = [wait for wait in detail.waits if wait.kind == "version"]
        assert ("echo#2", "the end") == (wait.show["recorded"], wait.show["asked"])
        await house.resume(run_id, {"action": "accept"})
        assert "ended" == (await house.ended(run_id)).run.output


async def test_run_of_a_workflow_that_is_gone_can_be_cancelled(tmp_path: Path) -> None:
    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        ctx.at_end(echo)
        await ctx.wait_event("news")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
    async with open_house(tmp_path) as house:
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(run_id)).run.status
