"""A million suspended runs: what they cost at a start, on the disk, and when one is woken."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.contender import Contender, Laboratory
from bench.daemon import Daemon
from bench.keep_alive import KeepAlive
from bench.places import Place
from bench.report import Outcome, Table, Target

RUNS, RUNS_QUICK = 1_000_000, 50_000
REAL, REAL_QUICK = 10_000, 1_000
"""So many are suspended by the engine; the others are copied from these, row by row."""
WOKEN, WOKEN_QUICK = 300, 50
STARTS = 3


def measure(laboratory: Laboratory) -> Outcome:
    """Fill a database, start the daemon on it, send events; all of it on each disk."""
    outcome = Outcome(name="million")
    for place in laboratory.places:
        _measure(laboratory, place, outcome)
    outcome.notes.append(
        "half of the runs wait for an event, half for a timer a year away; "
        f"{REAL:,} were suspended by the engine and copied with all their rows"
    )
    return outcome


def _measure(laboratory: Laboratory, place: Place, outcome: Outcome) -> None:
    is_quick = laboratory.is_quick
    runs, real = (RUNS_QUICK, REAL_QUICK) if is_quick else (RUNS, REAL)
    with Daemon(place.folder / "million") as daemon:
        filled = _fill(laboratory, place, daemon.folder / "data", runs, real)
        if filled is None:
            return
        stamps = [place.stamp()]
        starts_s = []
        for _ in range(STARTS):
            starts_s.append(daemon.start())
            resident = daemon.resident_bytes()
            if len(starts_s) < STARTS:
                daemon.kill()
        assert daemon.count("suspended") == runs
        woken = filled["ids"][: WOKEN_QUICK if is_quick else WOKEN]
        first_s, answered_s = asyncio.run(_wake(daemon, woken))
        after = daemon.resident_bytes()
        stamps.append(place.stamp())
    each = filled["bytes"] / runs
    ready_s = statistics.median(starts_s)
    middle_s = statistics.median(answered_s)
    outcome.tables.append(
        Table(
            title=f"{runs:,} suspended runs, the daemon · {place.title} · WAL, FULL · fdatasync "
            f"of 4 KiB {stamps[0]:.3f} ms before, {stamps[1]:.3f} ms after",
            columns=("", ""),
            rows=[
                ["start to ready", f"{ready_s:.3f} s ({_range(starts_s)})"],
                ["resident when ready", f"{resident / 1e6:.1f} MB"],
                ["resident after the events", f"{after / 1e6:.1f} MB"],
                ["database, per run, of all", f"{each:.0f} bytes"],
                ["database, per run, of the real ones", f"{filled['real_bytes'] / real:.0f} bytes"],
                [
                    f"event sent to run completed, over HTTP, {len(answered_s)} of them",
                    f"p50 {middle_s * 1000:.2f} ms ({_range(answered_s, 1000)}), "
                    f"the first {first_s * 1000:.2f} ms",
                ],
            ],
        )
    )
    outcome.targets += [
        Target(name=f"start to ready, {place.name}", limit=1, attained=ready_s, unit="s"),
        Target(name=f"resident, {place.name}", limit=120, attained=after / 1e6, unit="MB"),
        Target(
            name=f"event sent to run completed, median, {place.name}",
            limit=10,
            attained=middle_s * 1000,
            unit="ms",
        ),
        Target(
            name=f"database per run, {place.name}",
            limit=1024,
            attained=each,
            unit="bytes",
            note="without input, output and payload, which are empty",
        ),
    ]


def _fill(
    laboratory: Laboratory, place: Place, folder: Path, runs: int, real: int
) -> dict[str, Any] | None:
    folder.mkdir()
    filler = Contender(
        name="million suspended runs",
        target="bench.contenders.suspended_ours:fill",
        setting="WAL, FULL",
        steps=runs,
        arguments={"folder": str(folder), "runs": runs, "real": real},
    )
    answer = laboratory.run(place, filler)
    return None if answer is None else dict(answer)


async def _wake(daemon: Daemon, ids: Sequence[str]) -> tuple[float, list[float]]:
    """Send an event to each, one by one; the first finds everything cold, and is apart."""
    taken_s = []
    async with KeepAlive(daemon.url, 1) as client:
        for run_id in ids:
            started_s = time.perf_counter()
            path = f"/api/v1/runs/{run_id}"
            await client.ask("POST", f"{path}/events", {"name": "go", "payload": "now"})
            run = await client.ask("GET", path, Prefer="wait=10")
            taken_s.append(time.perf_counter() - started_s)
            assert run["status"] == "completed", run
    return taken_s[0], taken_s[1:]


def _range(values: Sequence[float], factor: float = 1) -> str:
    return f"{min(values) * factor:.3g} to {max(values) * factor:.3g}"
