"""The simulation finds the faults that are put into the product."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.lives import live_through
from tests.simulation.planted import PLANTED

SEEDS_MAX = 400
FIRST_SEED = 1
"""Whether chance finds a fault soon is no question for each commit: only whether it is found."""


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    planted = PLANTED[name]
    planted.plant(monkeypatch)

    shown: list[str] = []
    for number in range(FIRST_SEED, FIRST_SEED + SEEDS_MAX):
        shown += live_through(number, template, tmp_path / "lives", planted.bend).faults
        if any(words in fault for words in planted.shows_as for fault in shown):
            return

    pytest.fail("\n".join(["It was not found by its name, but:", *shown]))
