"""Workflows that the tests of the MCP door start; loaded by the daemon, as any author's file."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from agency import Content, Context, bytes_part, data_part, link_part, text_part, workflow


class Order(BaseModel):
    sku: str
    count: int = 1


class Receipt(BaseModel):
    total: int
    sku: str


class Address(BaseModel):
    street: str


@workflow("order")
async def order(ctx: Context, input: Order) -> Receipt:
    """Order something."""
    return Receipt(total=input.count * 3, sku=input.sku)


@workflow("double")
async def double(ctx: Context, input: int) -> int:
    return input * 2


@workflow("nothing")
async def nothing(ctx: Context) -> None:
    return None


@workflow("echo.any")
async def echo(ctx: Context, input: Any) -> Any:
    return input


@workflow("large")
async def large(ctx: Context, input: int) -> str:
    return "x" * input


@workflow("numbers")
async def numbers(ctx: Context, input: int) -> list[int]:
    return list(range(input))


@workflow("address")
async def address(ctx: Context, input: str) -> str:
    found = await ctx.input("Where to?", schema=Address)
    return f"{input} to {found.street}"


@workflow("soon")
async def soon(ctx: Context) -> str:
    answer, _ = await ctx.gather(ctx.input("What?"), ctx.sleep(0.5))
    return str(answer)


@workflow("ship")
async def ship(ctx: Context) -> bool:
    return bool(await ctx.approve("Ship it?"))


@workflow("paid")
async def paid(ctx: Context) -> Any:
    return await ctx.wait_event("paid")


@workflow("steps")
async def steps(ctx: Context, input: float) -> str:
    for index in range(3):
        ctx.progress(index + 1, 3, f"step {index + 1}")
        await ctx.step(f"wait-{index}", asyncio.sleep, input / 3)
    return "done"


@workflow("broken")
async def broken(ctx: Context) -> None:
    raise ValueError("it broke")


@workflow("drawn")
async def drawn(ctx: Context) -> Content:
    return Content(
        parts=[
            text_part("look"),
            bytes_part(b"\x89PNG", media_type="image/png"),
            bytes_part(b"RIFF", media_type="audio/wav"),
            bytes_part(b"\x00\x01", media_type="application/zip", name="a.zip"),
            link_part("https://example.org/more"),
            data_part({"pages": 2}),
        ]
    )
