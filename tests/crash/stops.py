"""Workflows that stop where a test wants the daemon to be killed, and pass there in later lives.

Loaded by the daemon as an author's file, in place of ``workflows.py``.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from agency import Context, LegContext, Permanent, Retry, Saga, workflow
from tests.crash.workflows import BOOT, note

REACHED = os.environ["CRASH_REACHED"]
"""A pipe that the test reads: something in it says that the place is reached."""


async def stop(*, is_here: bool) -> None:
    """Tell the test, and do not go on, if this is the place and the first life."""
    if not is_here or BOOT > 1:
        return
    pipe = os.open(REACHED, os.O_WRONLY)
    os.write(pipe, b".")
    os.close(pipe)
    await asyncio.Event().wait()


async def work(value: int) -> int:
    note("begin")
    note("end")
    return value + 1


async def work_and_stop(value: int) -> int:
    note("begin")
    await stop(is_here=True)
    note("end")
    return value + 1


async def fail_once(value: int) -> int:
    note("begin")
    if BOOT == 1:
        raise ConnectionError("not in this life")
    note("end")
    return value + 1


@workflow("stops-claimed", version="1")
async def claimed(ctx: Context, input: int) -> int:
    value = await ctx.step("before", work, input)
    value = await ctx.step("stops", work_and_stop, value)
    return await ctx.step("after", work, value)


@workflow("stops-sleeping", version="1")
async def sleeping(ctx: Context, input: float) -> int:
    value = await ctx.step("before", work, 1)
    await ctx.sleep(input)
    return await ctx.step("after", work, value)


@workflow("stops-retrying", version="1")
async def retrying(ctx: Context, input: float) -> int:
    patient = Retry(attempts=3, base_s=input, jitter=False)
    value = await ctx.step("before", work, 1)
    return await ctx.step("second", fail_once, value, retry=patient)


@workflow("stops-tried-again", version="1", retry=Retry(attempts=3, base_s=1.0, jitter=False))
async def tried_again(ctx: Context) -> int:
    value = await ctx.step("before", work, 1)
    return await ctx.step("second", fail_once, value)


async def write(size_bytes: int) -> str:
    note("begin")
    note("end")
    return "x" * size_bytes


@workflow("stops-asking", version="1")
async def asking(ctx: Context, input: int) -> list[Any]:
    """Hold so many texts of a megabyte, and wait for somebody."""
    texts = [await ctx.step("write", write, 1 << 20) for _ in range(input)]
    answer = await ctx.input("Go on?")
    return [len(texts), answer, await ctx.step("after", work, 1)]


@workflow("stops-nowhere", version="1")
async def nowhere(ctx: Context, input: int) -> int:
    """Leave a journal of small texts and one large one behind."""
    for _ in range(input):
        await ctx.step("small", write, 1000)
    await ctx.step("large", write, 100_000 + input)
    return input


order = Saga("stops-order", version="1")
"""Its input says where it stops (``b.do``, ``b.undo`` …), and which of it fails."""


async def _leg(ctx: LegContext, what: str) -> str:
    place = f"{ctx.leg}.{what}"
    note("begin")
    await stop(is_here=ctx.input.get("stop") == place)
    if place in ctx.input.get("fail", ()):
        raise Permanent(f"{place} fails")
    note("end")
    return place


async def undo(ctx: LegContext, result: Any) -> None:
    await _leg(ctx, "undo")


@order.leg("a", undo=undo)
async def a(ctx: LegContext) -> str:
    return await _leg(ctx, "do")


@order.leg("b", undo=undo)
async def b(ctx: LegContext) -> str:
    return await _leg(ctx, "do")


@order.leg("c", undo=undo)
async def c(ctx: LegContext) -> str:
    return await _leg(ctx, "do")
