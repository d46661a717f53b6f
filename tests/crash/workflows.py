"""Workflows whose every effect is seen from outside, for daemons that are killed.

Loaded by the daemon as an author's file. Each step says "begin" and "end" in a log outside, one
line in one synced write, so that what was said is there whatever happens to the process. Nothing of
this file may depend on anything but the input: the end of a killed run is compared with the end of
one that nobody disturbed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

from agency import Context, Retry, StepFailed, current_step, workflow

LOG = os.environ["CRASH_EFFECTS"]
BOOT = int(os.environ["CRASH_BOOT"])
PAUSE_S = 0.05


def note(what: str) -> None:
    """Say in the log outside what the step in hand does."""
    info = current_step()
    line = {
        "boot": BOOT,
        "run": info.run_id,
        "step": info.key,
        "key": info.idempotency_key,
        "what": what,
    }
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, json.dumps(line).encode() + b"\n")
        os.fsync(log)
    finally:
        os.close(log)


async def double(value: int) -> int:
    note("begin")
    await asyncio.sleep(0)
    note("end")
    return value * 2


async def slowly(value: int) -> int:
    """Take long enough to be hit by a kill at a random moment."""
    note("begin")
    await asyncio.sleep(PAUSE_S)
    note("end")
    return value + 1


def plainly(value: int) -> list[int]:
    """Work in a thread."""
    note("begin")
    note("end")
    return [value, value]


async def charge(amount: int) -> str:
    """Do what must not be done twice."""
    note("begin")
    await asyncio.sleep(PAUSE_S)
    note("end")
    return f"charged {amount}"


async def echo(value: Any) -> Any:
    note("begin")
    note("end")
    return value


async def at_second_try(value: int) -> int:
    note("begin")
    if current_step().attempt == 1:
        raise ConnectionError("not yet")
    note("end")
    return value


async def never() -> None:
    note("begin")
    raise ValueError("never")


async def caught(ctx: Context) -> str:
    try:
        await ctx.step("never", never)
    except StepFailed as failed:
        return failed.error_class
    return "it did not fail"


async def branch(ctx: Context, start: int) -> int:
    value = await ctx.step("slowly", slowly, start)
    await ctx.sleep(PAUSE_S)
    return await ctx.step("double", double, value)


@workflow("crash-child", version="1")
async def child(ctx: Context, input: int) -> dict[str, int]:
    first = await ctx.step("slowly", slowly, input)
    await ctx.sleep(PAUSE_S)
    return {"value": await ctx.step("double", double, first)}


@workflow("crash-whole", version="1")
async def whole(ctx: Context, input: int) -> dict[str, Any]:
    """Meet everything that a run can meet."""
    ctx.at_end(echo, "the end")
    began = ctx.now()
    drawn = [ctx.random(), ctx.uuid(), began.isoformat()]
    kept = await ctx.step("echo", echo, drawn)
    quote = await ctx.step("double", double, input)
    plain = await ctx.step("plainly", plainly, quote)
    retried = await ctx.step(
        "second", at_second_try, 7, retry=Retry(attempts=3, base_s=0.01, jitter=False)
    )
    failure = await caught(ctx)
    receipt = await ctx.step("charge", charge, quote, effect="once")
    await ctx.sleep(PAUSE_S)
    both = await ctx.gather(
        left=branch(ctx, 1), right=branch(ctx, 2), child=ctx.call("crash-child", 5)
    )
    safely = await ctx.gather(
        left=ctx.step("charge", charge, 1, effect="once"),
        right=ctx.step("charge", charge, 2, effect="once"),
    )
    items = await ctx.map("item", [1, 2, 3, 4], slowly, limit=2)
    late = await ctx.first(never=ctx.wait_event("never"), late=ctx.sleep(PAUSE_S))
    paid = await ctx.wait_event("paid")
    address = await ctx.input("Where to?", schema=str)
    last = await ctx.step("slowly", slowly, 41)
    return {
        "quote": quote,
        "plain": plain,
        "retried": retried,
        "failure": failure,
        "receipt": receipt,
        "both": both,
        "items": items,
        "winner": late.name,
        "paid": paid,
        "address": address,
        "last": last,
        "safely": safely,
        "same": kept == drawn and ctx.now() >= began,
    }


@workflow("crash-short", version="1")
async def short(ctx: Context, input: int) -> int:
    """Three steps, for many runs at once."""
    value = await ctx.step("slowly", slowly, input)
    value = await ctx.step("double", double, value)
    return await ctx.step("slowly", slowly, value)


@workflow("crash-long", version="1")
async def long(ctx: Context, input: int) -> int:
    """So many steps one after the other."""
    value = 0
    for _ in range(input):
        value = await ctx.step("slowly", slowly, value)
    return value


@workflow("crash-held", version="1")
async def held(ctx: Context) -> list[Any]:
    """Take three events, one after the other, and end with them."""
    taken = []
    for _ in range(3):
        taken.append(await ctx.wait_event("item"))
        await ctx.step("echo", echo, taken[-1])
    return taken


@workflow("crash-bomb", version="1")
async def bomb(ctx: Context) -> None:
    """Take the whole daemon along, each time."""
    await ctx.step("explode", explode)


async def explode() -> None:
    note("begin")
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(60)


@workflow("crash-forever", version="1")
async def forever(ctx: Context) -> None:
    """Be in flight until it is cancelled."""
    await ctx.step("double", double, 1)
    await ctx.step("wait", wait_for_ever)


async def wait_for_ever() -> None:
    note("begin")
    await asyncio.Event().wait()


@workflow("crash-chain", version="1")
async def chain(ctx: Context, input: int) -> int:
    """Go on as its own successor, three times."""
    value = await ctx.step("slowly", slowly, input)
    if value < 3:
        ctx.continue_as(value)
    return value
