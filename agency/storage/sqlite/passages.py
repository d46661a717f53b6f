"""Passages on SQLite; the promises are those of `agency.ports.memory.PassageStore`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agency.core import vectors
from agency.core.clock import from_micros, to_micros
from agency.core.json import encode
from agency.domain.memory import Chunk, Collection, Fact, NewFact, Passage, Scope
from agency.errors import CollectionChanged, EmbeddingsDiffer, FactNotFound, MemoryFull
from agency.storage.sqlite import memory_sweep
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.words import all_of, any_of
from agency.storage.sqlite.writer import Writer

_NUMBER_MAX = (1 << 63) - 1
_FACTS = "facts"


class SqlitePassages:
    """Facts, words and vectors in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def find_collection(self, kind: str, owner: str) -> Collection | None:
        """Read a collection; see `PassageStore.find_collection`."""
        row = await self._readers.one("find_collection", (kind, owner))
        return None if row is None else collection_of(row)

    async def collections(self, *, after: int, limit: int) -> Sequence[Collection]:
        """Read collections by number; see `PassageStore.collections`."""
        rows = await self._readers.all("page_collections", {"after": after, "limit": limit})
        return [collection_of(row) for row in rows]

    async def count(self, collection: int, *, era: int) -> tuple[int, int]:
        """Count passages; see `PassageStore.count`."""
        row = await self._readers.one("count_passages", {"collection": collection, "era": era})
        assert row is not None
        return row[0], row[0] - row[1]

    async def add_fact(
        self, scope: Scope, new: NewFact, *, facts_max: int, now: datetime
    ) -> tuple[Fact, Collection, bool]:
        """Remember a fact; see `PassageStore.add_fact`."""
        self._space.check()
        work = partial(_add_fact, owner=scope.key, new=new, facts_max=facts_max, now=to_micros(now))
        fact, collection, is_new = await self._writer.submit(work)
        return _fact_of(fact), collection_of(collection), is_new

    async def facts(self, scope: Scope, *, before: int | None, limit: int) -> Sequence[Fact]:
        """Read facts; see `PassageStore.facts`."""
        parameters = {
            "owner": scope.key,
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
        }
        return [_fact_of(row) for row in await self._readers.all("page_facts", parameters)]

    async def forget(self, scope: Scope, fact_id: str) -> None:
        """Forget a fact; see `PassageStore.forget`."""
        await self._writer.submit(partial(_forget, owner=scope.key, fact_id=fact_id))

    async def without_vector(
        self, collection: int, *, era: int, limit: int, after: int = 0
    ) -> Sequence[tuple[int, str]]:
        """Read passages that have no vector; see `PassageStore.without_vector`."""
        parameters = {"collection": collection, "era": era, "limit": limit, "after": after}
        rows = await self._readers.all("list_without_vector", parameters)
        return [(number, text) for number, text in rows]

    async def add_vectors(
        self,
        collection: int,
        *,
        era: int,
        model: str,
        rows: Sequence[tuple[int, Sequence[float]]],
    ) -> None:
        """Store vectors; see `PassageStore.add_vectors`."""
        if not rows:
            return
        self._space.check()
        widths = {len(vector) for _, vector in rows}
        packed = await asyncio.to_thread(_pack, rows)
        work = partial(
            _add_vectors,
            collection=collection,
            era=era,
            model=model,
            dimension=max(widths) if len(widths) == 1 else -1,
            rows=packed,
        )
        await self._writer.submit(work)

    async def begin_era(self, collection: int, model: str) -> int:
        """Begin to replace all vectors; see `PassageStore.begin_era`."""
        return await self._writer.submit(partial(_begin_era, collection=collection, model=model))

    async def end_era(self, collection: int, *, era: int) -> bool:
        """Search the new vectors from now on; see `PassageStore.end_era`."""
        return await self._writer.submit(partial(_end_era, collection=collection, era=era))

    async def find_words(
        self, collections: Sequence[int], words: Sequence[str], *, limit: int
    ) -> Sequence[int]:
        """Find passages by their words; see `PassageStore.find_words`."""
        query = any_of(words, collections)
        if not query:
            return []
        rows = await self._readers.all("match_words", {"query": query, "limit": limit})
        return [number for (number,) in rows]

    async def nearest(
        self, collection: int, *, era: int, vector: Sequence[float], limit: int
    ) -> Sequence[tuple[int, float]]:
        """Find passages by their vectors; see `PassageStore.nearest`."""
        signs = await self._readers.all("list_signs", (collection, era))
        chosen = await asyncio.to_thread(vectors.likeliest, vector, signs, limit=limit)
        parameters = {"collection": collection, "era": era, "passages": _json(chosen)}
        rows = await self._readers.all("load_vectors", parameters)
        return await asyncio.to_thread(vectors.nearest, vector, rows, limit=limit)

    async def passages(self, numbers: Sequence[int]) -> Sequence[Passage]:
        """Read passages; see `PassageStore.passages`."""
        parameters = {"numbers": _json(numbers)}
        facts = await self._readers.all("load_facts", parameters)
        chunks = await self._readers.all("load_chunks", parameters)
        return [*(_passage_of(_fact_of(row)) for row in facts), *(_chunk_of(row) for row in chunks)]

    async def sweep(self, *, rows_max: int) -> int:
        """Delete rows of what is gone; see `PassageStore.sweep`."""
        return await self._writer.submit(partial(memory_sweep.sweep, rows_max=rows_max))


def _json(numbers: Sequence[int]) -> str:
    return encode(list(numbers)).decode()


