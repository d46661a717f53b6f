"""A hold that is lifted by the wish for a run's end, while the run's work for the end waits."""

import asyncio
from pathlib import Path
from typing import Any

from agency.workflows.saga.leg import Leg, LegContext
from agency.workflows.saga.saga import Saga
from tests.integration.engine.house import GUARD_S, open_house


async def test_saga_is_compensated_when_the_hold_before_it_is_lifted_by_a_cancel(
    tmp_path: Path,
) -> None:
    has_begun, undone = asyncio.Event(), []

    async def book(_: LegContext) -> None:
        has_begun.set()
        await asyncio.sleep(GUARD_S)

    async def unbook(context: LegContext, _: Any) -> None:
        undone.append(context.leg)

    trip = Saga("trip").add(Leg(id="hotel", do=book, undo=unbook))

    async with open_house(tmp_path, trip) as house:
        run_id = await house.start("trip", {})
        async with asyncio.timeout(GUARD_S):
            await has_begun.wait()
        assert None is await house.runs.suspend(run_id, reason="look", wait_s=0)
        await house.runs.cancel(run_id)
        detail = await house.ended(run_id)

    assert ("compensated", ["hotel"]) == (detail.run.status, undone)
