"""What goes wrong around a run: the clock is set, the disk is full, its row has no coroutine."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from agency.core.limits import TIMER_REREAD_S
from agency.errors import StoreFull
from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.disk import empty, fill
from tests.integration.engine.house import GUARD_S, Between, House, open_house


class SetClock:
    """The machine's clock, which somebody sets."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


@workflow("listener", version="1")
async def listener(ctx: Context) -> Any:
    return await ctx.wait_event("news")


async def test_run_that_is_ready_stays_so_when_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = SetClock()
    may_end = asyncio.Event()

    @workflow("blocker")
    async def blocker(ctx: Context) -> None:
        await ctx.step("wait", may_end.wait)

    async with open_house(tmp_path, listener, blocker, clock=clock, runs_max=1) as house:
        woken = await house.start("listener")
        await house.suspended(woken)
        blocking = await house.start("blocker")
        await house.until(blocking, lambda d: d.run.status == "running")
        accepted = await house.start("listener")
        await house.runs.send(woken, name="news", payload=1)
        clock.offset = -timedelta(hours=1)
        may_end.set()
        assert 1 == (await house.ended(woken)).run.output
        await house.runs.send(accepted, name="news", payload=2)
        assert 2 == (await house.ended(accepted)).run.output


@pytest.mark.soak  # the clock is read again at least every 30 s
async def test_timer_that_the_clock_has_passed_fires_when_the_clock_is_read_again(
    tmp_path: Path,
) -> None:
    """Machines sleep: the timer has to look at the clock, not only count."""
    clock = SetClock()

    @workflow("sleeper", version="1")
    async def sleeper(ctx: Context) -> str:
        await ctx.sleep(3600)
        return "awake"

    async with open_house(tmp_path, sleeper, clock=clock) as house:
        run_id = await house.start("sleeper")
        await house.suspended(run_id)
        clock.offset = timedelta(hours=2)
        detail = await house.runs.wait(run_id, timeout_s=2 * TIMER_REREAD_S)
    assert "awake" == detail.run.output


async def fill_up(house: House, run_id: str) -> None:
    """Send events to a run until there is no room for another."""
    await fill(house.store)
    try:
        for _ in range(2000):
            await house.runs.send(run_id, name="filler", payload="x" * 4000)
    except StoreFull:
        return
    raise AssertionError("the disk did not become full")


async def test_deadline_on_a_full_disk_is_kept_as_soon_as_there_is_room(tmp_path: Path) -> None:
    late_s = 2.0

    @workflow("late", version="1", timeout_s=late_s)
    async def late(ctx: Context) -> None:
        await ctx.wait_event("never")

    async with open_house(tmp_path, late, listener) as house:
        filled = await house.start("listener")
        late_ids = [await house.start("late") for _ in range(20)]
        for run_id in late_ids:
            await house.suspended(run_id)
        await fill_up(house, filled)
        await asyncio.sleep(late_s)  # the deadlines pass while there is no room
        assert not house.engine.failed.done()
        await empty(house.store)
        for run_id in late_ids:
            assert "timed_out" == (await house.ended(run_id)).run.status
        assert not house.engine.failed.done()


async def test_results_on_a_full_disk_are_kept_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    may_end = asyncio.Event()
    calls = []

    async def work() -> str:
        calls.append(1)
        await may_end.wait()
        return "x" * 50_000

    @workflow("w", version="1")
    async def w(ctx: Context) -> int:
        ctx.now()
        both = await ctx.gather(ctx.step("work", work), ctx.step("work", work))
        return len("".join(both))

    async with open_house(tmp_path, w, listener) as house:
        filled = await house.start("listener")
        run_id = await house.start("w")
        await house.until(run_id, lambda d: d.run.status == "running")
        await fill_up(house, filled)
        may_end.set()
        async with asyncio.timeout(GUARD_S):
            while "no room to record" not in caplog.messages:
                await asyncio.sleep(0.005)
        detail = await house.runs.get(run_id)
        assert ("running", 0) == (detail.run.status, detail.steps_executed)
        await empty(house.store)
        assert 100_000 == (await house.ended(run_id)).run.output

    assert [1, 1] == calls


async def test_child_of_a_loser_is_cancelled_when_there_is_room_again(tmp_path: Path) -> None:
    refusals = 0

    def full_at_times(store: SqliteStore) -> Between:
        async def end(*args: Any, **more: Any) -> Any:
            nonlocal refusals
            refusals += 1
            if refusals == 1:
                raise StoreFull("The disk is full.")
            return await store.runs.end(*args, **more)

        return Between(store.runs, end=end)

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        won = await ctx.first(child=ctx.call("listener"), go=ctx.wait_event("go"))
        return won.name

    async with open_house(tmp_path, w, listener, runs=full_at_times) as house:
        run_id = await house.start("w")
        detail = await house.suspended(run_id)
        (child_id,) = [wait.target for wait in detail.waits if wait.kind == "child"]
        await house.suspended(child_id)
        await house.runs.send(run_id, name="go", payload=None)
        assert "go" == (await house.ended(run_id)).run.output
        assert "cancelled" == (await house.ended(child_id)).run.status
    assert 2 == refusals


async def test_row_that_runs_under_this_daemon_without_a_coroutine_is_reported(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, listener) as house:
        assert [] == await house.engine.sweep()
        house.engine._worker._is_draining = True  # it claims nothing any more
        run_id = await house.start("listener")
        boot_id = house.engine._boot_id
        await house.store.runs.claim(limit=1, owner=boot_id, now=datetime.now(UTC))
        assert [run_id] == list(await house.engine.sweep())
