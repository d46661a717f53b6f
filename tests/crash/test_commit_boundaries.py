"""A run is killed before and after each sync of its database, and ends as if nothing had been."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import pytest

from tests.crash.daemons import place_in
from tests.crash.driver import RESULT, Driver
from tests.crash.shim import Shim, read_count
from tests.crash.story import Story, all_of

SAMPLE = 8
LEAST_SYNCS = 30
"""An undisturbed run has more commits than this; fewer would mean that they are not seen."""

Point = tuple[int, Literal["before", "after"]]


async def test_undisturbed_run_meets_every_kind_of_wait(tmp_path: Path, library: Path) -> None:
    async with place_in(tmp_path) as place:
        driver = Driver(place)

        run = await driver.drive(await place.start())

        assert run["output"] == RESULT
        assert driver.seen == {"event", "timer", "input", "child"}


async def test_run_killed_at_sampled_commits_ends_the_same(
    tmp_path: Path, library: Path, seed: int
) -> None:
    source = random.Random(seed)
    points = _points(await _count_syncs(tmp_path / "whole", library))

    reached = await _kill_at(tmp_path, library, source.sample(points, SAMPLE), seed)

    assert reached >= SAMPLE // 2


@pytest.mark.soak
async def test_run_killed_at_every_commit_ends_the_same(
    tmp_path: Path, library: Path, seed: int
) -> None:
    points = _points(await _count_syncs(tmp_path / "whole", library))

    reached = await _kill_at(tmp_path, library, points, seed)

    # Commits are made in groups: how many there are in all differs a little from run to run.
    assert reached >= len(points) * 0.8


async def _count_syncs(folder: Path, library: Path) -> int:
    async with place_in(folder) as place:
        count = folder / "syncs"
        daemon = await place.start(Shim(library=library, database=place.database, count=count))
        await Driver(place).drive(daemon)
        daemon.stop()
        assert await daemon.wait_ended() == 0
        syncs = read_count(count)
    assert syncs > LEAST_SYNCS
    return syncs


def _points(syncs: int) -> list[Point]:
    return [(number, when) for number in range(1, syncs + 1) for when in ("before", "after")]


async def _kill_at(tmp_path: Path, library: Path, points: list[Point], seed: int) -> int:
    async def tell(point: Point) -> bool:
        number, when = point
        # Every other run leaves memory at each suspension, so that it is replayed also unkilled.
        linger_s = "0" if number % 2 else "2"
        folder = tmp_path / f"{number}-{when}"
        async with place_in(folder, AGENCY_ENGINE__LINGER_S=linger_s) as place:
            shim = Shim(library=library, database=place.database, kill_sync=number, kill_when=when)
            return await Story(place, random.Random(f"{seed} {point}")).live_killed(shim)

    return await all_of(tell, points)
