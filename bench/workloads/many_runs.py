"""Many runs at once: their steps share commits, and must not starve beside other work."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contender import Contender, Laboratory, Sample, median_of, median_ratio, of
from bench.daemon import Daemon
from bench.load import flood
from bench.places import Place
from bench.report import Outcome, Target, steps_table

SIZE = 1024
RUNS = 64
STEPS = 200
PEER_STEPS = 20
"""Steps of each run of a peer: fewer, so that the whole stays short."""
SPIN_S = 0.002
FLOOD_S = 20.0
"""Longest time that a flood goes on; it ends when the runs have."""
OURS, SPUN, FLOOR = "agency", "agency beside a spin of 2 ms", "floor"
PEERS = ("dbos", "dbos, WAL forced", "langgraph")


def contenders(steps: int, peer_steps: int) -> list[Contender]:
    """List who takes part."""
    mine = {"runs": RUNS, "steps": steps, "size": SIZE}
    theirs = {"runs": RUNS, "steps": peer_steps, "size": SIZE}
    return [
        Contender(
            name=OURS,
            target="bench.contenders.ours:work",
            setting="WAL, FULL",
            steps=RUNS * steps,
            arguments=mine,
        ),
        Contender(
            name=SPUN,
            target="bench.contenders.ours:work",
            setting="WAL, FULL",
            steps=RUNS * steps,
            arguments={**mine, "spin_s": SPIN_S},
        ),
        Contender(
            name=FLOOR,
            target="bench.contenders.floor:group",
            setting="WAL, FULL",
            steps=RUNS * steps,
            arguments=mine,
        ),
        Contender(
            name=PEERS[0],
            target="bench.contenders.dbos_peer:work",
            setting="rollback journal, FULL",
            steps=RUNS * peer_steps,
            arguments={**theirs, "is_wal": False},
            is_peer=True,
            module="dbos",
        ),
        Contender(
            name=PEERS[1],
            target="bench.contenders.dbos_peer:work",
            setting="WAL, FULL",
            steps=RUNS * peer_steps,
            arguments={**theirs, "is_wal": True},
            is_peer=True,
            module="dbos",
        ),
        Contender(
            name=PEERS[2],
            target="bench.contenders.langgraph_peer:work",
            setting="WAL, FULL, sync",
            steps=RUNS * peer_steps,
            arguments=theirs,
            is_peer=True,
            module="langgraph",
        ),
    ]


def measure(laboratory: Laboratory) -> Outcome:
    """Compare with the floor and the peers; then the daemon itself under a flood of reads."""
    outcome = Outcome(name="many-runs")
    peer_steps = 5 if laboratory.is_quick else PEER_STEPS
    taking_part = contenders(STEPS, peer_steps)
    for place in laboratory.places:
        rounds = 2 if laboratory.is_quick else 5
        if place.name == "disk" and not laboratory.is_quick:
            rounds = 3
        samples = laboratory.rounds(place, taking_part, rounds=rounds)
        outcome.samples += samples
        title = f"{RUNS} runs at once, {SIZE} bytes each step"
        outcome.tables.append(steps_table(title, place, taking_part, samples))
        outcome.targets += _targets(place, samples)
    outcome.targets.append(_flooded(laboratory))
    return outcome


def _targets(place: Place, samples: Sequence[Sample]) -> list[Target]:
    mine, spun = of(samples, OURS), of(samples, SPUN)
    processor_s = median_of(mine, lambda sample: sample.per_step("processor_s"))
    targets = [
        Target(
            name=f"syncs per step, {place.name}",
            limit=0.05,
            attained=median_of(mine, lambda sample: sample.per_step("syncs")),
        ),
        Target(
            name=f"processor time per step, {place.name}",
            limit=45,
            attained=None if processor_s is None else processor_s * 1e6,
            unit="µs",
        ),
        Target(
            name=f"bytes written per step, {place.name}",
            limit=6 * 1024,
            attained=median_of(mine, lambda sample: sample.per_step("written_bytes")),
        ),
    ]
    if place.name != "ram":
        return targets
    ratios = [
        (found[0], peer, found[1])
        for peer in PEERS
        if (found := median_ratio(samples, OURS, peer)) is not None
    ]
    better = min(ratios, default=None)
    return [
        *targets,
        Target(
            name="times the better peer, ram",
            limit=15,
            attained=better[0] if better else None,
            is_floor=True,
            note=f"{better[1]}, {better[2]} pairs" if better else "",
        ),
        Target(
            name="beside a coroutine that spins 2 ms, ram",
            limit=5000,
            attained=median_of(spun, lambda sample: sample.rate),
            unit="steps/s",
            is_floor=True,
        ),
    ]


def _flooded(laboratory: Laboratory) -> Target:
    """Measure the daemon's rate of steps while 64 connections read a run as fast as they can."""
    place = laboratory.places[0]
    rounds = 1 if laboratory.is_quick else 3
    ratios = []
    with Daemon(place.folder / "flooded") as daemon:
        daemon.start()
        read = daemon.complete(daemon.start_run("bench-steps", {"steps": 1, "size": SIZE}))
        for _ in range(rounds):
            idle = _rate(daemon)
            with flood(f"{daemon.url}/api/v1/runs/{read['id']}", seconds=FLOOD_S):
                beside = _rate(daemon)
            ratios.append(beside / idle)
    ratios.sort()
    return Target(
        name="beside a flood of HTTP reads, share of the idle rate",
        limit=1 / 3,
        attained=ratios[len(ratios) // 2],
        is_floor=True,
        note=f"the daemon, 64 runs as children of one, 64 connections that read, {place.name}",
    )


def _rate(daemon: Daemon) -> float:
    """Do 64 runs at once in the daemon; steps per second by the daemon's own clock."""
    value = {"runs": RUNS, "work": {"steps": STEPS, "size": SIZE}}
    run = daemon.complete(daemon.start_run("bench-fan", value))
    return RUNS * STEPS / Daemon.elapsed_s(run)
