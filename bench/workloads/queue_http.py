"""Runs put into a held queue over HTTP: one by one, and a thousand in a request."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence

from bench.bare_server import served
from bench.contender import Laboratory
from bench.daemon import Daemon
from bench.keep_alive import KeepAlive
from bench.load import generator, posts_per_s
from bench.places import Place
from bench.report import Outcome, Table, Target

CONNECTIONS = 32
BULK = 1_000
BULKS, BULKS_QUICK = 20, 4
BARE = "bare aiohttp handler that commits one row"
ALONE, BESIDE, MANY = (
    "one by one, 1 connection",
    f"one by one, {CONNECTIONS} connections",
    f"{BULK:,} in a request, 1 connection",
)
_START = {"workflow": "bench-noop"}


def measure(laboratory: Laboratory) -> Outcome:
    """Measure the daemon and the yardstick in turns, on each disk."""
    outcome = Outcome(name="queue-http")
    for place in laboratory.places:
        _measure(laboratory, place, outcome)
    return outcome


def _measure(laboratory: Laboratory, place: Place, outcome: Outcome) -> None:
    is_quick = laboratory.is_quick
    seconds, rounds = (1.0, 1) if is_quick else (3.0, 5)
    rates: dict[str, list[float]] = {name: [] for name in (BARE, BESIDE, ALONE, MANY)}
    stamps = [place.stamp()]
    with Daemon(place.folder / "queue-http") as daemon:
        daemon.start()
        status, _ = daemon.ask("POST", "/api/v1/queues/default/pause")
        assert status == 200, status
        status, answer = daemon.ask("POST", "/api/v1/runs", _START)
        assert status == 202, answer
        body, url = json.dumps(_START), f"{daemon.url}/api/v1/runs"
        with served(json.dumps(answer).encode(), daemon.folder / "bare.db") as bare_url:
            for _ in range(rounds):
                for name, one, connections in (
                    (BARE, bare_url, CONNECTIONS),
                    (BESIDE, url, CONNECTIONS),
                    (ALONE, url, 1),
                ):
                    found = posts_per_s(one, body, seconds=seconds, connections=connections)
                    rates[name].append(found)
                rates[MANY].append(_in_bulk(daemon, BULKS_QUICK if is_quick else BULKS))
    stamps.append(place.stamp())
    outcome.tables.append(
        Table(
            title=f"runs put into a held queue over HTTP · {place.title} · WAL, FULL · fdatasync "
            f"of 4 KiB {stamps[0]:.3f} ms before, {stamps[1]:.3f} ms after · {generator()} · "
            f"{rounds} rounds in turns",
            columns=("", "runs/s", "range"),
            rows=[
                [name, f"{statistics.median(found):.0f}", f"{min(found):.0f} to {max(found):.0f}"]
                for name, found in rates.items()
            ],
        )
    )
    outcome.targets += [
        Target(
            name=f"share of a {BARE}, {CONNECTIONS} connections, {place.name}",
            limit=0.6,
            attained=_ratio(rates[BESIDE], rates[BARE]),
            is_floor=True,
        ),
        Target(
            name=f"in bulk, times one by one over as many connections, {place.name}",
            limit=10,
            attained=_ratio(rates[MANY], rates[ALONE]),
            is_floor=True,
            note=f"times one by one over {CONNECTIONS} connections: "
            f"{_ratio(rates[MANY], rates[BESIDE]):.2g}",
        ),
    ]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(ours, others, strict=True))


def _in_bulk(daemon: Daemon, times: int) -> float:
    """Post so many requests of a thousand runs; runs per second."""
    return asyncio.run(_post_bulks(daemon, times))


async def _post_bulks(daemon: Daemon, times: int) -> float:
    document = {"runs": [_START] * BULK}
    async with KeepAlive(daemon.url, 1) as client:
        started_s = time.perf_counter()
        for _ in range(times):
            answer = await client.ask("POST", "/api/v1/runs/bulk", document)
            assert {run["status"] for run in answer["runs"]} == {202}
        return times * BULK / (time.perf_counter() - started_s)
