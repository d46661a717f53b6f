"""Random workflows, clients and accidents in simulated time: the promises hold.

A seed that fails is printed with the end of its trace, and shows the same again.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.lives import live_through
from tests.simulation.witness import Story

SAMPLE_S = 15.0
SOAK_SEEDS = 5000
SOAK_PARTS = 5
FOUND = (904054, 4407402, 10245008, 12414853, 30001577)
"""Seeds that have once failed; what they play changes with the programs that are drawn."""
ALL_ENDS = {"completed", "failed", "dead_letter", "cancelled", "timed_out"}


def tell(story: Story) -> str:
    """Say what a failed seed has shown, and how to see it again."""
    lines = [
        f"The simulation of seed {story.seed} found in life {story.lives}:",
        *story.faults,
        "",
        "The end of its trace (TRACE_LINES=n shows more):",
        *story.trace,
        "",
        "The same again:",
        f"SEED={story.seed} .venv/bin/python -m pytest tests/simulation -k one_seed",
    ]
    return "\n".join(line[:600] for line in lines)


def go_through(
    first: int, template: Path, folder: Path, *, until: float, seeds: int
) -> Counter[str]:
    """Go through seeds, until one fails, or it is time."""
    statuses: Counter[str] = Counter()
    for seed in range(first, first + seeds):
        story = live_through(seed, template, folder / "lives")
        assert not story.faults, tell(story)
        statuses.update(story.statuses)
        if time.monotonic() >= until:
            break
    return statuses


def test_promises_hold_in_one_seed(template: Path, tmp_path: Path, seed: int) -> None:
    story = live_through(seed, template, tmp_path / "lives")

    assert not story.faults, tell(story)


@pytest.mark.parametrize("found", FOUND)
def test_promises_hold_in_seeds_that_have_found_something(
    template: Path, tmp_path: Path, found: int
) -> None:
    story = live_through(found, template, tmp_path / "lives")

    assert not story.faults, tell(story)


def test_promises_hold_in_simulated_lives(template: Path, tmp_path: Path, seed: int) -> None:
    until = time.monotonic() + SAMPLE_S

    statuses = go_through(seed + 1, template, tmp_path, until=until, seeds=10_000)

    assert statuses["completed"] > 0


@pytest.mark.soak
@pytest.mark.parametrize("part", range(SOAK_PARTS))
def test_promises_hold_in_thousands_of_lives(
    template: Path, tmp_path: Path, seed: int, part: int
) -> None:
    seeds = SOAK_SEEDS // SOAK_PARTS

    statuses = go_through(seed + part * seeds, template, tmp_path, until=float("inf"), seeds=seeds)

    assert ALL_ENDS == set(statuses)
