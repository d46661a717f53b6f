"""How a call that has become a run is answered: its result, a task, a question, or where it is.

A client that follows tasks gets one as soon as the run is not over at once. Others wait, are asked
what the run asks, and get the address of the run when it takes longer than they wait.
"""

from __future__ import annotations

from agency.domain.run import ENDED
from agency.mcp.means import Means
from agency.mcp.offerings import Context, Offerings, ToolAnswer
from agency.mcp.results import result_of
from agency.mcp.schemas import Schema
from agency.mcp.task_shape import created_task, follows_tasks
from agency.mcp.waiting import wait_for
from agency.ports.store import RunDetail

TASK_AFTER_S = 0.25
"""A run that is over sooner is answered with its result: a task would cost the client a poll."""


async def answer_with(
    means: Means, offerings: Offerings, ctx: Context, run_id: str, schema: Schema | None
) -> ToolAnswer:
    """Wait for a run that a call has started, and answer the call.

    Args:
        means: What the door works with.
        offerings: Who asks the client meanwhile.
        ctx: The call.
        run_id: The run; stored already.
        schema: The tool's output schema, or None.

    Raises:
        RunNotFound: it was deleted meanwhile.
    """
    is_task = follows_tasks(ctx)
    timeout_s = TASK_AFTER_S if is_task else means.services.settings.mcp.call_wait_s
    waited = await wait_for(means, offerings, ctx, run_id, timeout_s=timeout_s)
    if not isinstance(waited, RunDetail):
        return waited
    if is_task and waited.run.status not in ENDED:
        return created_task(means, ctx, waited)
    return await result_of(means, waited, schema)
