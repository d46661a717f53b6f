"""Daemons are killed while a run moves from one to another: it is never lost, and never in two."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agency.web.files import LINES
from tests.crash.daemons import Daemon, Died, Place, Refused
from tests.crash.driver import RUNS, until
from tests.crash.shim import Shim, read_count
from tests.crash.story import all_of
from tests.crash.test_stops import begun, kill, start, stops_in

WORKFLOW = "stops-asking"
TEXTS = 2
TEXTS_OF_A_LONG_FILE = 24
"""Megabytes, more than the two sockets hold between them."""
SAMPLE = 3

Run = dict[str, Any]
Point = tuple[int, Any]


def is_waiting(run: Run) -> bool:
    return bool(run["status"] not in {"pending", "running"})


async def move(daemon: Daemon, texts: int = TEXTS) -> Run:
    """Bring the run to its wait and move it, as far as that was not done; give the receipt."""
    run = await until(daemon, await start(daemon, WORKFLOW, texts), is_waiting)
    if run["status"] == "suspended":
        receipt: Run = await daemon.post(f"/api/v1/snapshots/{run['snapshot_id']}/move")
        return receipt
    assert ("cancelled", "moved") == (run["status"], run["error"]["code"])
    found: Run = await daemon.get(f"/api/v1/receipts/{run['error']['details']['receipt_id']}")
    return found


async def fetch(daemon: Daemon, receipt: Run) -> bytes:
    """Fetch the file of a moved run; it is that of the receipt."""
    file = await daemon.fetch(receipt["links"]["file"])
    assert receipt["size_bytes"] == len(file)
    body = file[: file.rstrip(b"\n").rindex(b"\n") + 1]
    assert receipt["sha256"] == hashlib.sha256(body).hexdigest()
    return file


async def bring_in(daemon: Daemon, file: bytes) -> int:
    """Bring a moved run in, and give the status of the answer."""
    answer = await daemon.send_file("/api/v1/snapshots/import", file, content_type=LINES)
    assert answer.status in {201, 409}, answer.body
    return answer.status


async def answer(daemon: Daemon, run_id: str) -> Run:
    """Answer the run, and wait for its end."""
    await until(daemon, run_id, is_waiting)
    await daemon.post(f"{RUNS}/{run_id}/resume", {"input": "yes"})
    return await until(daemon, run_id, lambda run: run["status"] == "completed")


async def test_file_that_broke_off_is_given_again_whole(tmp_path: Path) -> None:
    async with stops_in(tmp_path / "here") as here, stops_in(tmp_path / "there") as there:
        daemon = await here.start()
        receipt = await move(daemon, TEXTS_OF_A_LONG_FILE)
        with pytest.raises(Died):
            await daemon.fetch(receipt["links"]["file"], kill_after_bytes=1)
        assert await daemon.wait_ended() == -9

        daemon = await here.start()
        file = await fetch(daemon, await move(daemon, TEXTS_OF_A_LONG_FILE))
        goal = await there.start()
        assert 201 == await bring_in(goal, file)
        run = await answer(goal, receipt["run_id"])
        await daemon.post(receipt["links"]["confirm"])

        assert [TEXTS_OF_A_LONG_FILE, "yes", 2] == run["output"]
        assert [] == begun(there, "write#1")
        with pytest.raises(Refused):
            await daemon.fetch(receipt["links"]["file"])


async def test_run_is_in_one_place_after_kills_in_its_move(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_in_move(tmp_path, library, seed, sample=SAMPLE)


@pytest.mark.soak
async def test_run_is_in_one_place_after_a_kill_at_every_commit_of_its_move(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_in_move(tmp_path, library, seed, sample=None)


async def _kill_in_move(tmp_path: Path, library: Path, seed: int, *, sample: int | None) -> None:
    async def move_and_fetch(daemon: Daemon) -> None:
        await fetch(daemon, await move(daemon))

    async def tell(point: Point) -> bool:
        folder = tmp_path / f"{point[0]}-{point[1]}"
        async with stops_in(folder / "here") as here, stops_in(folder / "there") as there:
            was_killed = await _live(here, _shim(library, here, point), move_and_fetch)
            daemon = await here.start()
            receipt = await move(daemon)
            goal = await there.start()
            assert 201 == await bring_in(goal, await fetch(daemon, receipt))
            run = await answer(goal, receipt["run_id"])
            assert [TEXTS, "yes", 2] == run["output"]
            left = await kill(here, daemon)
            assert {receipt["run_id"]: "cancelled"} == left.runs
            return was_killed

    points = await _points(tmp_path / "whole", library, move_and_fetch, seed, sample)
    assert await all_of(tell, points) >= len(points) // 2


async def test_run_comes_in_once_after_kills_in_its_import(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_in_import(tmp_path, library, seed, sample=SAMPLE)


@pytest.mark.soak
async def test_run_comes_in_once_after_a_kill_at_every_commit_of_its_import(
    tmp_path: Path, library: Path, seed: int
) -> None:
    await _kill_in_import(tmp_path, library, seed, sample=None)


async def _kill_in_import(tmp_path: Path, library: Path, seed: int, *, sample: int | None) -> None:
    async with stops_in(tmp_path / "here") as here:
        daemon = await here.start()
        receipt = await move(daemon)
        file = await fetch(daemon, receipt)

    async def take_in(daemon: Daemon) -> None:
        await bring_in(daemon, file)

    async def tell(point: Point) -> bool:
        async with stops_in(tmp_path / f"{point[0]}-{point[1]}") as there:
            was_killed = await _live(there, _shim(library, there, point), take_in)
            daemon = await there.start()
            await bring_in(daemon, file)
            run = await answer(daemon, receipt["run_id"])
            assert [TEXTS, "yes", 2] == run["output"]
            left = await kill(there, daemon)
            assert {receipt["run_id"]: "completed"} == left.runs
            return was_killed

    points = await _points(tmp_path / "whole", library, take_in, seed, sample)
    assert await all_of(tell, points) >= len(points) // 2


def _shim(library: Path, place: Place, point: Point) -> Shim:
    number, when = point
    return Shim(library=library, database=place.database, kill_sync=number, kill_when=when)


async def _live(place: Place, shim: Shim, work: Callable[[Daemon], Awaitable[None]]) -> bool:
    """Work with a daemon under a shim; True if it was killed at its place."""
    daemon = await place.spawn(shim)
    if not daemon.url:
        assert await daemon.wait_ended() == -9
        return True
    try:
        await work(daemon)
    except Died:
        assert await daemon.wait_ended() == -9
        return True
    daemon.kill()
    await daemon.wait_ended()
    return False


async def _points(
    folder: Path,
    library: Path,
    work: Callable[[Daemon], Awaitable[None]],
    seed: int,
    sample: int | None,
) -> list[Point]:
    """Count the commits of undisturbed work, and choose some, or take all."""
    async with stops_in(folder) as place:
        count = place.folder / "syncs"
        shim = Shim(library=library, database=place.database, count=count)
        daemon = await place.start(shim)
        before = read_count(count)
        await work(daemon)
        after = read_count(count)
    points = [(number, when) for number in range(before + 1, after + 1) for when in BOTH]
    return random.Random(seed).sample(points, min(sample, len(points))) if sample else points


BOTH = ("before", "after")
