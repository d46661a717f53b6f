"""The same seed tells the same story, to the last row of the database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.simulation.lives import live_through

ROOT = Path(__file__).parents[2]
SEEDS = 4
PROGRAM = """
import sys
from pathlib import Path
from tests.simulation.lives import live_through
print(*[live_through(int(s), Path(sys.argv[1]), Path(sys.argv[2])).digest for s in sys.argv[3:]])
"""


def test_same_seed_tells_the_same_story(template: Path, tmp_path: Path, seed: int) -> None:
    for number in range(seed, seed + SEEDS):
        one = live_through(number, template, tmp_path / "one")
        # Another in between, and another folder: nothing of either may matter.
        other = live_through(number + 1, template, tmp_path / "two")
        again = live_through(number, template, tmp_path / "three")

        assert one.trace == again.trace
        assert one == again
        assert one.digest != other.digest


def test_same_seed_tells_the_same_story_in_another_process(
    template: Path, tmp_path: Path, seed: int
) -> None:
    seeds = range(seed, seed + SEEDS)
    here = [live_through(number, template, tmp_path / "here").digest for number in seeds]

    # Sets of strings are gone through in another order there.
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(template), str(tmp_path / hash_seed)]
            + [str(number) for number in seeds],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

        assert here == [int(word) for word in told.stdout.split()]
