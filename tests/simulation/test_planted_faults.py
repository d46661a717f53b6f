"""The simulation finds the faults that are put into the product."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.lives import live_through
from tests.simulation.planted import PLANTED

SEEDS_MAX = 80


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found(
    template: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    planted = PLANTED[name]
    planted.plant(monkeypatch)

    for number in range(seed, seed + SEEDS_MAX):
        story = live_through(number, template, tmp_path / "lives")
        if story.faults:
            break

    shown = "\n".join(story.faults)
    assert any(words in shown for words in planted.shows_as), shown or "nothing was found"
