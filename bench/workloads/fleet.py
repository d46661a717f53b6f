"""A thousand short workflows, a hundred at a time, beside other engines."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contender import Contender, Laboratory, Sample, median_of, median_ratio, of
from bench.places import Place
from bench.report import Outcome, Target, steps_table

RUNS, RUNS_QUICK = 1_000, 300
PEER_RUNS, PEER_RUNS_QUICK = 300, 100
"""Runs of a peer: fewer, so that the whole stays short; more than are under way at once."""
AT_ONCE = 100
STEPS = 10
SIZE = 1024
OURS = "agency"
PEERS = ("dbos", "dbos, WAL forced", "langgraph")


def contenders(runs: int, peer_runs: int) -> list[Contender]:
    """List who takes part."""
    mine = {"runs": runs, "steps": STEPS, "size": SIZE, "at_once": AT_ONCE}
    theirs = {**mine, "runs": peer_runs}
    steps = peer_runs * STEPS
    dbos, langgraph = "bench.contenders.dbos_peer:work", "bench.contenders.langgraph_peer:work"
    return [
        Contender(
            name=OURS,
            target="bench.contenders.ours:work",
            setting="WAL, FULL",
            steps=runs * STEPS,
            arguments=mine,
        ),
        Contender(
            name=PEERS[0],
            target=dbos,
            setting="rollback journal, FULL",
            steps=steps,
            arguments={**theirs, "is_wal": False},
            is_peer=True,
            module="dbos",
        ),
        Contender(
            name=PEERS[1],
            target=dbos,
            setting="WAL, FULL",
            steps=steps,
            arguments={**theirs, "is_wal": True},
            is_peer=True,
            module="dbos",
        ),
        Contender(
            name=PEERS[2],
            target=langgraph,
            setting="WAL, FULL, sync",
            steps=steps,
            arguments=theirs,
            is_peer=True,
            module="langgraph",
        ),
    ]


def measure(laboratory: Laboratory) -> Outcome:
    """Measure all on each disk."""
    outcome = Outcome(name="fleet")
    is_quick = laboratory.is_quick
    taking_part = contenders(
        RUNS_QUICK if is_quick else RUNS, PEER_RUNS_QUICK if is_quick else PEER_RUNS
    )
    for place in laboratory.places:
        rounds = 1 if is_quick else 5 if place.name == "ram" else 3
        samples = laboratory.rounds(place, taking_part, rounds=rounds)
        outcome.samples += samples
        title = f"runs of {STEPS} steps, {AT_ONCE} at once, {SIZE} bytes each step"
        outcome.tables.append(steps_table(title, place, taking_part, samples))
        outcome.targets += _targets(place, samples)
    return outcome


def _targets(place: Place, samples: Sequence[Sample]) -> list[Target]:
    targets = [
        Target(
            name=f"syncs per step, {place.name}",
            limit=0.05,
            attained=median_of(of(samples, OURS), lambda sample: sample.per_step("syncs")),
            note="start and end of each run included",
        )
    ]
    if place.name != "ram":
        return targets
    ratios = [
        (found[0], peer, found[1])
        for peer in PEERS
        if (found := median_ratio(samples, OURS, peer)) is not None
    ]
    better = min(ratios, default=None)
    targets.append(
        Target(
            name="times the better peer, ram",
            limit=15,
            attained=better[0] if better else None,
            is_floor=True,
            note=f"{better[1]}, {better[2]} pairs" if better else "",
        )
    )
    return targets
