"""What steps cost in syncs and bytes: counts, which no busy machine can disturb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.contender import ROOT
from bench.counts import build_shim, counting_environ

GUARD_S = 60.0
Measure = Callable[..., Mapping[str, Any]]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Do a workload of the benchmark in a child whose syncs and writes are counted."""
    shim = build_shim(tmp_path)
    if shim is None:
        pytest.skip("no C compiler to build the counting library with")

    def measured(name: str, **arguments: Any) -> Mapping[str, Any]:
        folder, result = tmp_path / name, tmp_path / "result.json"
        folder.mkdir()
        target = f"bench.contenders.ours:{name}"
        text = json.dumps({"folder": str(folder), **arguments})
        subprocess.run(
            [sys.executable, "-m", "bench.child", target, text, str(result)],
            cwd=ROOT,
            env={**os.environ, **counting_environ(shim, tmp_path / "counts")},
            timeout=GUARD_S,
            check=True,
        )
        answer: Mapping[str, Any] = json.loads(result.read_text())
        return answer

    return measured


def test_each_step_of_a_lone_run_costs_one_sync(measure: Measure) -> None:
    answer = measure("work", runs=1, steps=300, size=1024)

    assert answer["syncs"] / 300 >= 1, "a step was answered before it was synced"
    assert answer["syncs"] / 300 <= 1.1


def test_runs_at_once_share_their_syncs(measure: Measure) -> None:
    answer = measure("work", runs=64, steps=50, size=1024)

    assert answer["syncs"] / (64 * 50) <= 0.05
    assert answer["written_bytes"] / (64 * 50) <= 6 * 1024


def test_growing_state_writes_only_what_was_added(measure: Measure) -> None:
    begin, steps, size = 100 * 1024, 200, 1024

    answer = measure("grow", steps=steps, size=size, begin=begin, window=20)

    assert answer["grown_bytes"] <= 2 * (begin + steps * size)
    assert answer["last_bytes"] <= 1.2 * answer["first_bytes"]
