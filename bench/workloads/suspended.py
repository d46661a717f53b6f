"""Ten thousand suspended runs: what they cost at a start, and how fast they are woken."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench.contender import Contender, Laboratory, Sample
from bench.daemon import GUARD_S, Daemon
from bench.keep_alive import KeepAlive
from bench.places import Place
from bench.report import Outcome, Table, Target

RUNS = 10_000
WOKEN = 1_000
ONE_BY_ONE = 500
CONNECTIONS = 64


def measure(laboratory: Laboratory) -> Outcome:
    """Suspend, kill, start, wake: the real daemon over HTTP, and the engine in process."""
    outcome = Outcome(name="suspended")
    runs = 2_000 if laboratory.is_quick else RUNS
    woken = 200 if laboratory.is_quick else WOKEN
    one_by_one = 100 if laboratory.is_quick else ONE_BY_ONE
    disk = laboratory.places[-1]
    stamps = [disk.stamp()]
    with Daemon(disk.folder / "suspended") as daemon:
        daemon.start()
        ids = asyncio.run(_suspend(daemon, runs))
        daemon.kill()
        ready_s = daemon.start()
        resident = daemon.resident_bytes()
        burst_s = asyncio.run(_wake_at_once(daemon, ids[:woken]))
        answered_s = asyncio.run(_wake_one_by_one(daemon, ids[woken : woken + one_by_one]))
        after = daemon.resident_bytes()
    stamps.append(disk.stamp())
    rows = [
        ["ready after kill -9, server up", f"{ready_s:.3f} s"],
        ["resident when ready", f"{resident / 1e6:.1f} MB"],
        ["resident after all that", f"{after / 1e6:.1f} MB"],
        [f"{woken} woken at once by POST …/events, all completed", f"{burst_s:.3f} s"],
        ["one by one, HTTP, sent to completed", _percentiles(answered_s)],
    ]
    outcome.tables.append(
        Table(
            title=f"{runs} suspended runs, the daemon · {disk.title} · WAL, FULL · fdatasync of "
            f"4 KiB {stamps[0]:.3f} ms before, {stamps[1]:.3f} ms after",
            columns=("", ""),
            rows=rows,
        )
    )
    outcome.targets += [
        Target(name=f"ready with {runs} suspended runs", limit=0.5, attained=ready_s, unit="s"),
        Target(name="resident", limit=90, attained=resident / 1e6, unit="MB"),
        Target(name=f"{woken} woken at once", limit=2, attained=burst_s, unit="s"),
    ]
    ram = laboratory.place("ram")
    if ram is not None:
        _measure_one_by_one(laboratory, ram, outcome, one_by_one)
    return outcome


def _measure_one_by_one(laboratory: Laboratory, ram: Place, outcome: Outcome, runs: int) -> None:
    contender = Contender(
        name="agency",
        target="bench.contenders.ours:wake",
        setting="WAL, FULL",
        steps=runs,
        arguments={"runs": runs},
    )
    samples: Sequence[Sample] = laboratory.rounds(ram, [contender], rounds=1)
    outcome.samples += samples
    taken_s = [value for sample in samples for value in sample.answer["taken_s"]]
    with Daemon(ram.folder / "suspended") as daemon:
        daemon.start()
        ids = asyncio.run(_suspend(daemon, runs))
        # What was just suspended still lingers; after a restart each is replayed from its journal.
        daemon.kill()
        daemon.start()
        over_http_s = asyncio.run(_wake_one_by_one(daemon, ids))
    outcome.tables.append(
        Table(
            title=f"{runs} runs woken one by one, from event sent to completed · {ram.title}",
            columns=("", ""),
            rows=[
                ["in process", _percentiles(taken_s)],
                ["over HTTP: POST, then GET with Prefer: wait", _percentiles(over_http_s)],
            ],
        )
    )
    for name, found_s in (("in process", taken_s), ("over HTTP", over_http_s)):
        outcome.targets.append(
            Target(
                name=f"one by one, p99, {name}",
                limit=5,
                attained=_p99(found_s) * 1000 if found_s else None,
                unit="ms",
                is_floor=False,
                note="RAM disk",
            )
        )


async def _suspend(daemon: Daemon, runs: int) -> list[str]:
    """Start runs that wait for an event, and return their ids once all are suspended."""
    async with KeepAlive(daemon.url, CONNECTIONS) as client:

        async def start(_: int) -> str:
            answer = await client.ask("POST", "/api/v1/runs", {"workflow": "bench-wait"})
            return str(answer["id"])

        ids = await client.each(start, range(runs))
    await _until(daemon, "suspended", runs)
    return ids


async def _wake_at_once(daemon: Daemon, ids: Sequence[str]) -> float:
    before = daemon.count("completed")
    started_s = time.perf_counter()
    async with KeepAlive(daemon.url, CONNECTIONS) as client:

        async def send(run_id: str) -> Any:
            event = {"name": "go", "payload": "now"}
            return await client.ask("POST", f"/api/v1/runs/{run_id}/events", event)

        await client.each(send, ids)
    await _until(daemon, "completed", before + len(ids))
    return time.perf_counter() - started_s


async def _wake_one_by_one(daemon: Daemon, ids: Sequence[str]) -> list[float]:
    taken_s = []
    async with KeepAlive(daemon.url, 1) as client:
        for run_id in ids:
            started_s = time.perf_counter()
            path = f"/api/v1/runs/{run_id}"
            await client.ask("POST", f"{path}/events", {"name": "go", "payload": "now"})
            run = await client.ask("GET", path, Prefer="wait=10")
            taken_s.append(time.perf_counter() - started_s)
            assert run["status"] == "completed", run
    return taken_s


async def _until(daemon: Daemon, status: str, runs: int) -> None:
    async with asyncio.timeout(GUARD_S):
        while daemon.count(status) < runs:
            await asyncio.sleep(0.01)


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def _percentiles(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "-"
    middle = statistics.median(values)
    return (
        f"p50 {middle * 1000:.2f} ms, p99 {_p99(values) * 1000:.2f} ms, "
        f"longest {max(values) * 1000:.2f} ms"
    )