def _pack(rows: Sequence[tuple[int, Sequence[float]]]) -> list[tuple[int, bytes, bytes]]:
    return [(number, vectors.pack(one), vectors.signs_of(one)) for number, one in rows]


def _add_fact(
    tx: Transaction, owner: str, new: NewFact, facts_max: int, now: int
) -> tuple[Row, Row, bool]:
    tx.change("add_collection", {"kind": _FACTS, "owner": owner, "now": now})
    collection = tx.one("find_collection", (_FACTS, owner))
    assert collection is not None
    number = collection[0]
    known = _find_known(tx, number, new)
    if known is not None:
        return known, collection, False
    counted = tx.one("count_facts", (number,))
    assert counted is not None
    if counted[0] >= facts_max:
        raise MemoryFull(facts_max)
    passage = tx.insert("add_passage", (number, new.text))
    tx.change(
        "add_fact",
        {
            "passage": passage,
            "collection": number,
            "id": new.id,
            "source": new.source,
            "run_id": new.run_id,
            "session_id": new.session_id,
            "principal": new.principal,
            "now": now,
            "call_key": new.call_key,
        },
    )
    row = tx.one("get_fact", (passage,))
    assert row is not None
    return row, collection, True


def _find_known(tx: Transaction, collection: int, new: NewFact) -> Row | None:
    if new.call_key is not None:
        known = tx.one("find_fact_call", (collection, new.call_key))
        if known is not None:
            return known
    query = all_of(new.text, collection)
    if not query:
        return None
    return tx.one("find_fact_text", {"query": query, "text": new.text, "collection": collection})


def _forget(tx: Transaction, owner: str, fact_id: str) -> None:
    row = tx.one("find_fact", {"id": fact_id, "owner": owner})
    if row is None:
        raise FactNotFound(fact_id)
    tx.change("delete_fact", row)
    memory_sweep.delete_passage(tx, row[0])


def _add_vectors(
    tx: Transaction,
    collection: int,
    era: int,
    model: str,
    dimension: int,
    rows: Sequence[tuple[int, bytes, bytes]],
) -> None:
    found = tx.one("get_collection", (collection,))
    if found is None:
        raise CollectionChanged
    _, _, _, has_model, has_dimension, current, next_era, next_model, next_dimension = found
    if era == current:
        _check_alike(model, dimension, has_model, has_dimension)
        if has_model is None:
            new = {"model": model, "dimension": dimension, "number": collection}
            tx.change("set_collection_model", new)
    elif era == next_era and next_model is not None:
        _check_alike(model, dimension, next_model, next_dimension)
        if next_dimension is None:
            tx.change("set_next_dimension", {"dimension": dimension, "number": collection})
    else:
        raise CollectionChanged
    kept = [row for row in rows if tx.one("is_passage", (row[0], collection)) is not None]
    tx.many("put_vector", [(collection, era, number, data) for number, data, _ in kept])
    tx.many("put_signs", [(collection, era, number, signs) for number, _, signs in kept])


def _check_alike(
    model: str, dimension: int, other: str | None, other_dimension: int | None
) -> None:
    is_alike = other in {None, model} and other_dimension in {None, dimension}
    if dimension < 1 or not is_alike:
        raise EmbeddingsDiffer(
            other or model, other_dimension or 0, other=model, other_dimension=dimension
        )


def _begin_era(tx: Transaction, collection: int, model: str) -> int:
    found = tx.one("get_collection", (collection,))
    if found is None:
        raise CollectionChanged
    next_era, next_model = found[6], found[7]
    if next_model not in {None, model}:
        # What was begun for another model is given up.
        tx.change("add_old_era", {"collection": collection, "era": next_era})
        next_era += 1
    if next_model != model:
        new = {"number": collection, "model": model, "era": next_era}
        tx.change("set_next_model", new)
    era: int = next_era
    return era


def _end_era(tx: Transaction, collection: int, era: int) -> bool:
    found = tx.one("get_collection", (collection,))
    if found is None or found[5] == era:
        return True  # gone, or done before
    if found[6] != era or found[7] is None:
        raise CollectionChanged
    missing = {"collection": collection, "era": era, "limit": 1, "after": 0}
    if tx.all("list_without_vector", missing):
        return False
    tx.change("add_old_era", {"collection": collection, "era": found[5]})
    tx.change("begin_next_era", {"number": collection})
    return True


def collection_of(row: Row) -> Collection:
    """Read the columns of a collection."""
    number, kind, owner, model, dimension, era, next_era, next_model, _ = row
    return Collection(
        number=number,
        kind=kind,
        owner=owner,
        model=model or "",
        dimension=dimension or 0,
        era=era,
        next_era=next_era,
        next_model=next_model or "",
    )


def _fact_of(row: Row) -> Fact:
    number, id_, text, source, principal, run_id, session_id, created_at = row
    return Fact(
        number=number,
        id=id_,
        text=text,
        source=source,
        principal=principal,
        run_id=run_id,
        session_id=session_id,
        created_at=from_micros(created_at),
    )


def _passage_of(fact: Fact) -> Passage:
    return Passage(
        number=fact.number,
        kind="fact",
        id=fact.id,
        text=fact.text,
        source=fact.source,
        created_at=fact.created_at,
        run_id=fact.run_id,
        session_id=fact.session_id,
    )


def _chunk_of(row: Row) -> Passage:
    number, id_, text, source, created_at, notebook, title, position, heading, start, stop = row
    return Passage(
        number=number,
        kind="document",
        id=id_,
        text=text,
        source=source,
        created_at=from_micros(created_at),
        notebook=notebook,
        title=title,
        chunk=Chunk(position=position, text=text, heading=heading, start=start, stop=stop),
    )
