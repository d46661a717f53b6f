"""Random workflows, random things done to them, random ends of the engine: promises hold.

Each seed has runs made by chance and several lives of the engine, each ended by a stop or a kill;
in the last one everything is answered until all has ended. A seed that fails is named; the same
one again: ``make test SEED=... ARGS=tests/integration/engine/test_random_lives.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agency.core.lifetimes import running
from agency.domain.run import LIVE, Run
from agency.domain.wait import Wait
from agency.errors import Conflict, NotFound
from agency.ports.store import RunDetail, RunFilter
from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.disk import HeldDisk
from tests.integration.engine.house import House, crashed, open_house
from tests.integration.engine.lives import EVENTS, MODEL, Lives

SAMPLE_S = 7.0
SOAK_S = 120.0
LAST_LIFE_S = 60.0
SYNC_S_MAX = 0.02


@asynccontextmanager
async def slow(store: SqliteStore, lives: Lives, *, is_slow: bool) -> AsyncIterator[None]:
    """Let each sync of the disk take its time."""

    def sync(_: Any) -> None:
        time.sleep(lives.source.random() * SYNC_S_MAX)

    async def serve(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await store._writer.submit(sync)

    if not is_slow:
        yield
        return

    def failed(error: BaseException) -> None:
        lives.faults.append(f"the disk has failed: {error!r}")

    async with running(serve, name="slow disk", grace_s=5.0, on_failure=failed):
        yield


async def live_runs(house: House) -> list[Run]:
    which = RunFilter(statuses=frozenset(LIVE))
    return list(await house.runs.list(which, before=None, limit=1000))


async def answer(house: House, lives: Lives, detail: RunDetail) -> None:
    """Answer the first thing that a suspended run waits for and somebody can answer."""
    assert detail.snapshot_id is not None
    for wait in detail.waits:
        if wait.kind == "version":
            lives.faults.append(f"a false mismatch: {wait.show}")
            await house.runs.cancel(detail.run.id)
            return
        if wait.kind in {"operator", "input", "decision"}:
            await house.runs.resume(
                detail.snapshot_id,
                wait=wait.key,
                input=_value(lives, detail.run.id, wait),
                has_input=wait.kind != "operator",
            )
            return


def _value(lives: Lives, run_id: str, wait: Wait) -> Any:
    if wait.kind == "operator":
        lives.held.discard(run_id)
        return None
    if wait.kind == "input":
        return lives.source.random()
    decision = lives.source.choice(["again", "done"])
    if decision == "again":
        lives.decided_again[run_id, wait.show["step"]] += 1
    return {"decision": decision, "result": "paid"}


async def meddle(house: House, lives: Lives, *, is_last: bool) -> None:
    """Do something to one of the live runs."""
    runs = await live_runs(house)
    if not runs:
        return
    run_id = lives.source.choice(runs).id
    chance = lives.source.random()
    if chance < 0.5:
        name, payload = lives.source.choice(EVENTS), lives.source.random()
        await house.runs.send(run_id, name=name, payload=payload)
    elif chance < 0.56 and not is_last:
        snapshot = await house.runs.suspend(run_id, reason="hold", wait_s=0)
        if snapshot is not None and (await house.runs.get(run_id)).snapshot_id == snapshot.id:
            lives.held.add(run_id)
    elif chance < 0.57:
        lives.held.clear()  # the run's descendants are let go as well
        await house.runs.cancel(run_id)
    elif chance < 0.6:
        lives.is_model_there = is_last or not lives.is_model_there
    else:
        detail = await house.runs.get(run_id)
        if detail.run.ending is not None or detail.run.deadline_at is not None:
            lives.held.discard(run_id)
        if detail.snapshot_id is not None:
            await answer(house, lives, detail)


async def live(house: House, lives: Lives, *, for_s: float, is_last: bool) -> None:
    """Meddle for a while; in the last life until nothing is left."""
    until = time.monotonic() + for_s
    while time.monotonic() < until and not house.engine.failed.done():
        try:
            await meddle(house, lives, is_last=is_last)
        except (Conflict, NotFound):
            continue  # the run was faster
        await asyncio.sleep(lives.source.random() * 0.005)
        if is_last and not await live_runs(house):
            return


async def examine(house: House, lives: Lives) -> None:
    if house.engine.failed.done():
        lives.faults.append(f"the engine has failed: {house.engine.failed.exception()!r}")
    lives.faults += [f"a stray: {run_id}" for run_id in await house.engine.sweep()]


async def go_through(seed: int, path: Path, *, is_slow: bool) -> list[str]:
    """Live all lives of a seed, and tell what should not have happened."""
    lives = Lives(seed)
    source = lives.source
    count = source.randint(1, 5)
    linger_s = source.choice([0.0, 0.02, 2.0])
    for number in range(count + 1):
        is_last = number == count
        lives.is_dead = False
        lives.is_model_there = lives.is_model_there or is_last
        async with (
            open_house(
                path,
                *lives.workflows(),
                health={MODEL: lives.look},
                linger_s=linger_s,
                runs_max=source.choice([2, 8, 64]),
                suspect_alone_s=0.1,
            ) as house,
            slow(house.store, lives, is_slow=is_slow),
        ):
            if number == 0:
                await begin(house, lives)
            span_s = source.random() * (1.0 if is_slow else 0.3)
            await live(house, lives, for_s=LAST_LIFE_S if is_last else span_s, is_last=is_last)
            await examine(house, lives)
            if is_last:
                lives.faults += [f"not ended: {run}" for run in await live_runs(house)]
            elif source.random() < 0.4:
                async with HeldDisk(house.store):
                    lives.is_dead = True
                    path = crashed(path, path / "killed")
        lives.check_journal(path)
        if lives.faults:
            return lives.faults
    lives.check_end(path)
    return lives.faults


async def begin(house: House, lives: Lives) -> None:
    source = lives.source
    for _ in range(6):
        spec = {"seed": source.randrange(1 << 30), "depth": 0, "turns": source.choice([0, 0, 1])}
        timeout_s = source.uniform(0.2, 3.0) if source.random() < 0.15 else None
        await house.start("life", spec, timeout_s=timeout_s)


async def go_through_many(seed: int, path: Path, *, for_s: float, is_slow: bool) -> None:
    until = time.monotonic() + for_s
    number = 0
    while time.monotonic() < until:
        folder = path / str(seed + number)
        folder.mkdir()
        faults = await go_through(seed + number, folder, is_slow=is_slow)
        assert not faults, f"SEED={seed + number}: " + "\n".join(faults)
        number += 1


@pytest.mark.parametrize("is_slow", [False, True], ids=["fast-disk", "slow-disk"])
async def test_promises_hold_in_random_lives(tmp_path: Path, seed: int, is_slow: bool) -> None:
    await go_through_many(seed, tmp_path, for_s=SAMPLE_S, is_slow=is_slow)


@pytest.mark.soak
@pytest.mark.parametrize("is_slow", [False, True], ids=["fast-disk", "slow-disk"])
async def test_promises_hold_in_many_random_lives(tmp_path: Path, seed: int, is_slow: bool) -> None:
    await go_through_many(seed, tmp_path, for_s=SOAK_S, is_slow=is_slow)
