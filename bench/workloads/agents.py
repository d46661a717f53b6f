"""Weak models before three agents: which tasks are completed in spite of what goes wrong."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench.contender import ROOT, Contender, Laboratory
from bench.report import Outcome, Table, Target
from tests.fake_ollama.compatible import MODEL
from tests.fake_ollama.faults import FAULTS, FINAL, STEPS, prompt_of

OURS = "agency"
CONTENDERS = (
    (OURS, "bench.contenders.agents_ours:work", ""),
    ("pydantic-ai", "bench.contenders.agents_pydantic:work", "pydantic_ai"),
    ("langgraph", "bench.contenders.agents_langgraph:work", "langchain_ollama"),
)
THREES, PAIRS = 9, 40
SEED = 20
"""Draws the mixtures: the same ones for everybody, in each run."""
STOP_S = 10.0


def measure(laboratory: Laboratory) -> Outcome:
    """Give everybody the same tasks before the same server."""
    outcome = Outcome(name="agents")
    groups = _groups(is_quick=laboratory.is_quick)
    found: dict[str, Mapping[str, Any]] = {}
    place = laboratory.places[0]
    for name, target, module in CONTENDERS:
        with _server() as url:
            # Tasks have their own names for everybody: the server's models remember their tries.
            tasks = {
                task: prompt_of(f"{name}{task}") for group in groups.values() for task in group
            }
            contender = Contender(
                name=name,
                target=target,
                setting="",
                steps=len(tasks),
                is_peer=bool(module),
                module=module,
                arguments={
                    "url": url,
                    "model": MODEL,
                    "tasks": tasks,
                    "wanted": [dict(one.arguments) for one in STEPS if one.name == "add_item"],
                    "final": FINAL,
                },
            )
            answer = next(
                (laboratory.run(place, one) for one in laboratory.present([contender])), None
            )
        if answer is not None:
            found[name] = answer
    outcome.tables += [_each(groups["alone"], found), _sums(groups, found)]
    ours = found.get(OURS)
    attained = None
    if ours is not None:
        completed = ours["completed"]
        attained = sum(completed.values()) / len(completed)
        outcome.notes += [f"{task}: {error}" for task, error in ours["errors"].items()]
    outcome.targets.append(
        Target(
            name="tasks completed of those possible", limit=1.0, attained=attained, is_floor=True
        )
    )
    return outcome


def _groups(*, is_quick: bool) -> dict[str, list[str]]:
    """Name the tasks: no fault, each alone, three by turns, two in the same step."""
    source = random.Random(SEED)
    names = list(FAULTS)
    shuffled = source.sample(names, len(names))
    threes = [shuffled[i : i + 3] for i in range(0, len(names), 3)][:THREES]
    pairs = source.sample(list(itertools.permutations(names, 2)), 10 if is_quick else PAIRS)
    return {
        "no fault": ["|none"],
        "alone": [f"|{name}" for name in names],
        "three by turns": [f"|spread:{' + '.join(three)}" for three in threes],
        "two in the same step": [f"|{' + '.join(pair)}" for pair in pairs],
    }


@contextmanager
def _server() -> Iterator[str]:
    """Run the server of weak models as a process of its own, so that nobody computes with it."""
    command = [sys.executable, "-m", "tests.fake_ollama.compatible"]
    # It logs each client that leaves in the middle, as ours does when a model repeats itself.
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            process.wait(STOP_S)


def _each(tasks: list[str], found: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        [
            task.removeprefix("|"),
            *("yes" if one["completed"][task] else "-" for one in found.values()),
        ]
        for task in tasks
    ]
    return Table(title="task completed in spite of", columns=("", *found), rows=rows)


def _sums(groups: Mapping[str, list[str]], found: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        [
            f"{group} ({len(tasks)})",
            *(str(sum(one["completed"][task] for task in tasks)) for one in found.values()),
        ]
        for group, tasks in groups.items()
    ]
    return Table(title="tasks completed, six steps each", columns=("", *found), rows=rows)
