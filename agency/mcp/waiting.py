"""Waiting for a run while a client does: progress is told, and what it asks is asked."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from agency.domain.run import ENDED, RunStatus
from agency.errors import AgencyError
from agency.mcp.means import Means
from agency.mcp.offerings import Context, Offerings, ToolAnswer, caller_of
from agency.mcp.run_shape import is_settled, needs_somebody
from agency.ports.store import RunDetail

log = logging.getLogger(__name__)

LEAST_S = 0.05
"""Progress is told twenty times in a second at most."""

REREAD_S = 1.0
"""A run is looked at so often for progress: a change between two looks is late, never lost."""


WAITING_MAX = 1000
"""Calls of a principal that wait for their runs at once; further ones are answered with where their
runs are. Those in sessions wait on when their clients have hung up."""


async def wait_for(
    means: Means, offerings: Offerings, ctx: Context, run_id: str, *, timeout_s: float
) -> RunDetail | ToolAnswer:
    """Wait until the run has ended or waits for somebody, ``timeout_s`` at most.

    What it waits for is asked of the client, where that can be asked: then it is waited further,
    or the call is answered with the question. When too many wait already, it is not waited.

    Raises:
        RunNotFound: it was deleted meanwhile.
    """
    principal = caller_of(ctx).principal
    if offerings.waiting[principal] >= WAITING_MAX:
        return await means.services.runs.get(run_id)
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    wants_progress = ctx.meta is not None and "progress_token" in ctx.meta
    teller = asyncio.ensure_future(_tell(means, ctx, run_id)) if wants_progress else None
    offerings.waiting[principal] += 1
    try:
        while True:
            detail = await _until_settled(means, run_id, until)
            if not needs_somebody(detail) or offerings.ask is None:
                return detail
            asked_at = loop.time()
            answer = await offerings.ask(ctx, detail)
            until += loop.time() - asked_at  # people take longer than programs are waited for
            if answer is False:
                return detail
            if answer is not True:
                return answer
    finally:
        offerings.waiting[principal] -= 1
        if not offerings.waiting[principal]:
            del offerings.waiting[principal]
        if teller is not None:
            teller.cancel()
            await asyncio.wait([teller])


async def _until_settled(means: Means, run_id: str, until: float) -> RunDetail:
    loop, runs = asyncio.get_running_loop(), means.services.runs
    while True:
        detail = await means.patience.wait_for(
            runs, run_id, timeout_s=max(0.0, until - loop.time())
        )
        if is_settled(detail) or detail.run.status is not RunStatus.SUSPENDED:
            return detail
        # For an event, which is sent by others: it is not over.
        detail = await means.patience.wait_until(
            runs,
            run_id,
            lambda now: now.run.status is not RunStatus.SUSPENDED or needs_somebody(now),
            timeout_s=max(0.0, until - loop.time()),
        )
        if is_settled(detail) or detail.run.status is RunStatus.SUSPENDED:
            return detail


async def _tell(means: Means, ctx: Context, run_id: str) -> None:
    told, runs = Told(ctx), means.services.runs
    try:
        while True:
            detail = await runs.get(run_id)
            await told.tell(detail.run.progress)
            if detail.run.status in ENDED:
                return
            await asyncio.sleep(LEAST_S)
            await runs.watch(run_id, timeout_s=REREAD_S)
    except AgencyError as error:
        # The call itself meets it as well, and answers with it.
        log.debug("progress is not told any more", extra={"run_id": run_id, "why": str(error)})


class Told:
    """What a client was told of a run's progress. It only rises, as the protocol wants it.

    Source: MCP 2025-11-25, progress, section "Behavior Requirements".
    """

    def __init__(self, ctx: Context) -> None:
        """Begin with nothing told."""
        self._ctx = ctx
        self._done = 0.0

    async def tell(self, progress: Any) -> None:  # noqa: ANN401  JSON value
        """Tell it, if it is more than before."""
        done, total, note = _read(progress)
        if done > self._done:
            self._done = done
            await self._ctx.session.report_progress(done, total, note or None)


def _read(progress: Any) -> tuple[float, float | None, str]:  # noqa: ANN401  JSON value
    if not isinstance(progress, dict):
        return 0.0, None, ""
    done, total = progress.get("done", progress.get("turns", 0)), progress.get("total")
    return (
        float(done) if isinstance(done, (int, float)) else 0.0,
        float(total) if isinstance(total, (int, float)) else None,
        str(progress.get("note", "")),
    )
