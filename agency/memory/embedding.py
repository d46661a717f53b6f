"""Vectors of texts, by the model that a collection has, and never by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from agency.domain.memory import Collection
from agency.errors import (
    ContextTooLong,
    ModelBusy,
    ModelCrashed,
    ModelInterrupted,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelTimedOut,
    ModelUnavailable,
)
from agency.ports.memory import PassageStore
from agency.ports.model import Embedded, Role, Roles

BATCH_TEXTS = 32
"""Texts of one call: more keep others from the lane for seconds, on a processor without a card."""

WAIT_S = 20.0
"""Whoever remembers or recalls waits this long for vectors, and does without them then."""

SHORTEST_CHARACTERS = 200
"""A text that the model calls too long is cut in half for its vector, down to here."""

AWAY = (
    ModelUnavailable,
    ModelInterrupted,
    ModelBusy,
    ModelTimedOut,
    ModelNotFound,
    ModelRefused,
    ModelCrashed,
    ModelReplyBroken,
    ContextTooLong,
)
"""What keeps a model from giving vectors, now or of this text."""

_DOCUMENT, _QUERY = "document", "query"
PREFIXES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "nomic-embed-text": {_DOCUMENT: "search_document: ", _QUERY: "search_query: "},
        "mxbai-embed-large": {
            _DOCUMENT: "",
            _QUERY: "Represent this sentence for searching relevant passages: ",
        },
    }
)
"""What some models were taught to find in front of a text. Source: their model cards."""


class Embedder:
    """Makes vectors for collections."""

    def __init__(self, roles: Roles, passages: PassageStore) -> None:
        self._roles = roles
        self._passages = passages

    def model(self) -> str:
        """Name the model that new collections get, as ``PROVIDER/MODEL``."""
        return str(self._roles.choices(Role.EMBED)[0])

    def named(self, model: str) -> str:
        """Name a model as ``PROVIDER/MODEL``."""
        return str(self._roles.choices(Role.EMBED, model=model)[0])

    async def query(self, collection: Collection, text: str) -> Sequence[float]:
        """Make the vector of a question to a collection.

        Raises:
            AgencyError: one of `AWAY`, or the question is too long for the model.
        """
        found = await self._ask([text], collection.model, _QUERY)
        return found.vectors[0]

    async def fill(
        self, collection: Collection, *, era: int, model: str, limit: int, after: int = 0
    ) -> tuple[int, int]:
        """Give vectors to passages that have none.

        Args:
            model: Empty for whichever the role gives, which becomes the collection's.
            limit: Passages at most.
            after: Number of a passage behind which to begin.

        Returns:
            How many were given one, and the number of the last of them, 0 if there was none.

        Raises:
            AgencyError: one of `AWAY`.
            EmbeddingsDiffer: the model gives vectors of another width than it did.
            CollectionChanged: the era is over.
        """
        rows = await self._passages.without_vector(
            collection.number, era=era, limit=min(limit, BATCH_TEXTS), after=after
        )
        if not rows:
            return 0, 0
        found = await self._documents([text for _, text in rows], model)
        await self._passages.add_vectors(
            collection.number,
            era=era,
            # One that was named is asked, and no other.
            model=model or f"{found.provider}/{found.model}",
            rows=[(number, one) for (number, _), one in zip(rows, found.vectors, strict=True)],
        )
        return len(rows), rows[-1][0]

    async def _documents(self, texts: Sequence[str], model: str) -> Embedded:
        try:
            return await self._ask(texts, model, _DOCUMENT)
        except ContextTooLong:
            if len(texts) > 1:
                # One of them is to blame, and the others must not wait for it for ever.
                apart = [await self._documents([text], model) for text in texts]
                vectors = [one.vectors[0] for one in apart]
                first = apart[0]
                return Embedded(vectors=vectors, provider=first.provider, model=first.model)
            (text,) = texts
            if len(text) <= SHORTEST_CHARACTERS:
                raise
            # Its words are all found; only its meaning is that of its beginning.
            return await self._documents([text[: len(text) // 2]], model)

    async def _ask(self, texts: Sequence[str], model: str, kind: str) -> Embedded:
        prefix = _prefix_of(model or self.model(), kind)
        return await self._roles.embed([prefix + text for text in texts], model=model)


def _prefix_of(model: str, kind: str) -> str:
    name = model.rpartition("/")[2].partition(":")[0]
    return PREFIXES.get(name, {}).get(kind, "")
