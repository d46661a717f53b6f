"""Daemons are killed at chosen places of a run's life, and each run ends as it must."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.crash.daemons import GUARD_S, Daemon, Died, Place, place_in
from tests.crash.driver import RUNS, until
from tests.crash.shim import Shim, read_count
from tests.crash.story import all_of
from tests.crash.witness import Left, check_effects, read_effects, read_left

STOPS = Path(__file__).with_name("stops.py")
SAMPLE = 6
ENDED = {"completed", "failed", "compensated", "compensation_failed"}

Run = dict[str, Any]


@asynccontextmanager
async def stops_in(folder: Path, **environ: str) -> AsyncIterator[Place]:
    """Give a place whose daemons load the workflows that stop."""
    pipe = folder / "reached"
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    async with place_in(
        folder, AGENCY_WORKFLOWS__PATHS=str(STOPS), CRASH_REACHED=str(pipe), **environ
    ) as place:
        yield place


@asynccontextmanager
async def reaching(place: Place) -> AsyncIterator[asyncio.Event]:
    """Give what is set when the run has come to the place at which it stops."""
    reached = asyncio.Event()
    pipe = os.open(place.folder / "reached", os.O_RDONLY | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, reached.set)
    try:
        yield reached
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)


async def start(daemon: Daemon, workflow: str, input: object) -> str:
    """Start the run of this place; twice is the same as once."""
    body = {"workflow": workflow, "input": input}
    run: Run = await daemon.post(RUNS, body, headers={"Idempotency-Key": "the-run"})
    return str(run["id"])


async def kill(place: Place, daemon: Daemon) -> Left:
    """Kill a daemon, and look at what it has left."""
    daemon.kill()
    assert await daemon.wait_ended() == -9
    left = read_left(place.database, boot=place.boots)
    assert "ok" == left.integrity
    return left


async def killed_where_it_stops(
    place: Place, workflow: str, input: object
) -> tuple[Run, Left, Left]:
    """Kill a daemon where its run stops; give the run's end, and what the two lives have left."""
    daemon = await place.start()
    async with reaching(place) as reached, asyncio.timeout(GUARD_S):
        run_id = await start(daemon, workflow, input)
        await reached.wait()
    left = await kill(place, daemon)
    return await end(place, run_id), left, read_left(place.database, boot=place.boots)


async def killed_when(
    place: Place, workflow: str, input: object, is_wanted: Callable[[Run], bool]
) -> tuple[Run, Left]:
    """Kill a daemon when its run is as wanted; give the run's end."""
    daemon = await place.start()
    run_id = await start(daemon, workflow, input)
    await until(daemon, run_id, is_wanted)
    left = await kill(place, daemon)
    return await end(place, run_id), left


async def end(place: Place, run_id: str) -> Run:
    """Let another daemon bring the run to its end."""
    return await until(await place.start(), run_id, lambda run: run["status"] in ENDED)


def begun(place: Place, step: str) -> list[int]:
    """Tell in which lives a step was begun."""
    return [
        effect.boot
        for effect in read_effects(place.effects)
        if effect.what == "begin" and effect.step[1] == step
    ]


async def test_claimed_run_goes_on_from_the_step_that_was_cut_off(tmp_path: Path) -> None:
    async with stops_in(tmp_path) as place:
        run, left, _ = await killed_where_it_stops(place, "stops-claimed", 1)

        assert ("completed", 4) == (run["status"], run["output"])
        lives = ([1], [1, 2], [2])
        assert lives == tuple(begun(place, f"{step}#1") for step in ("before", "stops", "after"))
        check_effects(read_effects(place.effects), [left])


@pytest.mark.parametrize("nap_s", [0.2, 3.0], ids=["due while nobody lives", "due later"])
async def test_sleeping_run_wakes_in_another_daemon(tmp_path: Path, nap_s: float) -> None:
    async with stops_in(tmp_path) as place:
        run, left = await killed_when(
            place, "stops-sleeping", nap_s, lambda run: run["status"] == "suspended"
        )

        assert ("completed", 2 + 1) == (run["status"], run["output"])
        assert ["suspended"] == list(left.runs.values())
        assert ([1], [2]) == (begun(place, "before#1"), begun(place, "after#1"))


