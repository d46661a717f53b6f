# order_saga.py
import logging
from pathlib import Path
from typing import Any

from agency import LegContext, Permanent, Retry, Saga

log = logging.getLogger(__name__)
DOWN = Path(__file__).with_name("refunds-are-down")

saga = Saga("order-processing", description="Reserve, charge, confirm; or nothing of it.")


def release_inventory(ctx: LegContext, reservation: dict[str, Any] | None) -> None:
    """Give the items back; by the key of the action where its result is not known."""
    log.info("released %s", reservation["order_id"] if reservation else ctx.action_key)


def refund_payment(ctx: LegContext, payment: dict[str, Any] | None) -> None:
    if DOWN.exists():
        raise ConnectionError("the bank does not answer")
    log.info("refunded %s", payment["transaction_id"] if payment else ctx.action_key)


@saga.leg("reserve_inventory", name="Reserve inventory", undo=release_inventory)
def reserve_inventory(ctx: LegContext) -> dict[str, Any]:
    return {"order_id": "123", "items": ctx.input["items"]}


@saga.leg(
    "charge_payment",
    name="Charge payment",
    undo=refund_payment,
    retry=Retry(attempts=3),
    undo_retry=Retry(attempts=2, base_s=0.1),
    timeout_s=30,
)
def charge_payment(ctx: LegContext) -> dict[str, Any]:
    order_id = ctx.results["reserve_inventory"]["order_id"]
    # A real bank is handed ctx.idempotency_key, and charges once however often it is asked.
    return {"transaction_id": f"txn_{order_id}"}


@saga.leg("send_confirmation", name="Send confirmation")
async def send_confirmation(ctx: LegContext) -> dict[str, Any]:
    if not ctx.input.get("email"):
        raise Permanent("the order has no address to write to")
    return {"email_sent": True}
