"""Recall: what is found by its words and what is found by its meaning, in one order.

When the embedding model is away, or a collection has no vectors yet, words alone are searched, and
the answer says so: a memory that finds less is better than none, and worse than one that admits it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from agency.domain.memory import (
    QUERY_CHARACTERS_MAX,
    RECALLED_ROWS_MAX,
    Collection,
    Recalled,
    Recollection,
)
from agency.errors import Fault, InvalidInput
from agency.memory.embedding import AWAY, WAIT_S, Embedder
from agency.memory.fusion import fuse
from agency.ports.memory import PassageStore

WORDS, MEANING = "words", "meaning"

CANDIDATES_MIN = 50
"""Results of each way before they are put in one order; three times as many as wanted, if that is
more: what only one way finds far behind may be what both find."""

COSINE_MIN = 0.2
"""What points less the same way has nothing to do with the question, for any common model."""

_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "how", "i",
        "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "that", "the", "their",
        "this", "to", "was", "we", "what", "when", "where", "which", "who", "why", "will", "with",
        "you", "your",
    }
)  # fmt: skip
"""Words that nearly each English text has; a question of nothing else is searched for them all."""


async def recall(
    store: PassageStore,
    embedder: Embedder,
    collections: Sequence[Collection],
    query: str,
    *,
    limit: int,
) -> Recollection:
    """Find passages of some collections.

    Args:
        limit: 1 to `RECALLED_ROWS_MAX`.

    Raises:
        InvalidInput: the question is empty or too long.
    """
    query = query.strip()
    if not query or len(query) > QUERY_CHARACTERS_MAX:
        what = f"A question has 1 to {QUERY_CHARACTERS_MAX} characters; this has {len(query)}."
        raise InvalidInput(what, faults=[Fault("/query", what)])
    limit = max(1, min(limit, RECALLED_ROWS_MAX))
    most = max(CANDIDATES_MIN, 3 * limit)
    numbers = [one.number for one in collections]
    by_words = await store.find_words(numbers, words_of(query), limit=most)
    by_meaning, notes = await _by_meaning(store, embedder, collections, query, limit=most)
    fused = fuse({WORDS: [by_words], MEANING: by_meaning})
    passages = await store.passages([number for number, _, _ in fused])
    known = {one.number: one for one in passages}
    found = [
        Recalled(passage=known[number], score=round(score, 6), found_by=ways)
        for number, score, ways in fused
        if number in known
    ]
    return Recollection(found=found[:limit], notes=notes)


def words_of(query: str) -> list[str]:
    """Choose the words of a question that are searched for."""
    words = _WORD.findall(query)
    telling = [word for word in words if word.casefold() not in _COMMON]
    return telling or words


async def _by_meaning(
    store: PassageStore,
    embedder: Embedder,
    collections: Sequence[Collection],
    query: str,
    *,
    limit: int,
) -> tuple[list[list[int]], list[str]]:
    """Search vectors, those of each model apart: cosines of two models say nothing together."""
    orders: list[list[int]] = []
    notes: list[str] = []
    by_model: dict[str, list[Collection]] = {}
    for one in collections:
        if one.model:
            by_model.setdefault(one.model, []).append(one)
    for model, members in by_model.items():
        try:
            async with asyncio.timeout(WAIT_S):
                vector = await embedder.query(members[0], query)
        except TimeoutError:
            notes.append(f"Searched by words only: {model} has not answered in {WAIT_S:g} s.")
            continue
        except AWAY as error:
            notes.append(f"Searched by words only: {error.message}")
            continue
        scored: list[tuple[float, int]] = []
        for one in members:
            if len(vector) != one.dimension:
                notes.append(
                    f"{model} gives vectors of {len(vector)} numbers now, and those that are kept "
                    f"have {one.dimension}: replace them with `agency memory reembed`."
                )
                continue
            near = await store.nearest(one.number, era=one.era, vector=vector, limit=limit)
            scored += [(score, number) for number, score in near if score >= COSINE_MIN]
        orders.append([number for _, number in sorted(scored, key=lambda one: (-one[0], one[1]))])
    if any(not one.model for one in collections):
        notes.append("Some texts have no vectors yet and are found by their words only.")
    return orders, list(dict.fromkeys(notes))
