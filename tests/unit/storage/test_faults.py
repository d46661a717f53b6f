"""Full disks, broken disks and sudden deaths, on real files in real processes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agency.errors import StoreFull
from agency.ports.store import Writes
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import (
    T0,
    deliver,
    finish,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    suspend,
    wait_for_event,
)
from tests.unit.storage.conftest import Opener

GUARD_S = 60
CHILD = [sys.executable, "-m", "tests.unit.storage.disk_child"]


async def limit_pages(store: SqliteStore, *, more: int) -> None:
    """Let the database have so many pages more than now, and no more."""

    def limit(tx: Any) -> None:
        (pages,) = tx._connection.execute("PRAGMA page_count").fetchone()
        tx._connection.execute(f"PRAGMA max_page_count = {pages + more}")

    await store._writer.submit(limit)


async def test_full_database_keeps_nothing_of_what_does_not_fit(store: SqliteStore) -> None:
    claimed = await start_claimed(store)
    await limit_pages(store, more=20)

    with pytest.raises(StoreFull):
        await record(
            store, claimed, entries=[make_step(f"large{i}", "x" * 60_000) for i in range(4)]
        )
    with pytest.raises(StoreFull):
        await store.runs.start(make_run(input="x" * 200_000))

    assert [] == list((await store.journal.load(claimed.number)).entries)
    await record(store, claimed, entries=[make_step("small")])


async def test_member_that_does_not_fit_touches_no_neighbour(store: SqliteStore) -> None:
    claims = [await start_claimed(store) for _ in range(10)]
    await limit_pages(store, more=60)

    results = await asyncio.gather(
        *(
            record(store, one, entries=[make_step("s", "x" * (400_000 if i == 5 else 100))])
            for i, one in enumerate(claims)
        ),
        *(store.runs.start(make_run(input="y" * (500_000 if i == 2 else 10))) for i in range(4)),
        return_exceptions=True,
    )

    refused = [i for i, result in enumerate(results) if isinstance(result, StoreFull)]
    assert [5, 12] == refused
    assert not [r for i, r in enumerate(results) if isinstance(r, Exception) and i not in refused]
    for i, one in enumerate(claims):
        assert (0 if i == 5 else 1) == len((await store.journal.load(one.number)).entries)
        assert (0 if i == 5 else 1) == (await store.runs.get(one.run_id)).steps_executed


async def test_what_a_run_hands_in_is_not_carried_out_before_what_has_found_no_room(
    store: SqliteStore,
) -> None:
    """What comes second may rest on what comes first, although it alone would fit."""
    claimed, other = await start_claimed(store), await start_claimed(store)
    await limit_pages(store, more=20)
    large = [make_step(f"large{i}", "x" * 60_000) for i in range(4)]

    first, second, suspension, neighbour = await asyncio.gather(
        record(store, claimed, entries=large),
        record(store, claimed, entries=[make_step("small")]),
        suspend(store, claimed, wait_for_event("a")),
        record(store, other, entries=[make_step("small")]),
        return_exceptions=True,
    )
    kept = [entry.key for entry in (await store.journal.load(claimed.number)).entries]
    await record(store, claimed, entries=[make_step("small")])

    assert [StoreFull] * 3 == [type(first), type(second), type(suspension)]
    assert [] == neighbour
    assert [] == kept
    assert "running" == (await store.runs.get(claimed.run_id)).run.status


async def test_full_database_goes_on_when_there_is_room(store: SqliteStore) -> None:
    claimed = await start_claimed(store)
    await limit_pages(store, more=0)

    async def fill() -> None:
        for i in range(100):
            await record(store, claimed, entries=[make_step(f"s{i}", "x" * 3000)])

    with pytest.raises(StoreFull):
        await fill()
    count = (await store.runs.get(claimed.run_id)).steps_executed

    await limit_pages(store, more=1000)
    await record(store, claimed, entries=[make_step("after")])

    assert count + 1 == len((await store.journal.load(claimed.number)).entries)
    assert await store.check(timeout_s=GUARD_S)


async def test_intake_stops_before_the_disk_is_full(opener: Opener) -> None:
    async with opener() as store:
        claimed = await start_claimed(store)
        waiting, _ = await start_suspended(store, wait_for_event("a"))
    free = shutil.disk_usage("/").total * 1000

    async with opener(free_bytes_min=free) as store:
        with pytest.raises(StoreFull, match="bytes free"):
            await start(store)
        with pytest.raises(StoreFull, match="bytes free"):
            await deliver(store, waiting.run_id, "a")
        await store.runs.record(claimed, Writes(entries=[make_step("s")]), now=T0)
        await suspend(store, claimed, wait_for_event("a"))


async def test_finish_goes_on_while_intake_is_stopped(opener: Opener) -> None:
    async with opener() as store:
        claimed = await start_claimed(store)

    async with opener(free_bytes_min=1 << 62) as store:
        await finish(store, claimed, output="done")

        assert "done" == (await store.runs.get(claimed.run_id)).run.output


@contextmanager
def child(
    folder: Path, fault: str, before: list[str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*(before or []), *CHILD, str(folder), fault], stdout=subprocess.PIPE, text=True
    )
    try:
        with process:
            yield process
    finally:
        if process.poll() is None:
            process.kill()


def read_lines(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stdout is not None
    lines = process.stdout.read().splitlines(keepends=True)
    # A line that was cut off by the death of the process says nothing.
    return [json.loads(line) for line in lines if line.endswith("\n")]


async def check_acknowledged(opener: Opener, told: list[dict[str, Any]]) -> None:
    """Whatever was acknowledged is there, in order and without gaps, and counted."""
    acknowledged = {(line["run"], line["key"]) for line in told if "key" in line}
    async with opener() as store:
        await store.runs.recover(owner="boot-2", now=T0)
        for i in range(8):
            detail = await store.runs.get(f"run-{i}")
            entries = (await store.journal.load(detail.run.number)).entries
            keys = [entry.key for entry in entries]
            assert [f"s#{n}" for n in range(len(keys))] == keys
            assert {key for run, key in acknowledged if run == f"run-{i}"} <= set(keys)
            assert len(keys) == detail.steps_executed
        rows = await store._writer.submit(
            lambda tx: tx._connection.execute("PRAGMA integrity_check").fetchall()
        )
        assert [("ok",)] == rows


async def test_killed_process_loses_nothing_that_was_acknowledged(
    opener: Opener, path: Path, seed: int, is_soak: bool
) -> None:
    chance = random.Random(seed)
    for _ in range(40 if is_soak else 3):
        shutil.rmtree(path.parent, ignore_errors=True)
        with child(path.parent, "none") as process:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline()) for _ in range(chance.randrange(2, 400))]
            os.kill(process.pid, signal.SIGKILL)
            told += read_lines(process)

        await check_acknowledged(opener, told)


async def test_disk_that_fails_breaks_the_store_and_loses_nothing(
    opener: Opener, path: Path
) -> None:
    with child(path.parent, "limit") as process:
        told = read_lines(process)

    errors = {line["error"] for line in told if "error" in line}
    assert {"StoreBroken"} == errors
    assert {"is_broken": True} == told[-1]
    await check_acknowledged(opener, told)


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a small disk: unshare and mount of a tmpfs")
async def test_disk_that_is_full_stops_intake_and_recovers(
    opener: Opener, path: Path, tmp_path: Path
) -> None:
    """On a disk of 3 MB with a ballast of 1 MB, in a namespace of its own, copied at its end."""
    disk = tmp_path / "disk"
    disk.mkdir()
    path.parent.mkdir()
    script = (
        f"mount -t tmpfs -o size=3m none {disk} && head -c 1000000 /dev/zero > {disk}/ballast"
        f' && "$@"; cp {disk}/agency.db* {path.parent}/'
    )
    before = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    with child(disk, "full", before) as process:
        told = read_lines(process)

    assert {"StoreFull"} == {line["error"] for line in told if "error" in line}
    assert {"is_alive": True} in told
    assert {"recovered": True} == told[-1]
    await check_acknowledged(opener, told)


async def test_suspended_run_costs_less_than_a_kilobyte(store: SqliteStore, path: Path) -> None:
    async def count_pages() -> int:
        (pages,) = await store._writer.submit(
            lambda tx: tx._connection.execute("PRAGMA page_count").fetchone()
        )
        return int(pages)

    empty = await count_pages()  # each table and index has one
    for i in range(2000):
        claimed = await start_claimed(store, input=None)
        await suspend(store, claimed, wait_for_event(f"paid#{i}", "paid"))
    await store._writer.submit(lambda tx: None)

    assert (await count_pages() - empty) * 4096 / 2000 < 1024
