"""Schedules over an engine whose clock is moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from agency import Context, workflow
from agency.config.schema import Queue as QueueSettings
from agency.domain import firing
from agency.domain.run import Run, RunStatus
from agency.domain.schedule import CatchUp, FiringOutcome, Overlap, Schedule, ScheduleSpec
from agency.engine.schedules import INPUT_BYTES_MAX, RunNow
from agency.errors import (
    InvalidInput,
    QueueFull,
    QueueNotFound,
    ScheduleNotFound,
    ShuttingDown,
    StoreFull,
    ValueTooLarge,
    WorkflowNotFound,
)
from agency.ports.store import RunFilter
from agency.testing.clock import MovedClock
from tests.integration.engine.house import Between, House, crashed, open_house

START = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


@workflow("report")
async def report(ctx: Context, value: int | None) -> int | None:
    return value


@workflow("stubborn")
async def stubborn(ctx: Context) -> Any:
    return await ctx.wait_event("go")


def at(minutes: float) -> datetime:
    """A moment so many minutes after noon."""
    return START.replace(second=0) + timedelta(minutes=minutes)


def spec(workflow: str = "report", **changes: Any) -> ScheduleSpec:
    """A schedule of every full minute."""
    return ScheduleSpec(**{"name": "s", "workflow": workflow, "cron": "* * * * *", **changes})


@dataclass
class Planned:
    """A house with a clock in it."""

    house: House
    clock: MovedClock

    async def put(self, wanted: ScheduleSpec) -> Schedule:
        schedule, _ = await self.house.engine.schedules.put(wanted, principal="ann")
        return schedule

    async def move_to(self, moment: datetime) -> None:
        """Let the clock show a moment, and the engine come to rest."""
        self.clock.set(moment)
        await self.house.engine.catch_up()
        async with asyncio.timeout(15):
            await self.house.engine.idle()

    async def ledger(self, name: str = "s") -> list[tuple[float, str, str]]:
        """Minutes after noon, outcome and reason of each firing, oldest first."""
        found = await self.house.engine.schedules.firings(name, before=None, limit=500)
        return [
            ((one.expected_at - at(0)).total_seconds() / 60, one.outcome.value, one.reason)
            for one in reversed(found)
        ]

    async def runs(self) -> list[Run]:
        """All runs, oldest first."""
        found = await self.house.runs.list(RunFilter(), before=None, limit=500)
        return list(reversed(found))

    async def schedule(self, name: str = "s") -> Schedule:
        return await self.house.engine.schedules.get(name)


@asynccontextmanager
async def planned(
    path: Path, *workflows: Any, clock: MovedClock | None = None
) -> AsyncIterator[Planned]:
    clock = clock or MovedClock(START)
    async with open_house(path, *(workflows or (report, stubborn)), clock=clock) as house:
        yield Planned(house, clock)


# --- firing -----------------------------------------------------------------------------------


async def test_schedule_fires_at_its_moment_and_the_run_says_whose_it_is(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec(input=7, tags={"team": "blue"}, priority=5, max_attempts=3))

        await here.move_to(at(1))

        (run,) = await here.runs()
        assert [(1, "fired", "")] == await here.ledger()
    assert (RunStatus.COMPLETED, 7, "s", "ann") == (
        run.status,
        run.output,
        run.schedule,
        run.principal,
    )
    assert ({"team": "blue", "expected_at": "2026-01-01T12:01:00.000000Z"}, 5, 3) == (
        run.tags,
        run.priority,
        run.max_attempts,
    )


async def test_timer_wakes_by_itself_for_a_schedule(tmp_path: Path) -> None:
    async with open_house(tmp_path, report) as house:
        await house.engine.schedules.put(spec(cron=None, interval_s=1.0), principal="ann")

        async with asyncio.timeout(10):
            while not await house.runs.list(RunFilter(), before=None, limit=1):
                await house.engine.idle()
                await asyncio.sleep(0.05)  # real time has to pass: nothing here tells of a start


async def test_each_moment_is_fired_once_while_the_clock_goes_on(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec())

        for minute in (1, 1.2, 1.9, 2, 2, 3.5):
            await here.move_to(at(minute))

        assert [(1, "fired", ""), (2, "fired", ""), (3, "fired", "")] == await here.ledger()
        assert 3 == len(await here.runs())


async def test_clock_that_is_set_back_fires_nothing_twice(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec())
        await here.move_to(at(2))

        await here.move_to(at(-600))
        await here.put(spec(cron="*/2 * * * *"))
        await here.move_to(at(2.5))
        await here.move_to(at(4))

        ledger = await here.ledger()
        assert [(2, "fired", ""), (4, "fired", "")] == [row for row in ledger if row[1] == "fired"]


async def test_machine_that_slept_catches_up_as_the_policy_says(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        for policy in CatchUp:
            await here.put(
                spec(
                    name=policy.value,
                    cron="*/10 * * * *",
                    catch_up=policy,
                    catch_up_max=2,
                    overlap=Overlap.QUEUE,
                )
            )

        await here.move_to(at(35))

        assert ["skipped"] * 3 == [row[1] for row in await here.ledger("skip")]
        assert ["skipped", "skipped", "caught_up"] == [r[1] for r in await here.ledger("once")]
        assert ["skipped", "caught_up", "caught_up"] == [r[1] for r in await here.ledger("all")]
        assert 3 == len(await here.runs())
        await here.move_to(at(40))
        assert "fired" == (await here.ledger("skip"))[-1][1]


async def test_daylight_change_fires_the_missing_time_once(tmp_path: Path) -> None:
    clock = MovedClock(datetime(2026, 3, 28, 12, tzinfo=UTC))
    async with planned(tmp_path, clock=clock) as here:
        schedule = await here.put(spec(cron="30 2 * * *", zone="Europe/Berlin"))
        assert datetime(2026, 3, 29, 1, tzinfo=UTC) == schedule.next_at

        await here.move_to(datetime(2026, 3, 29, 1, 0, 1, tzinfo=UTC))
        await here.move_to(datetime(2026, 3, 29, 1, 30, tzinfo=UTC))

        assert 1 == len(await here.runs())
        assert datetime(2026, 3, 30, 0, 30, tzinfo=UTC) == (await here.schedule()).next_at


async def test_jitter_puts_a_firing_off(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        schedule = await here.put(spec(jitter_s=30.0))
        assert schedule.due_at is not None
        assert schedule.next_at is not None
        assert schedule.due_at > schedule.next_at

        await here.move_to(schedule.next_at)
        before = await here.ledger()
        await here.move_to(schedule.due_at)

        assert ([], [(1, "fired", "")]) == (before, await here.ledger())


# --- crashes ----------------------------------------------------------------------------------


async def test_kill_before_or_after_a_firing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    clock = MovedClock(START)
    (tmp_path / "a").mkdir()
    async with planned(tmp_path / "a", clock=clock) as here:
        await here.put(spec(catch_up=CatchUp.ALL))
        before = crashed(tmp_path / "a", tmp_path / "before")
        await here.move_to(at(1))
        after = crashed(tmp_path / "a", tmp_path / "after")

    for folder, outcome in ((before, "fired"), (after, "fired")):
        async with planned(folder, clock=clock) as again:
            await again.move_to(at(1))
            assert [(1, outcome, "")] == await again.ledger()
            assert [RunStatus.COMPLETED] == [run.status for run in await again.runs()]


async def test_disk_without_room_holds_a_firing_up_and_loses_nothing(tmp_path: Path) -> None:
    clock = MovedClock(START)
    full = True
    async with planned(tmp_path, clock=clock) as here:
        schedules = here.house.engine.schedules
        inner = here.house.store.schedules

        async def refusing(*arguments: Any, **more: Any) -> Any:
            if full:
                raise StoreFull("The disk is full.")
            return await inner.fire(*arguments, **more)

        schedules._store = cast(Any, Between(inner, fire=refusing))
        await here.put(spec())
        await here.move_to(at(1))
        held_up = await here.ledger()
        full = False
        await here.move_to(at(1.1))

        assert ([], [(1, "fired", "")]) == (held_up, await here.ledger())


# --- overlap ----------------------------------------------------------------------------------


async def test_firing_is_skipped_while_an_earlier_run_is_live(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec("stubborn", overlap=Overlap.SKIP))
        await here.move_to(at(1))
        await here.move_to(at(2))
        (run,) = await here.runs()
        await here.house.runs.send(run.id, name="go", payload=None)
        await here.house.ended(run.id)

        await here.move_to(at(3))

        assert [
            (1, "fired", ""),
            (2, "skipped", "overlap"),
            (3, "fired", ""),
        ] == await here.ledger()


async def test_queued_run_waits_for_the_end_of_the_earlier_one(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec("stubborn", overlap=Overlap.QUEUE))
        await here.move_to(at(1))
        await here.move_to(at(2))
        first, second = await here.runs()
        statuses = (first.status, second.status)

        await here.house.runs.send(first.id, name="go", payload=None)
        await here.house.ended(first.id)
        waiting = await here.house.suspended(second.id)

    assert (RunStatus.SUSPENDED, RunStatus.PENDING) == statuses
    assert "schedule:s" == second.concurrency_key
    assert waiting.run.id == second.id


async def test_earlier_run_is_cancelled_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec("stubborn", overlap=Overlap.CANCEL_PREVIOUS))
        await here.move_to(at(1))
        await here.move_to(at(2))
        first, second = await here.runs()
        await here.house.suspended(second.id)

    assert RunStatus.CANCELLED is first.status
    assert first.error is not None
    assert "schedule" in first.error.message


# --- what cannot be fired ---------------------------------------------------------------------


async def test_what_cannot_be_started_is_recorded_with_its_reason(tmp_path: Path) -> None:
    clock = MovedClock(START)
    async with planned(tmp_path, clock=clock) as here:
        await here.put(spec())
        await here.put(spec("stubborn", name="gone"))

    @workflow("report")
    async def changed(ctx: Context, value: dict[str, int]) -> int:
        return len(value)

    async with planned(tmp_path, changed, clock=clock) as here:
        await here.move_to(at(1))

        assert [(1, "skipped", "invalid_input")] == await here.ledger()
        assert [(1, "skipped", "workflow_unknown")] == await here.ledger("gone")
        (row,) = await here.house.engine.schedules.firings("gone", before=None, limit=1)
        assert "stubborn" in row.detail
        assert [] == await here.runs()


async def test_queue_that_nobody_has_starts_nothing(tmp_path: Path) -> None:
    clock = MovedClock(START)
    queues = {"night": QueueSettings()}
    async with open_house(tmp_path, report, clock=clock, queues=queues) as house:
        here = Planned(house, clock)
        with pytest.raises(QueueNotFound):
            await here.put(spec(queue="nihgt"))
        await here.put(spec(queue="night"))
        await here.move_to(at(1))
        assert ["night"] == [run.queue for run in await here.runs()]
    async with planned(tmp_path, report, clock=clock) as here:
        await here.move_to(at(2))

        assert [(1, "fired", ""), (2, "skipped", "queue_unknown")] == await here.ledger()
        assert 1 == len(await here.runs())


async def test_run_now_says_when_to_try_again_with_a_full_queue(tmp_path: Path) -> None:
    queues = {"night": QueueSettings(size_max=1)}
    async with open_house(tmp_path, report, clock=MovedClock(START), queues=queues) as house:
        schedules = house.engine.schedules
        await schedules.put(spec(queue="night"), principal="ann")
        await house.queues.pause("night")
        await schedules.run_now("s", RunNow())

        with pytest.raises(QueueFull) as refused:
            await schedules.run_now("s", RunNow())

        assert refused.value.retry_after_s
        assert 1 == (await schedules.get("s")).manual


async def test_schedule_that_is_deleted_when_its_time_zone_is_lost_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec())
        schedules = here.house.engine.schedules
        due = here.house.store.schedules.due

        async def due_and_deleted(**asked: Any) -> Any:
            found = await due(**asked)
            await schedules.delete("s")
            return found

        def lost(name: str) -> Any:
            raise LookupError(f"There is no time zone {name!r}.")

        with monkeypatch.context() as patch:
            patch.setattr(here.house.store.schedules, "due", due_and_deleted)
            patch.setattr(firing, "load_zone", lost)
            await here.move_to(at(1))

        assert not here.house.engine.failed.done()


async def test_lost_time_zone_pauses_a_schedule_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec())

        def lost(name: str) -> Any:
            raise LookupError(f"There is no time zone {name!r}.")

        with monkeypatch.context() as patch:
            patch.setattr(firing, "load_zone", lost)
            await here.move_to(at(1))
            with pytest.raises(InvalidInput):
                await here.house.engine.schedules.resume("s")
        paused = await here.schedule()
        await here.house.engine.schedules.resume("s")
        await here.move_to(at(2))

        assert "There is no time zone 'UTC'." == paused.paused
        assert [(2, "fired", "")] == await here.ledger()


# --- verbs ------------------------------------------------------------------------------------


async def test_paused_schedule_records_what_it_does_not_fire(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec())
        await here.house.engine.schedules.pause("s", reason="holidays")
        await here.move_to(at(1))
        here.clock.set(at(2))

        await here.house.engine.schedules.resume("s")
        await here.move_to(at(3))

        assert [
            (1, "skipped", "paused"),
            (2, "skipped", "paused"),
            (3, "fired", ""),
        ] == await here.ledger()


async def test_same_spec_again_changes_nothing(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        first = await here.put(spec(input=1, interval_s=90.0, cron=None))
        here.clock.set(at(1))

        again, is_new = await here.house.engine.schedules.put(
            spec(input=1, interval_s=90, cron=None), principal="bob"
        )

        assert (first, False) == (again, is_new)


async def test_changed_schedule_counts_from_now_on(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        first = await here.put(spec(cron="0 18 * * *"))
        changed = await here.put(spec(cron="*/5 * * * *"))
        await here.move_to(at(5))

        assert (1, 2) == (first.generation, changed.generation)
        assert [(5, "fired", "")] == await here.ledger()


async def test_schedules_put_at_once_are_one(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await asyncio.gather(*(here.put(spec(priority=i)) for i in range(20)))

        assert 20 == (await here.schedule()).generation


async def test_run_now_starts_a_run_and_keeps_the_plan(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        before = await here.put(spec(input=3))
        await here.house.engine.schedules.pause("s", reason="")
        wanted = RunNow(principal="bob", idempotency_key="k", request_hash="h")

        run, is_new = await here.house.engine.schedules.run_now("s", wanted)
        same, is_new_again = await here.house.engine.schedules.run_now("s", wanted)
        done = await here.house.ended(run.id)

        assert (True, False, run.id) == (is_new, is_new_again, same.id)
        assert (3, "s", "bob") == (done.run.output, done.run.schedule, done.run.principal)
        assert ["manual"] == [row[1] for row in await here.ledger()]
        assert before.next_at == (await here.schedule()).next_at


async def test_next_times_are_told(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec(ends_at=at(3)))
        await here.put(spec(name="far", cron="0 0 1 1 *"))

        bounded = await here.house.engine.schedules.next_times("s", limit=10)
        far = await here.house.engine.schedules.next_times("far", limit=3)

    assert [at(1), at(2)] == list(bounded)
    assert [2027, 2028, 2029] == [moment.year for moment in far]


@pytest.mark.parametrize(
    ("changes", "error", "where"),
    [
        ({"cron": "x"}, InvalidInput, "/cron"),
        ({"zone": "Mars"}, InvalidInput, "/zone"),
        ({"input": {"no": "number"}}, InvalidInput, "/input"),
        ({"workflow": "unknown"}, WorkflowNotFound, ""),
        ({"input": "x" * INPUT_BYTES_MAX}, ValueTooLarge, ""),
    ],
)
async def test_schedule_that_could_never_work_is_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], where: str
) -> None:
    async with planned(tmp_path) as here:
        with pytest.raises(error) as refused:
            await here.put(spec(**changes))

        if isinstance(refused.value, InvalidInput):
            assert [where] == [fault.where for fault in refused.value.faults]
        with pytest.raises(ScheduleNotFound):
            await here.schedule()


async def test_stopping_engine_takes_no_run_by_hand(tmp_path: Path) -> None:
    async with planned(tmp_path) as here:
        await here.put(spec())
        await here.house.engine.drain(grace_s=1, hurry=asyncio.Event())

        with pytest.raises(ShuttingDown):
            await here.house.engine.schedules.run_now("s", RunNow())


async def test_successor_of_a_run_is_in_the_way_as_the_run_was(tmp_path: Path) -> None:
    @workflow("endless")
    async def endless(ctx: Context, round: int | None) -> None:
        await ctx.wait_event("go")
        await ctx.continue_as((round or 0) + 1)

    async with planned(tmp_path, endless) as here:
        await here.put(spec("endless"))
        await here.move_to(at(1))
        (run,) = await here.runs()
        await here.house.runs.send(run.id, name="go", payload=None)
        await here.house.ended(run.id)

        await here.move_to(at(2))

        assert [(1, "fired", ""), (2, "skipped", "overlap")] == await here.ledger()
        assert FiringOutcome.SKIPPED.value == (await here.ledger())[-1][1]
