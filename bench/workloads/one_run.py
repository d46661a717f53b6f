"""One run of many steps, one after another: each step waits for its own commit."""

from __future__ import annotations

from bench.contender import Contender, Laboratory, median_of, median_ratio, of
from bench.report import Outcome, Target, steps_table

SIZE = 1024
STEPS = 1000
PEER_STEPS = 300
"""Peers do fewer steps, so that the whole stays short; rates and counts are per step."""
OURS, FLOOR, BARE = "agency", "floor", "bare loop"
PEERS = ("dbos", "dbos, WAL forced", "langgraph")


def contenders(steps: int, peer_steps: int) -> list[Contender]:
    """List who takes part."""
    mine = {"steps": steps, "size": SIZE}
    theirs = {"runs": 1, "steps": peer_steps, "size": SIZE}
    return [
        Contender(
            name=OURS,
            target="bench.contenders.ours:work",
            setting="WAL, FULL",
            steps=steps,
            arguments={"runs": 1, **mine},
        ),
        Contender(
            name=BARE,
            target="bench.contenders.floor:bare",
            setting="WAL, FULL",
            steps=steps,
            arguments=mine,
        ),
        Contender(
            name=FLOOR,
            target="bench.contenders.floor:group",
            setting="WAL, FULL",
            steps=steps,
            arguments={"runs": 1, **mine},
        ),
        Contender(
            name=PEERS[0],
            target="bench.contenders.dbos_peer:work",
            setting="rollback journal, FULL",
            steps=peer_steps,
            arguments={**theirs, "is_wal": False},
            is_peer=True,
            module="dbos",
        ),
        Contender(
            name=PEERS[1],
            target="bench.contenders.dbos_peer:work",
            setting="WAL, FULL",
            steps=peer_steps,
            arguments={**theirs, "is_wal": True},
            is_peer=True,
            module="dbos",
        ),
        Contender(
            name=PEERS[2],
            target="bench.contenders.langgraph_peer:work",
            setting="WAL, FULL, sync",
            steps=peer_steps,
            arguments=theirs,
            is_peer=True,
            module="langgraph",
        ),
    ]


def measure(laboratory: Laboratory) -> Outcome:
    """Compare the engine with the bare loop, the floor and the peers, on each disk."""
    outcome = Outcome(name="one-run")
    steps, peer_steps = (300, 100) if laboratory.is_quick else (STEPS, PEER_STEPS)
    taking_part = contenders(steps, peer_steps)
    for place in laboratory.places:
        rounds = 3 if laboratory.is_quick else 7
        samples = laboratory.rounds(place, taking_part, rounds=rounds)
        outcome.samples += samples
        title = f"one run, steps one after another, {SIZE} bytes each"
        outcome.tables.append(steps_table(title, place, taking_part, samples))
        syncs = median_of(of(samples, OURS), lambda sample: sample.per_step("syncs"))
        name = f"syncs per step, {place.name}"
        outcome.targets.append(Target(name=name, limit=1.1, attained=syncs))
        if place.name == "ram":
            ratios = [
                (found[0], peer, found[1])
                for peer in PEERS
                if (found := median_ratio(samples, OURS, peer)) is not None
            ]
            better = min(ratios, default=None)
            outcome.targets.append(
                Target(
                    name="times the better peer, ram",
                    limit=5,
                    attained=better[0] if better else None,
                    is_floor=True,
                    note=f"{better[1]}, {better[2]} pairs" if better else "",
                )
            )
        else:
            found = median_ratio(samples, OURS, BARE)
            outcome.targets.append(
                Target(
                    name="share of the bare loop, disk",
                    limit=0.5,
                    attained=found[0] if found else None,
                    is_floor=True,
                    note=f"{found[1]} pairs" if found else "",
                )
            )
    return outcome
