"""A call that runs when the budget of seconds is used up is cut off, not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from agency.errors import BudgetUsedUp
from agency.ports.model import CallProgress, CallStage, ChatReply, ChatRequest, Role

if TYPE_CHECKING:
    from agency.workflows.agent.loop import Loop

TICK_S = 0.001
"""Added to what a call that was cut off has used, so that no rounding leaves some of the budget."""


def seconds_used(elapsed_s: float, left_s: float | None) -> float:
    """Tell what a call counts for; one that has used all that was left uses the budget up."""
    if left_s is not None and elapsed_s + TICK_S >= left_s:
        return round(max(elapsed_s, left_s) + TICK_S, 3)
    return round(elapsed_s, 3)


async def chat(
    loop: Loop,
    role: Role,
    request: ChatRequest,
    *,
    used_s: float = 0.0,
    on_token: Callable[[str], None] | None = None,
    on_progress: Callable[[CallProgress], None] | None = None,
) -> ChatReply:
    """Ask a model for as long as the run's budget of seconds allows.

    Waiting for a place at the model is free, as in the budget: each sign of it, one a second,
    sets the clock back.

    Args:
        used_s: What the step that asks has used already, and nothing has recorded.

    Raises:
        BudgetUsedUp: the call was cut off, or not made.
        as `Roles.chat`.
    """
    left_s = loop.seconds_left()
    if left_s is not None:
        left_s -= used_s
        if left_s <= 0:
            raise BudgetUsedUp(0.0)
    clock = asyncio.get_running_loop()

    def told(progress: CallProgress) -> None:
        if left_s is not None and progress.stage is CallStage.QUEUED and not limit.expired():
            limit.reschedule(clock.time() + left_s)
        if on_progress is not None:
            on_progress(progress)

    limit = asyncio.timeout(left_s)
    try:
        async with limit:
            return await loop.means.roles.chat(
                role, request, pinned=loop.ctx.provider, on_token=on_token, on_progress=told
            )
    except TimeoutError:
        if not limit.expired():
            raise
        assert left_s is not None
        raise BudgetUsedUp(seconds_used(left_s, left_s)) from None
