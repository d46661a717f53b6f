"""Ends that were asked for or deserved come to pass, whatever the daemon died of."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

from tests.crash.daemons import GUARD_S, Daemon, Died, place_in
from tests.crash.driver import RUNS, has_ended, until
from tests.crash.power import cut_power
from tests.crash.shim import Shim, read_count
from tests.crash.story import all_of
from tests.crash.witness import check_effects, read_effects, read_left

INNOCENTS = 5
CRASHES_MAX = 3
"""A run that has crashed its daemon so often, the last time alone, is not tried again."""
SAMPLE = 4
CHAIN = {"workflow_id": "chain", "workflow": "crash-chain", "input": 0}


async def test_run_that_kills_its_daemon_is_quarantined_and_others_complete(
    tmp_path: Path,
) -> None:
    async with place_in(tmp_path) as place:
        daemon = await place.start()
        # They are accepted first: the bomb may be worked on before its request is answered.
        innocents = [
            (await daemon.post(RUNS, {"workflow": "crash-long", "input": 20}))["id"]
            for _ in range(INNOCENTS)
        ]
        with suppress(Died):
            await daemon.post(RUNS, {"workflow": "crash-bomb"}, headers={"Idempotency-Key": "bomb"})
        assert await daemon.wait_ended() == -9
        lefts = [read_left(place.database, boot=1)]
        bomb = lefts[0].names["bomb"]
        for boot in range(2, CRASHES_MAX + 1):
            daemon = await place.spawn()
            assert await daemon.wait_ended() == -9
            lefts.append(read_left(place.database, boot=boot))

        last = await place.start()
        dead = await until(last, bomb)
        runs = [await until(last, run_id) for run_id in innocents]

    effects = read_effects(place.effects)
    assert (dead["status"], dead["error"]["code"]) == ("dead_letter", "crash")
    exploded = [effect for effect in effects if effect.step == (bomb, "explode#1")]
    assert len(exploded) == CRASHES_MAX
    assert [(run["status"], run["attempt"]) for run in runs] == [("completed", 1)] * INNOCENTS
    check_effects(effects, lefts)


async def test_acknowledged_cancel_comes_to_pass_after_a_power_cut(
    tmp_path: Path, library: Path
) -> None:
    async with place_in(tmp_path) as place:
        undo = tmp_path / "undo"
        daemon = await place.start(Shim(library=library, database=place.database, undo=undo))
        running = (await daemon.post(RUNS, {"workflow": "crash-forever"}))["id"]
        await until(daemon, running, lambda run: run["steps_executed"] == 1)
        waiting = (await daemon.post(RUNS, {"workflow": "crash-held"}))["id"]
        await until(daemon, waiting, lambda run: bool(run["status"] == "suspended"))

        await asyncio.gather(
            *(daemon.post(f"{RUNS}/{run_id}/cancel") for run_id in (running, waiting))
        )
        daemon.kill()
        await daemon.wait_ended()
        cut_power(place.database, undo)

        again = await place.start()
        ends = [await until(again, run_id) for run_id in (running, waiting)]

    assert [run["status"] for run in ends] == ["cancelled", "cancelled"]
    begun = [effect for effect in read_effects(place.effects) if effect.boot == 2]
    assert begun == []


async def test_chain_of_successors_is_neither_broken_nor_doubled_by_kills(
    tmp_path: Path, library: Path, seed: int
) -> None:
    """A run and its successor change places in one commit."""
    async with place_in(tmp_path / "whole") as place:
        count = tmp_path / "syncs"
        daemon = await place.start(Shim(library=library, database=place.database, count=count))
        before = read_count(count)
        await daemon.post("/api/v1/workflows", CHAIN)
        await _end_of_chain(daemon)
        after = read_count(count)

    async def tell(number: int) -> bool:
        async with place_in(tmp_path / str(number)) as place:
            daemon = await place.spawn(
                Shim(library=library, database=place.database, kill_sync=number)
            )
            # Commits are made in groups: the same number may come before the daemon is ready.
            if daemon.url:
                with suppress(Died):
                    await daemon.post(
                        "/api/v1/workflows", CHAIN, headers={"Idempotency-Key": "chain"}
                    )
                    await _end_of_chain(daemon)
                    daemon.kill()
            assert await daemon.wait_ended() == -9
            left = read_left(place.database, boot=1)
            again = await place.start()
            await again.post("/api/v1/workflows", CHAIN, headers={"Idempotency-Key": "chain"})
            assert await _end_of_chain(again) == 3
            again.kill()
            await again.wait_ended()
            assert len(read_left(place.database, boot=2).runs) == 3
            check_effects(read_effects(place.effects), [left])
            return left.runs != {}

    numbers = random.Random(seed).sample(range(before + 1, after + 1), SAMPLE)
    await all_of(tell, numbers)


async def _end_of_chain(daemon: Daemon) -> int:
    """Follow the name from run to run, and return what the last one ends with."""
    async with asyncio.timeout(GUARD_S):
        while True:
            run = await daemon.get("/api/v1/workflows/chain", headers={"Prefer": "wait=5"})
            # One that went on as its successor ends with the address of that.
            if has_ended(run) and isinstance(run["output"], int):
                return run["output"]
