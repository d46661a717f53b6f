"""Live updates: five hundred watch one run, and the engine works on beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench.contender import ROOT, Laboratory
from bench.daemon import GUARD_S, Daemon
from bench.report import Outcome, Table, Target

WATCHERS = 500
RATE = 100
"""Updates per second of the run that is watched."""
RUNS = 64
STEPS = 200
SIZE = 1024
DRUM_S = 12.0
"""How long the watched run goes on; longer than the work beside it takes."""


def measure(laboratory: Laboratory) -> Outcome:
    """Measure the engine's rate alone, beside the watched run, and beside those who watch it."""
    place = laboratory.places[0]
    rounds = 1 if laboratory.is_quick else 3
    beats = int(RATE * (DRUM_S / 2 if laboratory.is_quick else DRUM_S))
    unwatched, watched, told = [], [], []
    with Daemon(place.folder / "updates") as daemon:
        daemon.start()
        _rate(daemon)
        for _ in range(rounds):
            drum = _start(daemon, beats)
            unwatched.append(_rate(daemon))
            daemon.complete(drum)
            drum = _start(daemon, beats)
            used_s = daemon.processor_s()
            with _watching(daemon, drum) as watchers:
                watched.append(_rate(daemon))
                run = daemon.complete(drum)
                told.append(watchers())
            told[-1]["elapsed_s"] = Daemon.elapsed_s(run)
            told[-1]["daemon_s"] = daemon.processor_s() - used_s
    ratios = sorted(beside / alone for alone, beside in zip(unwatched, watched, strict=True))
    missed = sum(_missed(one, beats) for one in told)
    outcome = Outcome(name="updates")
    outcome.tables.append(
        Table(
            title=f"{WATCHERS} watchers of one run with {RATE} updates/s beside {RUNS} runs of "
            f"{STEPS} steps · {place.title} · {rounds} rounds in turns",
            columns=("", "steps/s"),
            rows=[
                ["nobody watches", ", ".join(f"{rate:.0f}" for rate in unwatched)],
                [f"{WATCHERS} watch", ", ".join(f"{rate:.0f}" for rate in watched)],
            ],
        )
    )
    rates = [beats / one["elapsed_s"] for one in told]
    outcome.notes.append(
        f"the watched run made {min(rates):.0f} to {max(rates):.0f} updates/s, in each round "
        f"{beats + 3} frames to each watcher; the watchers' own processor time was "
        f"{max(one['processor_s'] for one in told):.1f} s a round"
    )
    outcome.targets += [
        Target(name=f"watchers of {WATCHERS} that missed an update", limit=0, attained=missed),
        Target(
            name="share of the engine's rate",
            limit=0.8,
            attained=ratios[len(ratios) // 2],
            is_floor=True,
            note="the watchers are another process on the same machine",
        ),
    ]
    return outcome


def _start(daemon: Daemon, beats: int) -> str:
    return daemon.start_run("bench-drum", {"beats": beats, "pause_s": 1 / RATE})


def _rate(daemon: Daemon) -> float:
    """Do 64 runs at once in the daemon; steps per second by the daemon's own clock."""
    value = {"runs": RUNS, "work": {"steps": STEPS, "size": SIZE}}
    run = daemon.complete(daemon.start_run("bench-fan", value))
    return RUNS * STEPS / Daemon.elapsed_s(run)


def _missed(told: Mapping[str, Any], beats: int) -> int:
    """Count the watchers that did not get each step, and the three changes of status, once."""
    if not told["is_rising"]:
        return WATCHERS
    return sum(count != beats + 3 for count in told["updates"])


@contextmanager
def _watching(daemon: Daemon, run_id: str) -> Iterator[Any]:
    """Let all watch from the run's first update on; gives what they tell at its end."""
    url = f"{daemon.url}/api/v1/runs/{run_id}/updates?after=0"
    with subprocess.Popen(
        [sys.executable, "-m", "bench.watchers", url, str(WATCHERS)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        out = child.stdout
        assert out.readline() == "ready\n"
        try:
            yield lambda: json.loads(out.readline())
        finally:
            child.kill()
            child.wait(timeout=GUARD_S)