@pytest.mark.parametrize("memory_delay_s", ["0", "60"], ids=["stored", "in memory"])
async def test_step_is_tried_again_after_a_kill_in_its_delay(
    tmp_path: Path, memory_delay_s: str
) -> None:
    async with stops_in(tmp_path, AGENCY_ENGINE__MEMORY_DELAY_S=memory_delay_s) as place:
        daemon = await place.start()
        run_id = await start(daemon, "stops-retrying", 2.0)
        await first_try(daemon, run_id)
        await kill(place, daemon)
        run = await end(place, run_id)

        assert ("completed", 3) == (run["status"], run["output"])
        assert ([1], [1, 2]) == (begun(place, "before#1"), begun(place, "second#1"))
        check_effects(read_effects(place.effects), [])


async def first_try(daemon: Daemon, run_id: str) -> None:
    """Wait until the first try of a step is recorded as failed."""
    async with asyncio.timeout(GUARD_S):
        # It changes nothing of the run that a watcher would be told of.
        while "second#1~1" not in await keys(daemon, run_id):
            await asyncio.sleep(0.02)


async def keys(daemon: Daemon, run_id: str) -> set[str]:
    page = await daemon.get(f"{RUNS}/{run_id}/steps?limit=500")
    return {entry["key"] for entry in page["steps"]}


async def test_run_is_tried_again_after_a_kill_in_its_delay(tmp_path: Path) -> None:
    async with stops_in(tmp_path) as place:
        run, left = await killed_when(
            place,
            "stops-tried-again",
            None,
            lambda run: run["status"] == "pending" and run["attempt"] == 2,
        )

        assert ("completed", 3, 2) == (run["status"], run["output"], run["attempt"])
        assert ["pending"] == list(left.runs.values())
        assert ([1], [1, 2]) == (begun(place, "before#1"), begun(place, "second#1"))


# --- sagas --------------------------------------------------------------------------------------


async def test_saga_goes_on_forward_after_a_kill_in_a_leg(tmp_path: Path) -> None:
    async with stops_in(tmp_path) as place:
        run, left, _ = await killed_where_it_stops(place, "stops-order", {"stop": "b.do"})

        assert "completed" == run["status"]
        assert {"a": "a.do", "b": "b.do", "c": "c.do"} == run["output"]
        assert ([1], [1, 2], [2]) == tuple(begun(place, f"{leg}#1") for leg in "abc")
        check_effects(read_effects(place.effects), [left])


@pytest.mark.parametrize(
    ("stop", "lives", "undone"),
    [
        ("b.do", ([1], [1, 2], [2], [2], [2]), ["b", "a"]),
        # What was cut off may have happened, and is taken back as well.
        ("c.do", ([1], [1], [1, 2], [2], [2]), ["c", "b", "a"]),
    ],
)
async def test_saga_takes_back_what_it_had_done_before_the_kill(
    tmp_path: Path, stop: str, lives: tuple[list[int], ...], undone: list[str]
) -> None:
    async with stops_in(tmp_path) as place:
        value = {"stop": stop, "fail": ["c.do"]}
        run, left, _ = await killed_where_it_stops(place, "stops-order", value)

        assert "compensated" == run["status"]
        assert undone == run["error"]["details"]["compensated_legs"]
        steps = ("a#1", "b#1", "c#1", "!end/undo.b#1", "!end/undo.a#1")
        assert lives == tuple(begun(place, step) for step in steps)
        check_effects(read_effects(place.effects), [left])


