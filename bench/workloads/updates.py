"""Live updates: five hundred watch one run, and the engine works on beside them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Work:
    """What 64 runs took, by the daemon's own clock, and its processor time."""

    elapsed_s: float
    processor_s: float


def measure(laboratory: Laboratory) -> Outcome:
    """Measure the engine's rate alone, beside the watched run, and beside those who watch it."""
    place = laboratory.places[0]
    rounds = 1 if laboratory.is_quick else 3
    beats = int(RATE * (DRUM_S / 2 if laboratory.is_quick else DRUM_S))
    alone: list[_Work] = []
    watched: list[_Work] = []
    told: list[dict[str, Any]] = []
    with Daemon(place.folder / "updates") as daemon:
        daemon.start()
        _work(daemon)
        for _ in range(rounds):
            drum = _start(daemon, beats)
            alone.append(_work(daemon))
            daemon.complete(drum)
            drum = _start(daemon, beats)
            with _watching(daemon, drum) as watchers:
                watched.append(_work(daemon))
                run = daemon.complete(drum)
                told.append(watchers())
            told[-1]["elapsed_s"] = Daemon.elapsed_s(run)
    outcome = Outcome(name="updates")
    outcome.tables.append(
        Table(
            title=f"{RUNS} runs of {STEPS} steps beside one with {RATE} updates/s · "
            f"{place.title} · {rounds} rounds in turns",
            columns=("", "steps/s", "range", "µs CPU of the daemon/step"),
            rows=[_row("nobody watches", alone), _row(f"{WATCHERS} watch it", watched)],
        )
    )
    rates = [beats / one["elapsed_s"] for one in told]
    outcome.notes.append(
        f"the watched run made {min(rates):.0f} to {max(rates):.0f} updates/s, in each round "
        f"{beats + 3} frames to each watcher; the watchers' own processor time was "
        f"{max(one['processor_s'] for one in told):.1f} s a round"
    )
    outcome.targets += [
        Target(
            name=f"watchers of {WATCHERS} that missed an update",
            limit=0,
            attained=sum(_missed(one, beats) for one in told),
        ),
        Target(
            name="share of the engine's rate, by the clock",
            limit=0.8,
            attained=statistics.median(
                _rate(beside) / _rate(one) for beside, one in zip(watched, alone, strict=True)
            ),
            is_floor=True,
            note="with what the watchers themselves take from this machine",
        ),
        Target(
            name="share of the engine's rate, by the daemon's processor time",
            limit=0.8,
            attained=_median(alone, _per_step) / _median(watched, _per_step),
            is_floor=True,
            note="the watchers take a processor of their own; where there is none left for them, "
            "rates sink by what they take",
        ),
    ]
    return outcome


def _start(daemon: Daemon, beats: int) -> str:
    return daemon.start_run("bench-drum", {"beats": beats, "pause_s": 1 / RATE})


def _work(daemon: Daemon) -> _Work:
    """Do 64 runs at once in the daemon."""
    value = {"runs": RUNS, "work": {"steps": STEPS, "size": SIZE}}
    used_s = daemon.processor_s()
    run = daemon.complete(daemon.start_run("bench-fan", value))
    return _Work(Daemon.elapsed_s(run), daemon.processor_s() - used_s)


def _per_step(work: _Work) -> float:
    return work.processor_s / (RUNS * STEPS)


def _rate(work: _Work) -> float:
    return RUNS * STEPS / work.elapsed_s


def _median(works: Sequence[_Work], value: Callable[[_Work], float]) -> float:
    return statistics.median(map(value, works))


def _row(name: str, works: Sequence[_Work]) -> list[str]:
    rates = [_rate(work) for work in works]
    return [
        name,
        f"{statistics.median(rates):.0f}",
        f"{min(rates):.0f} to {max(rates):.0f}",
        f"{_median(works, _per_step) * 1e6:.0f}",
    ]


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
