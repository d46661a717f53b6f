"""The daemon as a server and a process: reads, start, idleness, the command line."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.bare_server import served
from bench.contender import ROOT, Laboratory
from bench.daemon import Daemon
from bench.load import CONNECTIONS, generator, requests_per_s
from bench.report import Outcome, Table, Target

IDLE_S = 12.0
"""Longer than two of the longest intervals at which an idle daemon may wake."""


def measure(laboratory: Laboratory) -> Outcome:
    """Measure the daemon; on the RAM disk where there is one, because nothing here syncs."""
    outcome = Outcome(name="http")
    place = laboratory.places[0]
    is_quick = laboratory.is_quick
    with Daemon(place.folder / "http") as daemon:
        starts_s = [daemon.start()]
        for _ in range(1 if is_quick else 4):
            daemon.kill()
            starts_s.append(daemon.start())
        idle = _idle(daemon, 2.0 if is_quick else IDLE_S)
        version_s = _commands_s(["--version"], daemon, 3 if is_quick else 9)
        status_s = _commands_s(["status"], daemon, 3 if is_quick else 9)
        run = daemon.complete(daemon.start_run("bench-steps", {"steps": 10, "size": 1024}))
        url = f"{daemon.url}/api/v1/runs/{run['id']}"
        body = _read(url)
        rounds = 1 if is_quick else 5
        ours, bare = [], []
        with served(body) as bare_url:
            for _ in range(rounds):
                ours.append(requests_per_s(url, seconds=1 if is_quick else 3))
                bare.append(requests_per_s(bare_url, seconds=1 if is_quick else 3))
        loaded = daemon.resident_bytes()
    wake_ups, processor, resident = idle
    outcome.tables += [
        Table(
            title=f"GET /api/v1/runs/{{id}}, {len(body)} bytes, {CONNECTIONS} connections, "
            f"{generator()}, {rounds} rounds in turns",
            columns=("", "requests/s", "range"),
            rows=[_row("agency", ours), _row("bare aiohttp handler, same bytes", bare)],
        ),
        Table(
            title="the process",
            columns=("", ""),
            rows=[
                ["start to ready, first with a new database", _seconds(starts_s)],
                ["agency --version", _seconds(version_s)],
                ["agency status", _seconds(status_s)],
                ["idle: wake-ups per 5 s, all threads", f"{wake_ups:.1f}"],
                ["idle: processor time", f"{processor * 100:.2f} %"],
                ["idle: resident", f"{resident / 1e6:.1f} MB"],
                ["resident after the load", f"{loaded / 1e6:.1f} MB"],
            ],
        ),
    ]
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    outcome.targets += [
        Target(name="share of a bare aiohttp handler", limit=0.4, attained=ratio, is_floor=True),
        Target(name="start to ready", limit=0.5, attained=statistics.median(starts_s), unit="s"),
        Target(name="agency --version", limit=0.1, attained=statistics.median(version_s), unit="s"),
        Target(name="agency status", limit=0.25, attained=statistics.median(status_s), unit="s"),
        Target(name="idle, resident", limit=80, attained=resident / 1e6, unit="MB"),
        Target(name="idle, wake-ups per 5 s", limit=1, attained=wake_ups),
    ]
    return outcome


def _idle(daemon: Daemon, seconds: float) -> tuple[float, float, int]:
    """Leave the daemon alone; give wake-ups per 5 s, share of a processor, resident bytes."""
    time.sleep(1.5)  # until the writer has copied its log
    before, used_s = daemon.wake_ups(), daemon.processor_s()
    time.sleep(seconds)
    wake_ups = (daemon.wake_ups() - before) * 5 / seconds
    return wake_ups, (daemon.processor_s() - used_s) / seconds, daemon.resident_bytes()


def _commands_s(arguments: Sequence[str], daemon: Daemon, times: int) -> list[float]:
    """Time the installed command, processes and all."""
    command = [str(Path(sys.executable).with_name("agency")), *arguments]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(daemon.folder), "AGENCY_URL": daemon.url}
    taken_s = []
    for _ in range(times):
        started_s = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=True)
        taken_s.append(time.perf_counter() - started_s)
    return taken_s


def _read(url: str) -> bytes:
    authority, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(authority)
    connection.request("GET", f"/{path}")
    body = connection.getresponse().read()
    connection.close()
    return body


def _row(name: str, rates: Sequence[float]) -> list[str]:
    return [name, f"{statistics.median(rates):.0f}", f"{min(rates):.0f} to {max(rates):.0f}"]


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})"
