"""Sagas over kills: whatever is on the disk, they go on, forward or back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agency import LegContext, Retry, Saga
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.domain.run import Phase, RunStatus
from agency.engine.engine import Engine
from agency.engine.lineage import RetryWish
from agency.engine.registry import Registry
from agency.storage.sqlite.store import open_store
from agency.workflows.saga.sagas import Sagas
from agency.workflows.saga.stored import load_stored
from tests.integration.engine.house import SETTINGS, House, crashed, open_house
from tests.integration.engine.saga_legs import Diary


async def kill_at(tmp_path: Path, diary: Diary, saga: Saga, place: str) -> tuple[Path, str]:
    """Begin a saga, and copy what a kill would leave while that is being done."""
    is_there = diary.hold(place)
    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await is_there.wait()
        left = crashed(tmp_path, tmp_path / "killed")
        diary.holds[place].set()
        await house.ended(run_id)
    diary.holds.clear()
    diary.done.clear()
    return left, run_id


LIFE = ["do a", "do b", "do c", "undo b", "undo a"]


@pytest.mark.parametrize("place", LIFE)
async def test_killed_saga_goes_on_where_it_was(tmp_path: Path, place: str) -> None:
    diary = Diary(failures={"do c": -1})
    saga = diary.saga("a", "b", "c")
    left, run_id = await kill_at(tmp_path, diary, saga, place)

    async with open_house(left, saga) as house:
        detail = await house.ended(run_id)
        assert [] == await house.engine.sweep()

    rest = LIFE[LIFE.index(place) :]
    if place == "do c":
        # Whether it had had its effect before the kill is not known, whatever came afterwards.
        rest = ["do c", "undo c", "undo b", "undo a"]
    assert rest == diary.done
    assert RunStatus.COMPENSATED is detail.run.status


@pytest.mark.parametrize("place", ["do a", "do b", "do c"])
async def test_killed_saga_that_is_cancelled_before_it_goes_on_is_taken_back(
    tmp_path: Path, place: str
) -> None:
    diary = Diary()
    saga = diary.saga("a", "b", "c")
    left, run_id = await kill_at(tmp_path, diary, saga, place)

    clock = SystemClock()
    settings = StoreSettings(free_bytes_min=0)
    async with open_store(left / "agency.db", settings=settings, clock=clock) as store:
        # No engine: the run is still claimed by the dead daemon.
        await store.runs.recover(owner="other", now=clock.now())
        from tests.contract.making import CANCELLED

        ending = await store.runs.end(
            run_id, status=RunStatus.CANCELLED, error=CANCELLED, now=clock.now()
        )
        assert [run_id] == ending.asked
    async with open_house(left, saga) as house:
        detail = await house.ended(run_id)

    undone = [f"undo {leg}" for leg in reversed("abc"[: "abc".index(place[-1]) + 1])]
    assert undone == diary.done
    assert detail.run.error is not None
    assert (RunStatus.COMPENSATED, "cancelled") == (detail.run.status, detail.run.error.code)


async def test_completed_legs_that_were_being_taken_back_never_complete_the_run(
    tmp_path: Path,
) -> None:
    """All legs were done when the cancel came; one was taken back when the daemon was killed."""
    diary = Diary()
    is_done = diary.hold("do b")
    is_undoing = diary.hold("undo a")
    saga = diary.saga("a", "b")
    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await is_done.wait()
        await house.runs.cancel(run_id)
        await is_undoing.wait()
        left = crashed(tmp_path, tmp_path / "killed")
        diary.holds["undo a"].set()
        await house.ended(run_id)
    diary.holds.clear()
    diary.done.clear()

    async with open_house(left, saga) as house:
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["undo a"]) == (detail.run.status, diary.done)


async def test_legs_beside_each_other_go_on_after_a_kill(tmp_path: Path) -> None:
    diary = Diary(failures={"do d": -1})
    saga = diary.saga("a").parallel(diary.leg("x"), diary.leg("y")).add(diary.leg("d"))
    is_there = diary.hold("do y")
    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        await is_there.wait()
        await house.until(run_id, lambda detail: "do x" in diary.done)
        async with asyncio.timeout(5):
            while "parallel#1.x/x#1" not in await house.keys(run_id):
                await house.runs.watch(run_id, timeout_s=0.1)
        left = crashed(tmp_path, tmp_path / "killed")
        diary.holds["do y"].set()
        await house.ended(run_id)
    diary.holds.clear()
    diary.done.clear()

    async with open_house(left, saga) as house:
        detail = await house.ended(run_id)

    assert ["do y", "do d"] == diary.done[:2]
    assert {"undo x", "undo y"} == set(diary.done[2:4])
    assert ["undo a"] == diary.done[4:]
    assert RunStatus.COMPENSATED is detail.run.status


async def test_keys_are_the_same_after_a_kill(tmp_path: Path) -> None:
    diary = Diary(failures={"do b": -1})
    saga = diary.saga("a", "b")
    left, run_id = await kill_at(tmp_path, diary, saga, "undo a")

    async with open_house(left, saga) as house:
        await house.ended(run_id)

    keys = [context.idempotency_key for context in diary.contexts["undo a"]]
    assert (2, 1) == (len(keys), len(set(keys)))


async def test_pause_of_a_compensation_survives_a_restart(tmp_path: Path) -> None:
    diary = Diary(failures={"do b": -1, "undo a": 1})
    stored = Retry(attempts=2, base_s=0.3, jitter=False)
    saga = diary.saga(diary.leg("a", undo_retry=stored), "b")
    async with open_house(tmp_path, saga) as house:
        run_id = await house.start("order")
        detail = await house.suspended(run_id)
        assert Phase.COMPENSATING is detail.run.phase

    async with open_house(tmp_path, saga) as house:
        detail = await house.ended(run_id)

    assert ["do a", "do b", "undo a", "undo a"] == diary.done
    assert RunStatus.COMPENSATED is detail.run.status


async def test_saga_whose_code_is_gone_waits_and_is_not_forgotten(tmp_path: Path) -> None:
    diary = Diary(failures={"do c": -1})
    saga = diary.saga("a", "b", "c")
    left, run_id = await kill_at(tmp_path, diary, saga, "undo b")

    async with open_house(left) as house:
        detail = await house.suspended(run_id)
        await house.runs.cancel(run_id)
        assert ["version"] == [wait.kind for wait in detail.waits]
    async with open_house(left, saga) as house:
        await house.resume(run_id, {"action": "continue"})
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["undo b", "undo a"]) == (detail.run.status, diary.done)


async def test_cancelled_saga_whose_code_is_gone_is_taken_back_once_it_is_there(
    tmp_path: Path,
) -> None:
    diary = Diary()
    saga = diary.saga("a", "b")
    left, run_id = await kill_at(tmp_path, diary, saga, "do b")

    async with open_house(left) as house:
        await house.suspended(run_id)
        await house.runs.cancel(run_id)
        detail = await house.suspended(run_id)
        assert "cancelled" == detail.run.ending
    async with open_house(left, saga) as house:
        detail = await house.suspended(run_id)
        await house.resume(run_id, {"action": "continue"})
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["undo b", "undo a"]) == (detail.run.status, diary.done)


async def test_leg_that_is_gone_stops_the_way_forward_and_is_told_on_the_way_back(
    tmp_path: Path,
) -> None:
    diary = Diary()
    left, run_id = await kill_at(tmp_path, diary, diary.saga("a", "b", "c"), "do c")

    async with open_house(left, diary.saga("a", "c")) as house:
        detail = await house.suspended(run_id)
        assert "version" == detail.waits[0].kind
        await house.runs.cancel(run_id)
        detail = await house.ended(run_id)

    assert ["undo c", "undo a"] == diary.done
    assert detail.run.error is not None
    assert RunStatus.COMPENSATION_FAILED is detail.run.status
    told = detail.run.error.details
    assert (["b"], "leg_unknown") == (told["legs_left"], told["compensation_errors"][0]["code"])


async def test_requeued_dead_letter_takes_back_nothing_twice(tmp_path: Path) -> None:
    """A compensation that has crashed the daemon three times is quarantined, and let go again."""
    diary = Diary(failures={"do c": -1})
    saga = diary.saga("a", "b", "c")
    left, run_id = await kill_at(tmp_path, diary, saga, "undo a")
    settings = StoreSettings(free_bytes_min=0)
    clock = SystemClock()
    async with open_store(left / "agency.db", settings=settings, clock=clock) as store:
        for life in range(4):
            await store.runs.recover(owner=f"dead-{life}", now=clock.now())
            if (await store.runs.get(run_id)).run.status is RunStatus.DEAD_LETTER:
                break
            await store.runs.claim(limit=1, owner=f"dead-{life}", now=clock.now(), only=run_id)
        assert RunStatus.DEAD_LETTER is (await store.runs.get(run_id)).run.status

    async with open_house(left, saga) as house:
        await house.engine.lineage.retry(run_id, RetryWish())
        detail = await house.ended(run_id)

    assert (RunStatus.COMPENSATED, ["undo a"]) == (detail.run.status, diary.done)


async def test_saga_that_is_stored_goes_on_with_its_version_after_a_restart(
    tmp_path: Path,
) -> None:
    (tmp_path / "flows").mkdir()
    done: list[str] = []

    async def wait(ctx: LegContext) -> str:
        done.append(ctx.leg)
        return ctx.leg

    def declaration(*legs: str) -> dict[str, Any]:
        return {
            "name": "stored",
            "legs": [
                {
                    "id": leg,
                    "action": {"kind": "function", "function": "flows:wait"},
                    "retry": {"attempts": 2},
                }
                for leg in legs
            ],
        }

    class Functions(Registry):
        """A registry with one function that stands for an author's file."""

        def find_function(self, place: str) -> Any:
            return wait if place == "flows:wait" else None

    async def open_engine(registry: Registry, store: Any) -> Engine:
        await load_stored(registry, store.definitions, clock=SystemClock())
        return Engine(
            store=store,
            registry=registry,
            clock=SystemClock(),
            settings=SETTINGS,
            boot_id=new_id(),
        )

    settings = StoreSettings(free_bytes_min=0)
    path = tmp_path / "agency.db"
    async with open_store(path, settings=settings, clock=SystemClock()) as store:
        registry = Functions()
        async with await open_engine(registry, store) as engine:
            sagas = Sagas(
                runs=engine.runs,
                registry=registry,
                definitions=store.definitions,
                journal=store.journal,
                clock=SystemClock(),
            )
            old = await sagas.define(declaration("a", "b"), by="me")
            house = House(engine, store)
            held = await house.start("stored", available_at=SystemClock().now().replace(year=2999))
            await house.runs.suspend(held, reason="later", wait_s=1)
            new = await sagas.define(declaration("c"), by="me")
            assert (new.definition.version,) == (sagas.get("stored").definition.version,)

    async with open_store(path, settings=settings, clock=SystemClock()) as store:
        registry = Functions()
        async with await open_engine(registry, store) as engine:
            house = House(engine, store)
            assert new.definition.version == registry.get("stored").version
            await house.resume(held)
            detail = await house.ended(held)
            fresh = await house.run("stored")

    assert (old.definition.version, {"a": "a", "b": "b"}) == (
        detail.run.version,
        detail.run.output,
    )
    assert {"c": "c"} == fresh.run.output

    async with open_store(path, settings=settings, clock=SystemClock()) as store:
        # Its function is not loaded any more: it is told, and the rest works.
        empty = Registry()
        await load_stored(empty, store.definitions, clock=SystemClock())
        assert 2 == len(empty.failures)
        assert "flows:wait" in empty.failures[0].reason
        assert empty.find("stored") is None
