"""Hooks of authors: each change of status, in order, at least once, whatever happens between."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency import Context, Permanent, Retry, StatusUpdate, on_update, workflow
from agency.domain.run import RunStatus
from agency.engine import hooks as engine_hooks
from agency.engine.registry import Registry, load_registry
from agency.errors import HookNameTaken, InvalidInput
from tests.integration.engine.house import GUARD_S, House, crashed, open_house

FAST = Retry(attempts=3, base_s=0.01, jitter=False)
ENDS = ("completed", "failed")


@workflow("quick", version="1")
async def quick(ctx: Context) -> str:
    return "done"


@workflow("waits", version="1")
async def waits(ctx: Context) -> None:
    await ctx.wait_event("go")


@workflow("breaks", version="1", retry=Retry(attempts=2, base_s=0.0))
async def breaks(ctx: Context) -> None:
    raise ValueError("no")


class Heard:
    """What a hook was called with."""

    def __init__(self) -> None:
        self.updates: list[StatusUpdate] = []
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def hear(self, update: StatusUpdate) -> None:
        self.updates.append(update)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    @property
    def statuses(self) -> list[str]:
        return [update.status.value for update in self.updates]


@pytest.fixture
async def heard() -> Heard:
    return Heard()


async def state(house: House, name: str) -> tuple[int, int, int]:
    """Position, calls and skipped updates as they are written down."""
    [found] = [one for one in await house.store.updates.hooks() if one.name == name]
    return found.position, found.calls, found.skipped


async def test_hook_hears_each_change_in_order(tmp_path: Path, heard: Heard) -> None:
    @on_update("h")
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    async with open_house(tmp_path, waits, hook) as house:
        run_id = await house.start("waits", name="n", session_id="s")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        await heard.until(lambda: "completed" in heard.statuses)

    told = ["pending", "running", "suspended", "pending", "running", "completed"]
    assert told == heard.statuses
    numbers = [update.id for update in heard.updates]
    assert sorted(set(numbers)) == numbers
    suspended = heard.updates[2]
    assert (run_id, "waits", "n", "s", "event", "", 1) == (
        suspended.run_id,
        suspended.workflow,
        suspended.name,
        suspended.session_id,
        suspended.reason,
        suspended.error_code,
        suspended.attempt,
    )


async def test_plain_hook_is_called_outside_of_the_loop(tmp_path: Path, heard: Heard) -> None:
    threads = set()

    @on_update("h", statuses=ENDS)
    def hook(update: StatusUpdate) -> None:
        threads.add(threading.get_ident())
        heard.hear(update)

    async with open_house(tmp_path, quick, breaks, hook) as house:
        await house.run("quick")
        await house.run("breaks")
        await heard.until(lambda: len(heard.updates) == 1 or "failed" in heard.statuses)

    assert "completed" in heard.statuses
    assert threading.get_ident() not in threads


async def test_hook_is_called_for_the_statuses_that_it_wants(tmp_path: Path, heard: Heard) -> None:
    @on_update("h", statuses=[RunStatus.DEAD_LETTER])
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    async with open_house(tmp_path, quick, breaks, hook) as house:
        await house.run("quick")
        await house.run("breaks")
        await heard.until(lambda: bool(heard.updates))

    assert [("dead_letter", 2, "error")] == [
        (update.status, update.attempt, update.error_code) for update in heard.updates
    ]


async def test_what_happened_while_the_daemon_was_down_is_heard(
    tmp_path: Path, heard: Heard
) -> None:
    @on_update("h", statuses=ENDS)
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    async with open_house(tmp_path, quick, hook) as house:
        await house.run("quick")
        await heard.until(lambda: len(heard.updates) == 1)
    async with open_house(tmp_path, quick) as house:  # without the hook
        missed = (await house.run("quick")).run.id
    async with open_house(tmp_path, quick, hook):
        await heard.until(lambda: len(heard.updates) >= 2)

    assert missed == heard.updates[1].run_id
    assert 2 == len(heard.updates)


async def test_new_hook_hears_nothing_of_the_past(tmp_path: Path, heard: Heard) -> None:
    @on_update("h")
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    async with open_house(tmp_path, quick) as house:
        await house.run("quick")
    async with open_house(tmp_path, quick, hook) as house:
        run_id = (await house.run("quick")).run.id
        await heard.until(lambda: "completed" in heard.statuses)

    assert {run_id} == {update.run_id for update in heard.updates}


async def test_hook_hears_all_at_least_once_after_a_kill(tmp_path: Path, heard: Heard) -> None:
    @on_update("h", statuses=ENDS)
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    home = tmp_path / "home"
    home.mkdir()
    async with open_house(home, quick, hook) as house:
        for _ in range(5):
            await house.run("quick")
        await heard.until(lambda: len(heard.updates) == 5)
        # Before it was written down that they were heard.
        left = crashed(home, tmp_path / "left")
    before = {update.id for update in heard.updates}
    heard.updates.clear()
    async with open_house(left, quick, hook) as house:
        last = (await house.run("quick")).run.id
        await heard.until(lambda: heard.updates != [] and heard.updates[-1].run_id == last)

    numbers = [update.id for update in heard.updates]
    assert sorted(set(numbers)) == numbers
    # None is missing between those that were written down and the new ones.
    assert before >= set(numbers[:-1])
    position = min(numbers)
    assert {number for number in before if number >= position} == set(numbers[:-1])


async def test_failed_call_is_made_again_and_nothing_overtakes_it(
    tmp_path: Path, heard: Heard
) -> None:
    failures = 2

    @on_update("h", retry=FAST)
    async def hook(update: StatusUpdate) -> None:
        nonlocal failures
        heard.hear(update)
        if failures:
            failures -= 1
            raise OSError("away")

    async with open_house(tmp_path, quick, hook) as house:
        await house.run("quick")
        await heard.until(lambda: "completed" in heard.statuses)

    assert ["pending", "pending", "pending", "running", "completed"] == heard.statuses


@pytest.mark.parametrize("error", [OSError("away"), Permanent("never")])
async def test_update_that_cannot_be_taken_is_skipped_counted_and_logged(
    tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    @on_update("h", retry=FAST)
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)
        if update.status is RunStatus.RUNNING:
            raise error

    with caplog.at_level(logging.INFO):
        async with open_house(tmp_path, quick, hook) as house:
            run_id = (await house.run("quick")).run.id
            await heard.until(lambda: "completed" in heard.statuses)
    async with open_house(tmp_path, quick) as house:
        _, calls, skipped = await state(house, "h")

    assert (2, 1) == (calls, skipped)
    assert (3 if isinstance(error, OSError) else 1) == heard.statuses.count("running")
    [record] = [one for one in caplog.records if one.message == "hook skipped an update"]
    assert ("h", run_id, "running", logging.ERROR) == (
        vars(record)["hook"],
        vars(record)["run_id"],
        vars(record)["status"],
        record.levelno,
    )


async def test_hook_that_hangs_holds_up_neither_runs_nor_other_hooks(
    tmp_path: Path, heard: Heard
) -> None:
    @on_update("stuck")
    async def stuck(update: StatusUpdate) -> None:
        await asyncio.Event().wait()

    @on_update("slow", timeout_s=0.05, retry=Retry(attempts=1))
    async def slow(update: StatusUpdate) -> None:
        await asyncio.Event().wait()

    @on_update("h")
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    async with open_house(tmp_path, quick, stuck, slow, hook) as house:
        await house.run("quick")
        await heard.until(lambda: "completed" in heard.statuses)
    async with open_house(tmp_path, quick) as house:
        stuck_at, calls, _ = await state(house, "stuck")

        assert (0, 0) == (stuck_at, calls)
        assert (await state(house, "h"))[1] == 3


async def test_positions_are_written_down_in_batches(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_hooks, "SAVE_S", 60.0)

    @on_update("h", statuses=ENDS)
    async def hook(update: StatusUpdate) -> None:
        heard.hear(update)

    async with open_house(tmp_path, quick, hook) as house:
        saves = 0
        save_hooks = house.store.updates.save_hooks

        async def counted(*given: Any, **more: Any) -> None:
            nonlocal saves
            saves += 1
            await save_hooks(*given, **more)

        house.store.updates.save_hooks = counted  # type: ignore[method-assign]
        await asyncio.gather(*(house.run("quick") for _ in range(50)))
        await heard.until(lambda: len(heard.updates) == 50)
        assert 0 == saves
    assert 1 == saves
    async with open_house(tmp_path, quick) as house:
        assert 50 == (await state(house, "h"))[1]


def test_hook_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="gone"):
        on_update("h", statuses=["gone"])
    with pytest.raises(InvalidInput, match="name"):
        on_update("")
    with pytest.raises(InvalidInput, match="no time"):
        on_update("h", timeout_s=0)


def test_two_hooks_cannot_have_one_name() -> None:
    def one(update: StatusUpdate) -> None: ...
    def other(update: StatusUpdate) -> None: ...

    registry = Registry()
    registry.add_function(on_update("h")(one))
    with pytest.raises(HookNameTaken, match="'h'"):
        registry.add_function(on_update("h")(other))


def test_hooks_are_found_in_files_of_workflows(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(
        "from agency import StatusUpdate, on_update\n\n"
        "@on_update('mail', statuses=['failed'])\n"
        "def mail(update: StatusUpdate) -> None: ...\n"
    )

    registry = load_registry([tmp_path])

    assert [] == registry.failures
    [hook] = registry.hooks.values()
    assert ("mail", frozenset({RunStatus.FAILED}), str(tmp_path / "told.py")) == (
        hook.name,
        hook.statuses,
        hook.source,
    )
