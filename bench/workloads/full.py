"""A full database: what a step costs beside a million runs that have ended."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contender import Contender, Laboratory, Sample, median_of
from bench.contender import of as of_name
from bench.report import Outcome, Target, steps_table

RUNS, STEPS, SIZE = 64, 100, 1024
FEW, MANY, MANY_QUICK = 1_000, 1_000_000, 100_000


def contender(finished: int, *, elsewhere: int) -> Contender:
    """Make who does the work beside so many runs; as many are put in elsewhere by the other."""
    return Contender(
        name=f"beside {finished:,} ended runs",
        target="bench.contenders.full_ours:work",
        setting="WAL, FULL",
        steps=RUNS * STEPS,
        arguments={
            "finished": finished,
            "elsewhere": elsewhere,
            "runs": RUNS,
            "steps": STEPS,
            "size": SIZE,
        },
    )


def measure(laboratory: Laboratory) -> Outcome:
    """Measure on the RAM disk where there is one: a million runs are 600 MB."""
    outcome = Outcome(name="full")
    total = MANY_QUICK if laboratory.is_quick else MANY
    few, many = contender(FEW, elsewhere=total), contender(total, elsewhere=FEW)
    place = laboratory.place("ram") or laboratory.places[-1]
    samples = laboratory.rounds(place, [few, many], rounds=2 if laboratory.is_quick else 5)
    outcome.samples += samples
    title = f"{RUNS} runs of {STEPS} steps of {SIZE} characters"
    outcome.tables.append(steps_table(title, place, [few, many], samples))
    outcome.targets += [
        _target(samples, few, many, measure, what)
        for measure, what in (
            ("syncs", "syncs"),
            ("written_bytes", "bytes written"),
            ("processor_s", "processor time"),
        )
    ]
    return outcome


def _target(
    samples: Sequence[Sample], few: Contender, many: Contender, measure: str, what: str
) -> Target:
    beside_few, beside_many = (
        median_of(of_name(samples, one.name), lambda sample: sample.per_step(measure))
        for one in (few, many)
    )
    known = beside_few is not None and beside_many is not None
    return Target(
        name=f"{what} per step, {many.name} to {few.name}",
        limit=1.1,
        attained=beside_many / beside_few if known and beside_few and beside_many else None,
        unit="times",
    )
