"""The queue: how dear it is to put runs in, and to work them off."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contender import Contender, Laboratory, Sample, median_of, median_ratio
from bench.contender import of as of_name
from bench.places import Place
from bench.report import Outcome, Target, steps_table

RUNS = 10_000
WORKERS = 10
ONE_BY_ONE = 1000
CONNECTIONS = 32
PROCESS, ALONE, BESIDE, BULK = (
    f"worked off, {WORKERS} at once",
    "put in one by one",
    f"put in one by one, {CONNECTIONS} at once",
    "put in 1,000 at a time",
)


def contenders(runs: int, one_by_one: int) -> list[Contender]:
    """List who takes part."""
    module = "bench.contenders.queue_ours"
    return [
        Contender(
            name=PROCESS,
            target=f"{module}:process",
            setting="WAL, FULL",
            steps=runs,
            arguments={"runs": runs, "workers": WORKERS},
        ),
        Contender(
            name=ALONE,
            target=f"{module}:enqueue",
            setting="WAL, FULL",
            steps=one_by_one,
            arguments={"runs": one_by_one, "at_once": 1},
        ),
        Contender(
            name=BESIDE,
            target=f"{module}:enqueue",
            setting="WAL, FULL",
            steps=runs,
            arguments={"runs": runs, "at_once": CONNECTIONS},
        ),
        Contender(
            name=BULK,
            target=f"{module}:enqueue_many",
            setting="WAL, FULL",
            steps=runs,
            arguments={"runs": runs},
        ),
    ]


def measure(laboratory: Laboratory) -> Outcome:
    """Measure each by itself; a step of the tables is a run that does nothing."""
    outcome = Outcome(name="queue")
    runs, one_by_one = (2000, 200) if laboratory.is_quick else (RUNS, ONE_BY_ONE)
    taking_part = contenders(runs, one_by_one)
    for place in laboratory.places:
        samples = laboratory.rounds(place, taking_part, rounds=2 if laboratory.is_quick else 5)
        outcome.samples += samples
        title = f"{runs:,} runs that do nothing"
        outcome.tables.append(steps_table(title, place, taking_part, samples))
        outcome.targets += _targets(place, samples)
    return outcome


def _targets(place: Place, samples: Sequence[Sample]) -> list[Target]:
    processed = of_name(samples, PROCESS)
    processor_s = median_of(processed, lambda sample: sample.per_step("processor_s"))
    ratio = median_ratio(samples, BULK, ALONE)
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
        Target(
            name=f"put in 1,000 at a time, times one by one, {place.name}",
            limit=10,
            attained=ratio[0] if ratio else None,
            is_floor=True,
            note=f"{ratio[1]} pairs" if ratio else "",
        ),
    ]
