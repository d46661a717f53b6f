"""A fault of an author's code fails its run, and neither another run nor the daemon."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agency import Context, Retry, StepFailed, workflow
from tests.integration.engine.house import open_house


class Strange(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there is no text")


class Panic(BaseException):
    """As the bridges to other languages raise it."""


class Hinted(Exception):
    hint = frozenset({1, 2})


class Share(float):
    """A number that JSON does not know, as array libraries have them."""


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("it cannot be shown")


async def echo(value: Any = None) -> Any:
    return value


async def panic() -> None:
    raise Panic("a library has panicked")


@workflow("sound")
async def sound(ctx: Context) -> str:
    return str(await ctx.step("echo", echo, "sound"))


@workflow("surrogate")
async def surrogate(ctx: Context) -> None:
    raise ValueError("no file " + os.fsdecode(b"caf\xe9"))


@workflow("textless")
async def textless(ctx: Context) -> None:
    raise Strange


@workflow("panics")
async def panics(ctx: Context) -> None:
    await panic()


@workflow("panics_in_step")
async def panics_in_step(ctx: Context) -> None:
    await ctx.step("panic", panic)


@workflow("exits_in_branch")
async def exits_in_branch(ctx: Context) -> None:
    async def leg() -> None:
        await ctx.step("echo", echo, 1)
        sys.exit(7)

    await ctx.gather(leg(), ctx.step("echo", echo, 2))


@workflow("strange_progress")
async def strange_progress(ctx: Context) -> None:
    async def leg() -> None:
        await ctx.step("echo", echo, 1)
        ctx.progress(Share(0.5), 1.0)

    await ctx.gather(leg(), ctx.wait_event("never"))


@workflow("strange_prompt")
async def strange_prompt(ctx: Context) -> None:
    await ctx.input("caf\udce9")


@workflow("strange_hint")
async def strange_hint(ctx: Context) -> None:
    raise Hinted("with a hint that is no text")


@workflow("endless_sleep")
async def endless_sleep(ctx: Context) -> None:
    await ctx.sleep(float("inf"))


@workflow("sleep_beyond_the_calendar")
async def sleep_beyond_the_calendar(ctx: Context) -> None:
    await ctx.sleep(1e12)


FAULTY = [
    surrogate,
    textless,
    panics,
    panics_in_step,
    exits_in_branch,
    strange_prompt,
    strange_hint,
    endless_sleep,
    sleep_beyond_the_calendar,
]


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda faulty: faulty.__name__)
async def test_fault_fails_its_run_and_nothing_else(tmp_path: Path, faulty: Any) -> None:
    async with open_house(tmp_path, faulty, sound) as house:
        run = (await house.run(faulty.__name__)).run
        assert not house.engine.failed.done()
        assert "sound" == (await house.run("sound")).run.output

    assert run.error is not None
    assert "failed" == run.status
    assert run.error.message


async def test_progress_that_is_not_json_leaves_the_waits_of_others_alone(tmp_path: Path) -> None:
    async with open_house(tmp_path, strange_progress, sound) as house:
        run_id = await house.start("strange_progress")
        detail = await house.suspended(run_id)
        assert ["never"] == [wait.name for wait in detail.waits]
        await house.runs.send(run_id, name="never", payload=None)
        run = (await house.ended(run_id)).run

    assert run.error is not None
    assert ("failed", "NotJson") == (run.status, run.error.error_class)


async def test_step_whose_result_could_not_be_read_is_not_done(tmp_path: Path) -> None:
    acts = []

    async def act() -> Any:
        acts.append(1)

    act.__annotations__["return"] = Opaque

    @workflow("w", retry=Retry(attempts=3, base_s=0))
    async def w(ctx: Context) -> None:
        await ctx.step("act", act)

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "invalid_input", 1) == (run.status, run.error.code, run.attempt)
    assert [] == acts


async def test_argument_that_cannot_be_shown_is_handed_over_all_the_same(tmp_path: Path) -> None:
    async def take(value: Opaque) -> bool:
        return isinstance(value, Opaque)

    @workflow("w")
    async def w(ctx: Context) -> bool:
        return await ctx.step("take", take, Opaque())

    async with open_house(tmp_path, w) as house:
        assert (await house.run("w")).run.output is True


async def test_arguments_are_recorded_as_they_were_before_the_function(tmp_path: Path) -> None:
    async def change(value: dict[str, int]) -> None:
        value["changed"] = 1

    @workflow("w")
    async def w(ctx: Context) -> dict[str, int]:
        value = {"given": 1}
        await ctx.step("change", change, value)
        return value

    async with open_house(tmp_path, w) as house:
        detail = await house.run("w")
        (entry,) = await house.runs.entries(detail.run.id, after=0, limit=9)

    assert {"given": 1, "changed": 1} == detail.run.output
    assert entry.meta is not None
    assert b'"args":[{"given":1}]' in bytes(entry.meta)


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_failure_has_no_cause_live_as_on_replay(tmp_path: Path, linger_s: float) -> None:
    async def bad() -> None:
        raise OSError(5, "input/output error")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        cause: object = "none was raised"
        try:
            await ctx.step("bad", bad)
        except StepFailed as failed:
            cause = failed.__cause__
        await ctx.wait_event("go")
        return repr(cause)

    async with open_house(tmp_path, w, linger_s=linger_s) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        assert "None" == (await house.ended(run_id)).run.output
