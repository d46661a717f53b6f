"""Daemons are killed at any moment, alone and under load."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crash.daemons import Daemon, Died, place_in
from tests.crash.driver import RUNS, Driver, until
from tests.crash.story import Story, all_of
from tests.crash.witness import Left, check_effects, read_effects, read_left

SAMPLE = 8
ALL = 200
KILLS_MAX = 2
"""Kills of one database: a third one, of a suspect alone, would lawfully make a dead letter."""

RUNS_AT_ONCE = 20
FLOOD = 200


async def test_run_killed_at_sampled_moments_ends_the_same(tmp_path: Path, seed: int) -> None:
    await _kill_anywhere(tmp_path, seed, times=SAMPLE)


@pytest.mark.soak
async def test_run_killed_at_two_hundred_moments_ends_the_same(tmp_path: Path, seed: int) -> None:
    await _kill_anywhere(tmp_path, seed, times=ALL)


async def _kill_anywhere(tmp_path: Path, seed: int, *, times: int) -> None:
    async with place_in(tmp_path / "whole") as place:
        daemon = await place.start()
        started_s = time.monotonic()
        await Driver(place).drive(daemon)
        whole_s = time.monotonic() - started_s

    async def tell(number: int) -> bool:
        source = random.Random(f"{seed} {number}")
        # Every other run leaves memory at each suspension, so that it is replayed also unkilled.
        linger_s = "0" if number % 2 else "2"
        async with place_in(tmp_path / str(number), AGENCY_ENGINE__LINGER_S=linger_s) as place:
            story = Story(place, source)
            for _ in range(source.randint(1, KILLS_MAX)):
                if await _live_and_die(story, source.uniform(0, whole_s)):
                    break
            run = await story.live(await place.start())
            assert run is not None
            story.check_end(run)
            return bool(story.lefts)

    reached = await all_of(tell, range(times))

    assert reached >= times * 0.6


async def _live_and_die(story: Story, life_s: float) -> bool:
    """Kill the daemon after a time; True if the run had ended by then."""
    daemon = await story.place.start()
    killing = asyncio.get_running_loop().call_later(life_s, daemon.kill)
    run = await story.live(daemon)
    killing.cancel()
    if run is None:
        return False
    daemon.kill()
    await story.bury(daemon)
    return True


async def test_everything_acknowledged_in_a_flood_is_there_after_kills(
    tmp_path: Path, seed: int
) -> None:
    """Each key gives one run, however often it was sent, and each run ends."""
    source = random.Random(seed)
    keys = [f"flood-{number}" for number in range(FLOOD)]
    async with place_in(tmp_path) as place:
        acknowledged: dict[str, str] = {}
        lefts: list[Left] = []
        for _ in range(KILLS_MAX):
            daemon = await place.start()
            fuse = source.randrange(1, FLOOD)
            await _flood(daemon, keys, acknowledged, fuse=fuse)
            assert await daemon.wait_ended() == -9
            left = read_left(place.database, boot=place.boots)
            lefts.append(left)
            assert left.integrity == "ok"
            assert {key: left.names.get(key) for key in acknowledged} == acknowledged

        daemon = await place.start()
        await _flood(daemon, keys, acknowledged, fuse=None)
        ends = await asyncio.gather(*(until(daemon, run_id) for run_id in acknowledged.values()))

    assert len(set(acknowledged.values())) == FLOOD
    assert {run["status"] for run in ends} == {"completed"}
    assert {run["id"]: run["output"] for run in ends} == {
        acknowledged[key]: (number + 1) * 2 + 1 for number, key in enumerate(keys)
    }
    check_effects(read_effects(place.effects), lefts)


async def test_twenty_runs_at_once_all_end_after_a_kill(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    async with place_in(tmp_path, AGENCY_ENGINE__LINGER_S="0") as place:
        drivers = [Driver(place, key=f"order-{number}") for number in range(RUNS_AT_ONCE)]
        daemon = await place.start()
        asyncio.get_running_loop().call_later(source.uniform(0.2, 3.0), daemon.kill)
        met = await asyncio.gather(
            *(driver.drive(daemon) for driver in drivers), return_exceptions=True
        )
        _raise_others(met)
        daemon.kill()
        await daemon.wait_ended()
        left = read_left(place.database, boot=1)

        again = await place.start()
        runs = await asyncio.gather(*(driver.drive(again) for driver in drivers))

    assert left.integrity == "ok"
    assert {driver.run_id for driver in drivers} == {run["id"] for run in runs}
    assert [run["status"] for run in runs] == ["completed"] * RUNS_AT_ONCE
    assert len({str(run["output"]) for run in runs}) == 1
    check_effects(read_effects(place.effects), [left])


def _raise_others(met: list[Any]) -> None:
    for each in met:
        if isinstance(each, BaseException) and not isinstance(each, Died):
            raise each


async def _flood(
    daemon: Daemon, keys: list[str], acknowledged: dict[str, str], *, fuse: int | None
) -> None:
    """Send all requests at once; the daemon is killed when so many are answered."""
    answered = 0

    async def send(number: int, key: str) -> None:
        nonlocal answered
        try:
            run = await daemon.post(
                RUNS,
                {"workflow": "crash-short", "input": number},
                headers={"Idempotency-Key": key},
            )
        except Died:
            assert fuse is not None, "the daemon died by itself"
            return
        assert acknowledged.setdefault(key, run["id"]) == run["id"]
        answered += 1
        if answered == fuse:
            daemon.kill()

    await asyncio.gather(*(send(number, key) for number, key in enumerate(keys)))
