"""A full database: what a step costs beside a million runs that have ended."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.contender import Contender, Laboratory, Sample, median_of
from bench.contender import of as of_name
from bench.report import Outcome, Table, Target, steps_table

RUNS, STEPS, SIZE = 64, 100, 1024
FEW, MANY, MANY_QUICK = 1_000, 1_000_000, 100_000


def contender(finished: int, *, elsewhere: int, is_traced: bool = False) -> Contender:
    """Make who does the work beside so many runs; as many are put in elsewhere by the other."""
    return Contender(
        name=f"beside {finished:,} ended runs{', traced' if is_traced else ''}",
        target="bench.contenders.full_ours:work",
        setting="WAL, FULL",
        steps=RUNS * STEPS,
        arguments={
            "finished": finished,
            "elsewhere": elsewhere,
            "runs": RUNS,
            "steps": STEPS,
            "size": SIZE,
            "is_traced": is_traced,
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
    few_traced = contender(FEW, elsewhere=total, is_traced=True)
    many_traced = contender(total, elsewhere=FEW, is_traced=True)
    counted = laboratory.rounds(place, [few_traced, many_traced], rounds=1)
    outcome.samples += counted
    outcome.tables.append(
        Table(
            title="the same, and what SQLite does for it",
            columns=("", "statements/step", "instructions/step"),
            rows=[
                [one.name, _each(counted, one, "statements"), _each(counted, one, "instructions")]
                for one in (few_traced, many_traced)
            ],
        )
    )
    outcome.targets += [
        _target(counted, few_traced, many_traced, "statements", "statements"),
        _target(counted, few_traced, many_traced, "instructions", "instructions of SQLite"),
        _target(samples, few, many, "written_bytes", "bytes written"),
        _target(samples, few, many, "processor_s", "processor time"),
    ]
    return outcome


def _each(samples: Sequence[Sample], one: Contender, measure: str) -> str:
    found = median_of(of_name(samples, one.name), lambda sample: sample.per_step(measure))
    return "-" if found is None else f"{found:.3g}"


def _target(
    samples: Sequence[Sample], few: Contender, many: Contender, measure: str, what: str
) -> Target:
    """Compare beside many with beside few, paired by round."""
    beside_few = {sample.round: sample.answer[measure] for sample in of_name(samples, few.name)}
    ratios = [
        sample.answer[measure] / beside_few[sample.round]
        for sample in of_name(samples, many.name)
        if beside_few.get(sample.round)
    ]
    return Target(
        name=f"{what} per step, {many.name} to {few.name}",
        limit=1.1,
        attained=statistics.median(ratios) if ratios else None,
        unit="times",
        note=f"{len(ratios)} pairs" if len(ratios) > 1 else "",
    )
