"""Waiting for a run while a client does: how many may."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from agency.mcp.caller import CALLER, Caller
from agency.mcp.offerings import Offerings
from agency.mcp.waiting import WAITING_MAX, wait_for


class Runs:
    """Runs that never end; `wait_for` is that of those who wait for them."""

    def __init__(self) -> None:
        self.waiting = 0

    async def get(self, run_id: str) -> Any:
        return f"as it is: {run_id}"

    async def wait_for(self, _: object, run_id: str, *, timeout_s: float) -> Any:
        self.waiting += 1
        await asyncio.Event().wait()


def ctx_of(principal: str) -> Any:
    caller = Caller(principal=principal, has_token=True)
    return SimpleNamespace(meta=None, request=SimpleNamespace(scope={CALLER: caller}))


async def test_calls_beyond_their_limit_do_not_wait_and_those_of_others_do() -> None:
    runs, offerings = Runs(), Offerings()
    means: Any = SimpleNamespace(services=SimpleNamespace(runs=runs), patience=runs)

    def wait(principal: str) -> asyncio.Task[Any]:
        waiting = wait_for(means, offerings, ctx_of(principal), "r", timeout_s=60)
        return asyncio.create_task(waiting)

    calls = [wait("alice") for _ in range(WAITING_MAX)]
    while runs.waiting < WAITING_MAX:
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        beyond = await wait("alice")
    calls.append(wait("bob"))
    while runs.waiting < WAITING_MAX + 1:
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)

    assert beyond == "as it is: r"
    assert not offerings.waiting
