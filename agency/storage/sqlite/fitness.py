"""What models are fit for, on SQLite; the promises are those of `agency.ports.fitness`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.domain.fitness import FITNESS_ROWS_MAX, Fitness, fitness_name
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


class SqliteFitness:
    """Outcomes of model checks in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def keep(self, fitness: Fitness) -> None:
        """Keep an outcome; see `FitnessStore.keep`."""
        self._space.check()
        await self._writer.submit(partial(_keep, fitness=fitness))

    async def find(self, provider: str, model: str) -> Fitness | None:
        """Look up the newest outcome for a model; see `FitnessStore.find`."""
        key = {"provider": provider, "model": fitness_name(model)}
        row = await self._readers.one("find_fitness", key)
        return None if row is None else _fitness_of(row)

    async def list(self, *, limit: int) -> Sequence[Fitness]:
        """List the outcomes; see `FitnessStore.list`."""
        return [_fitness_of(row) for row in await self._readers.all("list_fitness", (limit,))]


def _keep(tx: Transaction, fitness: Fitness) -> None:
    row = {
        "provider": fitness.provider,
        "model": fitness_name(fitness.model),
        "checked_at": to_micros(fitness.checked_at),
        "run_id": fitness.run_id,
        "digest": fitness.digest,
        "answers": fitness.answers,
        "schema": fitness.schema,
        "tool_call": fitness.tool_call,
        "tool_choice": fitness.tool_choice,
        "recall": fitness.recall,
        "recall_tokens": fitness.recall_tokens,
        "tokens_per_s": fitness.tokens_per_s,
        "load_s": fitness.load_s,
    }
    tx.change("keep_fitness", row)
    tx.change("trim_fitness", {"kept": FITNESS_ROWS_MAX})


def _fitness_of(row: Row) -> Fitness:
    return Fitness(
        provider=row[0],
        model=row[1],
        checked_at=from_micros(row[2]),
        run_id=row[3],
        digest=row[4],
        answers=row[5],
        schema=row[6],
        tool_call=row[7],
        tool_choice=row[8],
        recall=row[9],
        recall_tokens=row[10],
        tokens_per_s=row[11],
        load_s=row[12],
    )
