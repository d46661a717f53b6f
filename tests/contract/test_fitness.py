"""Outcomes of model checks: the newest one of each model is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agency.domain.fitness import FITNESS_ROWS_MAX, Fitness
from agency.ports.store import Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

FAIR = Fitness(
    provider="ollama",
    model="llama3.2:latest",
    checked_at=NOON,
    run_id="run-1",
    digest="abc",
    answers=1.0,
    schema=0.5,
    tool_call=1.0,
    tool_choice=0.0,
    recall=None,
    recall_tokens=2000,
    tokens_per_s=12.5,
    load_s=3.25,
)


async def test_outcome_is_found_again_under_each_spelling_of_the_model(store: Store) -> None:
    await store.fitness.keep(FAIR)

    expected = replace(FAIR, model="llama3.2")
    assert expected == await store.fitness.find("ollama", "llama3.2")
    assert expected == await store.fitness.find("ollama", "llama3.2:latest")
    assert None is await store.fitness.find("lab", "llama3.2")
    assert [expected] == list(await store.fitness.list(limit=10))


async def test_newer_outcome_stays_whichever_comes_first(store: Store) -> None:
    newer = replace(FAIR, checked_at=NOON + timedelta(seconds=1), schema=1.0, run_id="run-2")
    await store.fitness.keep(newer)

    await store.fitness.keep(FAIR)

    found = await store.fitness.find("ollama", "llama3.2")
    assert found is not None
    assert ("run-2", 1.0) == (found.run_id, found.schema)


async def test_oldest_outcomes_are_forgotten_beyond_the_limit(store: Store) -> None:
    for number in range(FITNESS_ROWS_MAX + 2):
        checked_at = NOON + timedelta(seconds=number)
        await store.fitness.keep(replace(FAIR, model=f"m{number}", checked_at=checked_at))

    assert None is await store.fitness.find("ollama", "m0")
    assert None is await store.fitness.find("ollama", "m1")
    assert None is not await store.fitness.find("ollama", "m2")
    assert FITNESS_ROWS_MAX == len(await store.fitness.list(limit=FITNESS_ROWS_MAX + 5))
