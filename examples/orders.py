# orders.py
import asyncio
from pathlib import Path

from pydantic import BaseModel

from agency import Context, Retry, current_step, workflow


class Order(BaseModel):
    sku: str
    pieces: int = 1


class Address(BaseModel):
    street: str
    town: str


WITNESS = Path(__file__).with_name("happened.log")


def log(line: str) -> None:
    with WITNESS.open("a") as file:
        file.write(line + "\n")


async def find_price(sku: str) -> int:
    log(f"looked up the price of {sku}")
    return 12


async def find_stock(sku: str) -> int:
    log(f"counted the stock of {sku}")
    return 100


async def charge(amount: int) -> str:
    key = current_step().idempotency_key
    log(f"charged {amount} EUR under the key {key}")
    return "receipt 4711"


async def pack(order: Order) -> int:
    log(f"began to pack {order.pieces} x {order.sku}")
    await asyncio.sleep(8)
    log("packed")
    return 2 * order.pieces


async def ship(address: Address, weight_kg: int) -> str:
    log(f"shipped {weight_kg} kg to {address.town}")
    return f"parcel to {address.town}"


@workflow("order")
async def take_order(ctx: Context, order: Order) -> dict[str, str]:
    """Sell something, once."""
    found = await ctx.gather(
        price=ctx.step("price", find_price, order.sku, retry=Retry(attempts=5)),
        stock=ctx.step("stock", find_stock, order.sku, retry=Retry(attempts=5)),
    )
    amount = found["price"] * order.pieces
    receipt = await ctx.step("charge", charge, amount, effect="once")
    await ctx.wait_event("paid", timeout_s=7 * 24 * 3600)
    address = await ctx.input("Where to?", schema=Address)
    weight_kg = await ctx.step("pack", pack, order)
    parcel = await ctx.step("ship", ship, address, weight_kg)
    return {"receipt": receipt, "parcel": parcel}
