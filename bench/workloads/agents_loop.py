"""What the loop of agents costs without the model: turns, coming back after a restart, memory."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.contender import Contender, Laboratory, Sample, of
from bench.places import Place
from bench.report import Outcome, Table, Target, steps_table

TOOLS = 8
TURNS, TURNS_LONG = 100, 300
TURN_MS = 3.0
RESUME_S = 0.3
AT_ONCE = 50
MODEL_S = 0.02
SHARE = 0.95
AGENT_MB = 1.0

_FLOOR = "WAL, FULL"


def _contender(name: str, function: str, steps: int, **arguments: Any) -> Contender:
    return Contender(
        name=name,
        target=f"bench.contenders.agent_ours:{function}",
        setting=_FLOOR,
        steps=steps,
        arguments={"tools": TOOLS, **arguments},
    )


ONE = _contender("one run", "turns", TURNS, runs=1, turns=TURNS)
LONG = _contender("one long run", "turns", TURNS_LONG, runs=1, turns=TURNS_LONG)
TEN = _contender("ten at once", "turns", 10 * TURNS // 2, runs=10, turns=TURNS // 2)
RESUMED = _contender("resumed", "resume", TURNS_LONG, turns=TURNS_LONG)
LANE = _contender("lane", "lane", AT_ONCE * 10, runs=AT_ONCE, turns=10, model_s=MODEL_S)
RESIDENT = _contender("resident", "resident", AT_ONCE * 20, runs=AT_ONCE, turns=20)


def measure(laboratory: Laboratory) -> Outcome:
    """Measure on each disk; the lane and the memory once, because no disk has a part in them."""
    outcome = Outcome(name="agents-loop")
    rounds = 1 if laboratory.is_quick else 5
    for place in laboratory.places:
        samples = laboratory.rounds(place, [ONE, LONG, TEN, RESUMED], rounds=rounds)
        outcome.samples += samples
        title = f"turns of an agent with {TOOLS} tools and a model that takes no time"
        outcome.tables.append(steps_table(title, place, [ONE, LONG, TEN], samples))
        outcome.targets += _targets(place, samples)
    place = laboratory.place("ram") or laboratory.places[-1]
    samples = laboratory.rounds(place, [LANE, RESIDENT], rounds=min(rounds, 3))
    outcome.samples += samples
    outcome.targets += _shared(samples)
    outcome.tables.append(_lane(samples))
    return outcome


def _targets(place: Place, samples: Sequence[Sample]) -> list[Target]:
    turns = [
        Target(
            name=f"processor time of a turn, {one.name}, {place.name}",
            limit=TURN_MS,
            attained=_median(of(samples, one.name), "processor_s", 1e3 / one.steps),
            unit="ms",
        )
        for one in (ONE, LONG, TEN)
    ]
    resumed = Target(
        name=f"{TURNS_LONG} turns resumed, up to the next call of the model, {place.name}",
        limit=RESUME_S,
        attained=_median(of(samples, RESUMED.name), "elapsed_s", 1.0),
        unit="s",
        note="opening the database included",
    )
    return [*turns, resumed]


def _shared(samples: Sequence[Sample]) -> list[Target]:
    return [
        Target(
            name=f"share of the time that {AT_ONCE} runs keep the lane of a model of 20 ms busy",
            limit=SHARE,
            attained=_median(of(samples, LANE.name), "held", 1.0),
            is_floor=True,
        ),
        Target(
            name=f"memory of each of {AT_ONCE} agents after 20 turns",
            limit=AGENT_MB,
            attained=_median(of(samples, RESIDENT.name), "grown_bytes", 1e-6 / AT_ONCE),
            unit="MB",
        ),
    ]


def _lane(samples: Sequence[Sample]) -> Table:
    found = of(samples, LANE.name)
    rows = [
        [name, _percent(found, key)]
        for name, key in (("the lane was held", "held"), ("the model worked", "worked"))
    ]
    return Table(
        title=f"a model of 20 ms, shared by {AT_ONCE} runs", columns=("", "of the time"), rows=rows
    )


def _percent(samples: Sequence[Sample], name: str) -> str:
    share = _median(samples, name, 100.0)
    return "-" if share is None else f"{share:.1f} %"


def _median(samples: Sequence[Sample], name: str, factor: float) -> float | None:
    answers: Sequence[Mapping[str, Any]] = [sample.answer for sample in samples]
    return statistics.median(float(one[name]) for one in answers) * factor if answers else None
