"""The power is cut: all writes that were not synced are lost, and nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import get_args

import pytest

from tests.crash.daemons import Died, Place, place_in
from tests.crash.driver import RUNS, Driver
from tests.crash.power import Loss, cut_power
from tests.crash.shim import Shim, read_count
from tests.crash.story import Story, all_of
from tests.crash.witness import read_left

SAMPLE = 6
FLOOD = 100
EARLY_SYNCS = 12
"""Syncs of a start that recovers, and of the first steps after it."""
LOSSES = get_args(Loss)

Point = tuple[int, Loss]


async def test_nothing_acknowledged_is_lost_at_sampled_power_cuts(
    tmp_path: Path, library: Path, seed: int
) -> None:
    source = random.Random(seed)
    syncs = await _count_syncs(tmp_path / "whole", library)
    numbers = source.sample(range(1, syncs + 1), SAMPLE)
    points = [(number, LOSSES[i % len(LOSSES)]) for i, number in enumerate(numbers)]

    assert await _cut_at(tmp_path, library, points, seed) >= SAMPLE // 2


@pytest.mark.soak
async def test_nothing_acknowledged_is_lost_at_any_power_cut(
    tmp_path: Path, library: Path, seed: int
) -> None:
    syncs = await _count_syncs(tmp_path / "whole", library)
    points = [(number, loss) for number in range(1, syncs + 1) for loss in LOSSES]

    assert await _cut_at(tmp_path, library, points, seed) >= len(points) * 0.8


async def test_nothing_acknowledged_is_lost_at_two_power_cuts_in_a_row(
    tmp_path: Path, library: Path, seed: int
) -> None:
    """The second comes while the first is recovered from, or soon after."""
    source = random.Random(seed)
    syncs = await _count_syncs(tmp_path / "whole", library)
    points = [
        (source.randint(EARLY_SYNCS, syncs), source.randint(1, EARLY_SYNCS), loss)
        for loss in LOSSES
    ]

    async def tell(point: tuple[int, int, Loss]) -> bool:
        first, second, loss = point
        async with place_in(tmp_path / f"{first}-{second}-{loss}") as place:
            return await _cut(place, library, [first, second], loss, f"{seed} {point}")

    assert await all_of(tell, points) >= 1


async def test_runs_acknowledged_in_a_flood_survive_a_power_cut(
    tmp_path: Path, library: Path, seed: int
) -> None:
    async with place_in(tmp_path) as place:
        acknowledged = await _flood_and_cut(place, library, random.Random(seed), "all")

        left = read_left(place.database, boot=1)

        assert left.integrity == "ok"
        assert {key: left.names.get(key) for key in acknowledged} == acknowledged
        again = await place.start()
        for run_id in acknowledged.values():
            assert (await again.get(f"{RUNS}/{run_id}"))["id"] == run_id


async def test_power_cut_at_normal_loses_acknowledged_runs(
    tmp_path: Path, library: Path, seed: int
) -> None:
    """The control: this is what the tests above would see if FULL did not sync."""
    async with place_in(tmp_path, AGENCY_STORE__SYNCHRONOUS="NORMAL") as place:
        acknowledged = await _flood_and_cut(place, library, random.Random(seed), "all")

        left = read_left(place.database, boot=1)

    assert left.integrity == "ok"
    assert len(acknowledged) > len(left.names)


async def _count_syncs(folder: Path, library: Path) -> int:
    async with place_in(folder) as place:
        count = folder / "syncs"
        daemon = await place.start(Shim(library=library, database=place.database, count=count))
        await Driver(place).drive(daemon)
        return read_count(count)


async def _cut_at(tmp_path: Path, library: Path, points: list[Point], seed: int) -> int:
    async def tell(point: Point) -> bool:
        number, loss = point
        async with place_in(tmp_path / f"{number}-{loss}") as place:
            return await _cut(place, library, [number], loss, f"{seed} {point}")

    return await all_of(tell, points)


async def _cut(place: Place, library: Path, numbers: list[int], loss: Loss, seed: str) -> bool:
    """Cut the power at so many syncs of one daemon after the other; False if no cut came."""
    source = random.Random(seed)
    undo = place.folder / "undo"
    shims = [
        Shim(
            library=library,
            database=place.database,
            kill_sync=number,
            kill_when=source.choice(["before", "after"]),
            undo=undo,
        )
        for number in numbers
    ]

    def cut() -> None:
        cut_power(place.database, undo, loss=loss, source=source)

    return await Story(place, source, cut).live_killed(*shims)


async def _flood_and_cut(
    place: Place, library: Path, source: random.Random, loss: Loss
) -> dict[str, str]:
    """Start many runs and cut the power in the middle; return what was acknowledged."""
    undo = place.folder / "undo"
    daemon = await place.start(Shim(library=library, database=place.database, undo=undo))
    fuse = source.randint(FLOOD // 4, FLOOD * 3 // 4)
    acknowledged: dict[str, str] = {}

    async def send(number: int) -> None:
        key = f"flood-{number}"
        body = {"workflow": "crash-short", "input": number}
        try:
            run = await daemon.post(RUNS, body, headers={"Idempotency-Key": key})
        except Died:
            return
        acknowledged[key] = run["id"]
        if len(acknowledged) == fuse:
            daemon.kill()

    await asyncio.gather(*(send(number) for number in range(FLOOD)))
    assert await daemon.wait_ended() == -9
    cut_power(place.database, undo, loss=loss, source=source)
    return acknowledged
