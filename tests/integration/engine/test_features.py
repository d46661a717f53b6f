"""Workflows that are switched off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, Retry, workflow
from agency.domain.run import RunStatus
from agency.domain.schedule import ScheduleSpec
from agency.engine.dead_letters import DeadFilter
from agency.engine.lineage import AnewWish, RetryWish
from agency.engine.registry import Registry
from agency.engine.runs import StartRequest
from agency.errors import WorkflowDisabled, WorkflowNotFound
from agency.testing.clock import MovedClock
from tests.integration.engine.house import open_house


@workflow("night-shift")
async def night_shift(ctx: Context, input: Any) -> Any:
    return await ctx.wait_event("morning")


@workflow("calls")
async def calls(ctx: Context) -> Any:
    return await ctx.call("night-shift", 1)


@workflow("breaks", retry=Retry(attempts=2, base_s=0))
async def breaks(ctx: Context) -> Any:
    raise OSError("It is broken.")


async def test_switched_off_workflow_takes_no_new_runs_and_others_do(tmp_path: Path) -> None:
    async with open_house(tmp_path, night_shift, breaks) as house:
        house.registry.switch({"night-shift": False, "breaks": True})

        with pytest.raises(WorkflowDisabled, match="night-shift"):
            await house.start("night-shift")
        outcomes = await house.runs.start_many(
            [StartRequest(workflow=name, input=None) for name in ("night-shift", "breaks", "none")]
        )

        assert isinstance(outcomes[0], WorkflowDisabled)
        assert isinstance(outcomes[2], WorkflowNotFound)
        assert not isinstance(outcomes[1], Exception)
        shown = {one.name: one.is_enabled for one in house.runs.definitions()}
        assert {"breaks": True, "night-shift": False} == shown


async def test_run_that_was_accepted_before_goes_on(tmp_path: Path) -> None:
    async with open_house(tmp_path, night_shift) as house:
        run_id = await house.start("night-shift")
        await house.suspended(run_id)
    async with open_house(tmp_path, night_shift) as house:
        house.registry.switch({"night-shift": False})

        await house.runs.send(run_id, name="morning", payload="light")

        detail = await house.ended(run_id)
        assert (RunStatus.COMPLETED, "light") == (detail.run.status, detail.run.output)
        with pytest.raises(WorkflowDisabled):
            await house.engine.lineage.rerun(run_id, AnewWish(principal="ann"))


async def test_dead_letter_of_a_switched_off_workflow_can_be_requeued(tmp_path: Path) -> None:
    async with open_house(tmp_path, breaks) as house:
        run_id = (await house.run("breaks")).run.id
        house.registry.switch({"breaks": False})

        await house.engine.lineage.retry(run_id, RetryWish(principal="ann"))
        detail = await house.ended(run_id)

        assert RunStatus.DEAD_LETTER is detail.run.status
        letters = await house.engine.dead_letters.list(DeadFilter(), before=None, limit=2)
        assert [run_id] == [one.id for one in letters]


async def test_call_of_a_switched_off_workflow_fails_and_can_be_retried(tmp_path: Path) -> None:
    async with open_house(tmp_path, night_shift, calls) as house:
        house.registry.switch({"night-shift": False})
        detail = await house.run("calls")
        error = detail.run.error
        assert error is not None
        assert (RunStatus.FAILED, "workflow_disabled") == (detail.run.status, error.code)

        house.registry.switch({})
        await house.engine.lineage.retry(detail.run.id, RetryWish(principal="ann"))

        again = await house.suspended(detail.run.id)
        assert [None] == [wait.outcome for wait in again.waits]


async def test_firing_of_a_switched_off_workflow_is_recorded_as_skipped(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
    clock = MovedClock(start)
    async with open_house(tmp_path, night_shift, clock=clock) as house:
        spec = ScheduleSpec(name="s", workflow="night-shift", cron="* * * * *")
        await house.engine.schedules.put(spec, principal="ann")
        house.registry.switch({"night-shift": False})

        clock.move(timedelta(minutes=1))
        await house.engine.catch_up()

        found = await house.engine.schedules.firings("s", before=None, limit=5)
        assert [("skipped", "workflow_disabled")] == [
            (one.outcome.value, one.reason) for one in found
        ]


def test_names_that_no_workflow_has_are_told() -> None:
    registry = Registry()
    registry.add_function(night_shift)

    assert ["day-shift"] == registry.switch({"Night_Shift": False, "day-shift": True})
    assert not registry.is_enabled("night-shift")
