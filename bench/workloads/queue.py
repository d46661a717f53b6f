"""The queue: how dear it is to put runs in, and to work them off, beside other queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contender import Contender, Laboratory, Sample, median_of, median_ratio
from bench.contender import of as of_name
from bench.places import Place
from bench.report import Outcome, Target, steps_table
from bench.servers import POSTGRES_PROGRAMS, REDIS_PROGRAMS

RUNS, RUNS_QUICK = 10_000, 2_000
ONE_BY_ONE, ONE_BY_ONE_QUICK = 1_000, 200
PEER_SHARE = 5
"""Peers do this part of the runs, so that the whole stays short."""
WORKERS = 10
CALLERS = 32
PROCESS, ALONE, BESIDE, BULK = (
    f"worked off, {WORKERS} at once",
    "put in one by one",
    f"put in one by one by {CALLERS} callers",
    "put in 1,000 at a time",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queue:
    """Who takes part.

    Attributes:
        is_sure: Works off at least once; Huey deletes a task before it runs.
        has_bulk: Can put in many in one commit.
    """

    name: str
    module: str
    setting: str
    share: int = 1
    is_sure: bool = True
    has_bulk: bool = False
    peer: Mapping[str, Any] | None = None

    def contender(self, what: str, function: str, runs: int, **arguments: int) -> Contender:
        return Contender(
            name=f"{self.name}, {what}",
            target=f"bench.contenders.{self.module}:{function}",
            setting=self.setting,
            steps=runs // self.share,
            arguments={"runs": runs // self.share, **arguments},
            **(self.peer or {}),
        )


OURS = _Queue(name="agency", module="queue_ours", setting="WAL, FULL", has_bulk=True)
PEERS = (
    _Queue(
        name="pgqueuer",
        module="pgqueuer_peer",
        setting="PostgreSQL, commits synced",
        share=PEER_SHARE,
        has_bulk=True,
        peer={"is_peer": True, "module": "pgqueuer", "programs": POSTGRES_PROGRAMS},
    ),
    _Queue(
        name="saq",
        module="saq_peer",
        setting="Redis, appendfsync always",
        share=PEER_SHARE,
        peer={"is_peer": True, "module": "saq", "programs": REDIS_PROGRAMS},
    ),
    _Queue(
        name="huey",
        module="huey_peer",
        setting="WAL, FULL, at most once",
        share=PEER_SHARE,
        is_sure=False,
        peer={"is_peer": True, "module": "huey"},
    ),
)


def contenders(runs: int, one_by_one: int) -> dict[str, list[Contender]]:
    """List who takes part, by what is done."""
    all_of_them = (OURS, *PEERS)
    return {
        PROCESS: [one.contender(PROCESS, "process", runs, workers=WORKERS) for one in all_of_them],
        ALONE: [one.contender(ALONE, "enqueue", one_by_one, at_once=1) for one in all_of_them],
        BESIDE: [one.contender(BESIDE, "enqueue", runs, at_once=CALLERS) for one in all_of_them],
        BULK: [one.contender(BULK, "enqueue_many", runs) for one in all_of_them if one.has_bulk],
    }


def measure(laboratory: Laboratory) -> Outcome:
    """Measure all on each disk; a step of the tables is a run that does nothing."""
    outcome = Outcome(name="queue")
    is_quick = laboratory.is_quick
    runs = RUNS_QUICK if is_quick else RUNS
    taking_part = contenders(runs, ONE_BY_ONE_QUICK if is_quick else ONE_BY_ONE)
    for place in laboratory.places:
        rounds = 1 if is_quick else 5 if place.name == "ram" else 3
        # All of a round beside each other, so that they see the same disk and the same load.
        everyone = [one for some in taking_part.values() for one in some]
        samples = laboratory.rounds(place, everyone, rounds=rounds)
        outcome.samples += samples
        for what, some in taking_part.items():
            names = {one.name for one in some}
            those = [sample for sample in samples if sample.contender in names]
            outcome.tables.append(steps_table(f"no-op runs {what}", place, some, those))
        outcome.targets += _targets(place, samples)
    outcome.notes.append(
        "processor time is with that of the peer's server; bytes of Redis are not counted, because "
        "it does not write with pwrite"
    )
    return outcome


def _targets(place: Place, samples: Sequence[Sample]) -> list[Target]:
    processed = of_name(samples, f"{OURS.name}, {PROCESS}")
    processor_s = median_of(processed, lambda sample: sample.per_step("processor_s"))
    sure = [peer for peer in PEERS if peer.is_sure]
    own_bulk = median_ratio(samples, f"{OURS.name}, {BULK}", f"{OURS.name}, {ALONE}")
    return [
        Target(
            name=f"processor time per run worked off, {place.name}",
            limit=80,
            attained=None if processor_s is None else processor_s * 1e6,
            unit="µs",
        ),
        Target(
            name=f"syncs per run worked off, {place.name}",
            limit=2.5 / WORKERS,
            attained=median_of(processed, lambda sample: sample.per_step("syncs")),
            note="a claim and an end for as many as are worked on at once",
        ),
        _against(f"worked off, times the best sure peer, {place.name}", 2, samples, PROCESS, sure),
        *(
            _against(f"{what}, times the best peer, {place.name}", 1, samples, what, PEERS)
            for what in (ALONE, BESIDE)
        ),
        Target(
            name=f"put in 1,000 at a time, times one by one, {place.name}",
            limit=10,
            attained=own_bulk[0] if own_bulk else None,
            is_floor=True,
            note=f"{own_bulk[1]} pairs" if own_bulk else "",
        ),
    ]


def _against(
    name: str, limit: float, samples: Sequence[Sample], what: str, peers: Sequence[_Queue]
) -> Target:
    """Compare with whichever peer comes out best."""
    ratios = [
        (found[0], peer.name, found[1])
        for peer in peers
        if (found := median_ratio(samples, f"{OURS.name}, {what}", f"{peer.name}, {what}"))
        is not None
    ]
    best = min(ratios, default=None)
    return Target(
        name=name,
        limit=limit,
        attained=best[0] if best else None,
        is_floor=True,
        note=", ".join(f"{peer} {ratio:.2g}" for ratio, peer, _ in sorted(ratios)),
    )