@pytest.mark.parametrize(("stop", "lives"), [("b.undo", ([1, 2], [2])), ("a.undo", ([1], [1, 2]))])
async def test_compensation_goes_on_after_a_kill_in_it(
    tmp_path: Path, stop: str, lives: tuple[list[int], ...]
) -> None:
    async with stops_in(tmp_path) as place:
        value = {"stop": stop, "fail": ["c.do"]}
        run, left, _ = await killed_where_it_stops(place, "stops-order", value)

        assert "compensated" == run["status"]
        assert ["b", "a"] == run["error"]["details"]["compensated_legs"]
        assert lives == (begun(place, "!end/undo.b#1"), begun(place, "!end/undo.a#1"))
        # Nothing goes forward again once it is taken back.
        assert ([1], [1], [1]) == tuple(begun(place, f"{leg}#1") for leg in "abc")
        check_effects(read_effects(place.effects), [left])


async def test_failed_compensation_is_still_reported_after_a_kill_in_the_next(
    tmp_path: Path,
) -> None:
    async with stops_in(tmp_path) as place:
        value = {"stop": "a.undo", "fail": ["c.do", "b.undo"]}
        run, left, _ = await killed_where_it_stops(place, "stops-order", value)

        assert "compensation_failed" == run["status"]
        details = run["error"]["details"]
        assert ["a"] == details["compensated_legs"]
        assert (
            ["b"] == details["legs_left"] == [one["leg"] for one in details["compensation_errors"]]
        )
        assert "c.do fails" in run["error"]["message"]
        assert ([1], [1, 2]) == (begun(place, "!end/undo.b#1"), begun(place, "!end/undo.a#1"))
        check_effects(read_effects(place.effects), [left])


# --- between any two commits of a saga ------------------------------------------------------------


async def test_saga_killed_at_sampled_commits_is_taken_back(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_saga(tmp_path, library, seed, sample=SAMPLE)


@pytest.mark.soak
async def test_saga_killed_at_every_commit_is_taken_back(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_saga(tmp_path, library, seed, sample=None)


async def _kill_saga(tmp_path: Path, library: Path, seed: int, *, sample: int | None) -> None:
    value = {"fail": ["c.do"]}
    async with stops_in(tmp_path / "whole") as place:
        count = place.folder / "syncs"
        daemon = await place.start(Shim(library=library, database=place.database, count=count))
        before = read_count(count)
        run_id = await start(daemon, "stops-order", value)
        await until(daemon, run_id, lambda run: run["status"] in ENDED)
        syncs = read_count(count)
    points = [
        (number, when) for number in range(before + 1, syncs + 1) for when in ("before", "after")
    ]
    if sample is not None:
        points = random.Random(seed).sample(points, min(sample, len(points)))

    async def tell(point: tuple[int, Any]) -> bool:
        number, when = point
        async with stops_in(tmp_path / f"{number}-{when}") as place:
            shim = Shim(library=library, database=place.database, kill_sync=number, kill_when=when)
            return await _killed_at(place, shim, value)

    reached = await all_of(tell, points)

    assert reached >= len(points) // 2


async def _killed_at(place: Place, shim: Shim, value: object) -> bool:
    """Live a saga's run under a shim, and bring it to its end; False if the kill did not come."""
    was_killed = False
    daemon = await place.spawn(shim)
    try:
        if not daemon.url:
            raise Died("it was killed before it was ready")
        run_id = await start(daemon, "stops-order", value)
        await until(daemon, run_id, lambda run: run["status"] in ENDED)
    except Died:
        was_killed = True
    else:
        daemon.kill()
    assert await daemon.wait_ended() == -9
    left = read_left(place.database, boot=place.boots)
    daemon = await place.start()
    run_id = await start(daemon, "stops-order", value)
    run = await until(daemon, run_id, lambda run: run["status"] in ENDED)
    assert "compensated" == run["status"], run
    # The last leg is taken back where nobody knows whether it has happened.
    assert run["error"]["details"]["compensated_legs"] in (["b", "a"], ["c", "b", "a"])
    check_effects(read_effects(place.effects), [left])
    return was_killed
