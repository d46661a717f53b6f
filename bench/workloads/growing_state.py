"""A state that grows with each step: only what is added may be written."""

from __future__ import annotations

from bench.contender import Contender, Laboratory, median_of
from bench.report import Outcome, Table, Target

BEGIN_BYTES = 100 * 1024
SIZE = 1024
STEPS = 200
WINDOW = 20


def measure(laboratory: Laboratory) -> Outcome:
    """Measure the growth of the database, and the bytes of the first and the last steps."""
    outcome = Outcome(name="growing-state")
    place = laboratory.places[-1]
    contender = Contender(
        name="agency",
        target="bench.contenders.ours:grow",
        setting="WAL, FULL",
        steps=STEPS,
        arguments={"steps": STEPS, "size": SIZE, "begin": BEGIN_BYTES, "window": WINDOW},
    )
    samples = laboratory.rounds(place, [contender], rounds=1 if laboratory.is_quick else 3)
    outcome.samples += samples
    deltas = BEGIN_BYTES + STEPS * SIZE
    grown = median_of(samples, lambda sample: float(sample.answer["grown_bytes"]))
    first = median_of(samples, lambda sample: sample.answer["first_bytes"])
    last = median_of(samples, lambda sample: sample.answer["last_bytes"])
    outcome.tables.append(
        Table(
            title=f"100 KiB of state, 1 KiB more in each of {STEPS} steps · {place.title}",
            columns=("", "deltas", "growth", f"first {WINDOW}", f"last {WINDOW}"),
            rows=[
                ["agency", str(deltas), *[_bytes(value) for value in (grown, first, last)]],
            ],
        )
    )
    outcome.targets += [
        Target(
            name="growth of the database, times the deltas",
            limit=2,
            attained=None if grown is None else grown / deltas,
            note="closed, so that the log is in it",
        ),
        Target(
            name=f"bytes of the last {WINDOW} steps, times those of the first",
            limit=1.2,
            attained=None if first is None or last is None else last / first,
        ),
    ]
    return outcome


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
