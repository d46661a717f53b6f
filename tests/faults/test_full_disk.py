"""The disk is full: intake stops, what was taken waits and loses nothing, and all goes on after."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.crash.daemons import Answer, Daemon, Place, place_in
from tests.crash.driver import RUNS, until
from tests.crash.shim import Shim
from tests.crash.witness import check_effects, read_effects, read_left

STEPS = 30
REQUESTS_MAX = 400
"""By then the room that the write-ahead log already has is used up."""
DISK_BYTES = 8 << 20


@dataclass
class Disk:
    """A disk that can be filled and emptied, and a place on it.

    Attributes:
        shim: Plays the disk; None on a real one.
    """

    place: Place
    shim: Shim | None
    filling: Path
    acknowledged: list[str] = field(default_factory=list)

    def fill(self) -> None:
        if self.shim is not None:
            self.filling.touch()
            return
        with self.filling.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                while _takes(file.fileno(), size):
                    pass

    def empty(self) -> None:
        self.filling.unlink()

    async def start(self, daemon: Daemon, workflow: str, value: Any = None) -> Answer:
        """Ask for a run; those that are accepted are remembered."""
        answer = await daemon.ask("POST", RUNS, {"workflow": workflow, "input": value})
        if answer.status < 400:
            self.acknowledged.append(answer.body["id"])
        return answer

    async def start_until_refused(self, daemon: Daemon) -> Answer:
        for number in range(REQUESTS_MAX):
            answer = await self.start(daemon, "crash-short", number)
            if answer.status >= 400:
                return answer
        raise AssertionError("nothing was refused on a full disk")


def _takes(file: int, size: int) -> bool:
    try:
        return os.write(file, b"\0" * size) == size
    except OSError:
        return False


@pytest.fixture
async def played(tmp_path: Path, library: Path) -> AsyncIterator[Disk]:
    """A disk that the preloaded library plays."""
    async with place_in(tmp_path) as place:
        filling = tmp_path / "full"
        yield Disk(place, Shim(library=library, database=place.database, full=filling), filling)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of a few megabytes, in memory."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk is mounted as root on Linux only")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_BYTES}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "agency-test", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this machine does not let a small disk be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
async def real(small_disk: Path, tmp_path: Path) -> AsyncIterator[Disk]:
    async with place_in(tmp_path) as place:
        place.data.symlink_to(small_disk)
        # The reserve is larger than this disk: without it the disk itself says that it is full.
        place.environ["AGENCY_STORE__FREE_BYTES_MIN"] = "0"
        yield Disk(place, None, small_disk / "filling")


async def test_full_disk_stops_intake_and_loses_nothing(played: Disk) -> None:
    await _fill_and_empty(played)


async def test_small_real_disk_stops_intake_and_loses_nothing(real: Disk) -> None:
    await _fill_and_empty(real)


async def _fill_and_empty(disk: Disk) -> None:
    daemon = await disk.place.start(disk.shim)
    long = (await disk.start(daemon, "crash-long", STEPS)).body["id"]
    held = (await disk.start(daemon, "crash-held")).body["id"]
    await until(daemon, held, _is_suspended)
    await _send(daemon, held, 1)

    disk.fill()
    refused = await disk.start_until_refused(daemon)
    health = await daemon.ask("GET", "/health")
    ready = await daemon.ask("GET", "/health/ready")
    run = await daemon.get(f"{RUNS}/{long}")

    assert refused.status == 507
    assert refused.body["code"] == "store_full"
    assert "full" in refused.body["detail"]
    assert "Free space" in refused.body["hint"]
    assert (health.status, health.body["status"]) == (200, "degraded")
    assert (health.body["database"], health.body["intake"]) == ("connected", "full")
    assert ready.status == 503
    assert run["status"] in {"running", "pending"}
    assert run["attempt"] == 1

    disk.empty()

    ended = await until(daemon, long)
    assert (ended["status"], ended["output"], ended["attempt"]) == ("completed", STEPS, 1)
    await _all_end(daemon, disk, held)
    assert {effect.boot for effect in read_effects(disk.place.effects)} == {1}
    check_effects(read_effects(disk.place.effects), [])
    assert (await disk.start(daemon, "crash-short", 1)).status == 202


async def test_daemon_killed_on_a_full_disk_goes_on_when_there_is_room(played: Disk) -> None:
    daemon = await played.place.start(played.shim)
    await played.start(daemon, "crash-long", STEPS)
    held = (await played.start(daemon, "crash-held")).body["id"]
    await until(daemon, held, _is_suspended)
    await _send(daemon, held, 1)
    played.fill()
    await played.start_until_refused(daemon)
    daemon.kill()
    await daemon.wait_ended()
    left = read_left(played.place.database, boot=1)

    refused = await played.place.spawn(played.shim)
    code = await refused.wait_ended()
    log = refused.log.read_text()
    played.empty()
    again = await played.place.start(played.shim)
    await _all_end(again, played, held)

    assert code == 1
    assert "There is no room on the disk" in log
    assert "Traceback" not in log
    assert left.integrity == "ok"
    assert set(left.runs) >= set(played.acknowledged)
    check_effects(read_effects(played.place.effects), [left])


@pytest.mark.soak  # it takes the ten seconds that runs have to be put back
async def test_daemon_asked_to_stop_on_a_full_disk_loses_nothing(played: Disk) -> None:
    played.place.environ["AGENCY_SERVER__GRACE_S"] = "0.2"
    daemon = await played.place.start(played.shim)
    await played.start(daemon, "crash-long", STEPS)
    held = (await played.start(daemon, "crash-held")).body["id"]
    await until(daemon, held, _is_suspended)
    await _send(daemon, held, 1)
    played.fill()
    await played.start_until_refused(daemon)

    daemon.stop()
    code = await daemon.wait_ended()
    left = read_left(played.place.database, boot=1)
    played.empty()
    again = await played.place.start(played.shim)
    await _all_end(again, played, held)

    assert code == 0, daemon.log.read_text()
    assert left.integrity == "ok"
    check_effects(read_effects(played.place.effects), [left])


async def test_intake_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    """The reserve is kept for the work that is running; here it is larger than any disk."""
    async with place_in(tmp_path, AGENCY_STORE__FREE_BYTES_MIN=str(1 << 60)) as place:
        daemon = await place.start()

        refused = await daemon.ask("POST", RUNS, {"workflow": "crash-short", "input": 1})
        health = await daemon.get("/health")

    assert refused.status == 507
    assert str(1 << 60) in refused.body["detail"]
    assert health["intake"] == "full"


async def _send(daemon: Daemon, run_id: str, number: int) -> None:
    event = {"name": "item", "payload": number, "event_id": f"item-{number}"}
    await daemon.post(f"{RUNS}/{run_id}/events", event)


def _is_suspended(run: dict[str, Any]) -> bool:
    return bool(run["status"] == "suspended")


async def _all_end(daemon: Daemon, disk: Disk, held: str) -> None:
    """Check that all that was acknowledged is there and ends; the held run is given its events."""
    await _send(daemon, held, 2)
    await _send(daemon, held, 3)
    for run_id in disk.acknowledged:
        run = await until(daemon, run_id)
        assert run["status"] == "completed", run
    assert (await daemon.get(f"{RUNS}/{held}"))["output"] == [1, 2, 3]
