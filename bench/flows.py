"""The workflows of the benchmark; the daemon loads this file as an author's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from agency import Context, workflow


@dataclass(frozen=True)
class Work:
    """How many steps a run has, and how many characters each hands back."""

    steps: int
    size: int


@dataclass(frozen=True)
class Fan:
    """How many runs are done at once, and what each does."""

    runs: int
    work: Work


async def work(number: int, size: int) -> str:
    """Do nothing, and hand back so much text."""
    return "x" * size


async def repeat(text: str) -> str:
    """Hand back what was said."""
    return text


@workflow("bench-echo", version="1")
async def echo(ctx: Context, input: str) -> str:
    """Repeat, in a step."""
    return await ctx.step("repeat", repeat, input)


@workflow("bench-steps", version="1")
async def steps(ctx: Context, input: Work) -> int:
    """Do steps one after another."""
    for number in range(input.steps):
        await ctx.step("work", work, number, input.size)
    return input.steps


@workflow("bench-fan", version="1")
async def fan(ctx: Context, input: Fan) -> int:
    """Do many runs at once."""
    done = await ctx.gather(*(ctx.call("bench-steps", input.work) for _ in range(input.runs)))
    return sum(done)


@dataclass(frozen=True)
class Drum:
    """How many steps a run has, and how long it pauses after each."""

    beats: int
    pause_s: float


@workflow("bench-drum", version="1")
async def drum(ctx: Context, input: Drum) -> int:
    """Do steps at a rate."""
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    for number in range(input.beats):
        await ctx.step("beat", work, number, 64)
        next_s += input.pause_s
        await asyncio.sleep(max(0.0, next_s - loop.time()))
    return input.beats


@workflow("bench-wait", version="1")
async def wait(ctx: Context) -> str:
    """Wait for one event, and end with what it says."""
    said: str = await ctx.wait_event("go")
    return said


@workflow("bench-nap", version="1")
async def nap(ctx: Context) -> None:
    """Sleep for a year."""
    await ctx.sleep(timedelta(days=365))


@workflow("bench-noop", version="1")
async def noop(ctx: Context) -> None:
    """Do nothing."""
