"""Where memory is kept: core memory, passages with their words and vectors, notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agency.domain.memory import (
    Block,
    Chunk,
    Collection,
    Document,
    Fact,
    NewBlock,
    NewDocument,
    NewFact,
    Notebook,
    Passage,
    Scope,
)


class CoreStore(Protocol):
    """Core memory in all its versions. Each method is one atomic transaction."""

    async def blocks(self, scope: Scope) -> Sequence[Block]:
        """Read the newest version of each block that was not removed, by name."""
        ...

    async def history(
        self, scope: Scope, name: str, *, before: int | None, limit: int
    ) -> Sequence[Block]:
        """Read versions of a block, the newest first, those below ``before``."""
        ...

    async def version(self, scope: Scope, name: str, version: int) -> Block:
        """Read one version.

        Raises:
            BlockNotFound: there is none, or it is forgotten.
        """
        ...

    async def made_by(self, scope: Scope, call_key: str) -> Block | None:
        """Find the version that a call of a tool has made."""
        ...

    async def change(self, scope: Scope, new: NewBlock, *, now: datetime) -> Block:
        """Record a version of a block.

        A ``call_key`` that is known already changes nothing: what it has made comes back. So does
        a text that the newest version has.

        Raises:
            BlockChanged: the newest version is not the expected one.
            TooManyBlocks: there are `CORE_BLOCKS_MAX` others.
        """
        ...


class PassageStore(Protocol):
    """Texts that are found by their words and by their vectors. Each method is one transaction."""

    async def find_collection(self, kind: str, owner: str) -> Collection | None:
        """Read a collection, or None before its first text."""
        ...

    async def collections(self, *, after: int, limit: int) -> Sequence[Collection]:
        """Read collections by number, those above ``after``."""
        ...

    async def count(self, collection: int, *, era: int) -> tuple[int, int]:
        """Count the passages of a collection, and those of them that have no vector in an era."""
        ...

    async def add_fact(
        self, scope: Scope, new: NewFact, *, facts_max: int, now: datetime
    ) -> tuple[Fact, Collection, bool]:
        """Remember a fact; its words are searched from now on.

        A ``call_key`` that is known already changes nothing: what it has made comes back. So does
        the text that is there already.

        Returns:
            The fact, its collection, and whether it is new.

        Raises:
            MemoryFull: the scope has ``facts_max`` facts.
        """
        ...

    async def facts(self, scope: Scope, *, before: int | None, limit: int) -> Sequence[Fact]:
        """Read facts, the newest first, those with a number below ``before``."""
        ...

    async def forget(self, scope: Scope, fact_id: str) -> None:
        """Forget a fact, its words and its vector.

        Raises:
            FactNotFound: the scope has none of that id.
        """
        ...

    async def without_vector(
        self, collection: int, *, era: int, limit: int, after: int = 0
    ) -> Sequence[tuple[int, str]]:
        """Read passages that have no vector in an era, with their texts, by number.

        Those with a number up to ``after`` are left out.
        """
        ...

    async def add_vectors(
        self,
        collection: int,
        *,
        era: int,
        model: str,
        rows: Sequence[tuple[int, Sequence[float]]],
    ) -> None:
        """Store vectors of unit length; those of passages that are gone are left out.

        The first ones of an era say of which model and width all others must be.

        Raises:
            EmbeddingsDiffer: they are of another model or width; nothing was stored.
            CollectionChanged: the era is over.
        """
        ...

    async def begin_era(self, collection: int, model: str) -> int:
        """Begin to replace all vectors by those of a model; goes on with what was begun for it.

        Until `end_era` the old ones are searched.

        Returns:
            The era of the new ones.

        Raises:
            CollectionChanged: the collection is gone.
        """
        ...

    async def end_era(self, collection: int, *, era: int) -> bool:
        """Search the vectors of ``era`` from now on, if each passage has one; tell whether so."""
        ...

    async def find_words(
        self, collections: Sequence[int], words: Sequence[str], *, limit: int
    ) -> Sequence[int]:
        """Find passages that have some of the words, those that fit best first (BM25)."""
        ...

    async def nearest(
        self, collection: int, *, era: int, vector: Sequence[float], limit: int
    ) -> Sequence[tuple[int, float]]:
        """Find the passages whose vectors point most nearly the same way, with their cosines.

        Exact for small collections; among many vectors the best are looked for by their signs
        first, which may miss some.
        """
        ...

    async def passages(self, numbers: Sequence[int]) -> Sequence[Passage]:
        """Read passages with where they are from, in any order; those that are gone are missing."""
        ...

    async def sweep(self, *, rows_max: int) -> int:
        """Delete rows of what was deleted or replaced, and tell how many; 0 when all is done."""
        ...


class NotebookStore(Protocol):
    """Notebooks and their documents. Each method is one atomic transaction."""

    async def add(
        self, name: str, *, id: str, description: str, agents: Sequence[str], by: str, now: datetime
    ) -> Notebook:
        """Make a notebook.

        Raises:
            NotebookExists: there is one of that name.
            TooManyNotebooks: there are as many as there may be.
        """
        ...

    async def get(self, name: str) -> Notebook:
        """Read one.

        Raises:
            NotebookNotFound: there is none of that name.
        """
        ...

    async def list(self, *, after: str | None, limit: int) -> Sequence[Notebook]:
        """Read notebooks by name, those after the name ``after``."""
        ...

    async def seen_by(self, agent: str, *, limit: int) -> Sequence[Notebook]:
        """Read the notebooks that are shared with an agent, by name."""
        ...

    async def change(
        self, name: str, *, description: str | None, agents: Sequence[str] | None
    ) -> Notebook:
        """Change what a notebook is about, or whom it is shared with; None leaves it.

        Raises:
            NotebookNotFound: there is none of that name.
        """
        ...

    async def delete(self, name: str, *, now: datetime) -> None:
        """Delete a notebook; nothing of it is found any more. `PassageStore.sweep` tidies up.

        Raises:
            NotebookNotFound: there is none of that name.
        """
        ...

    async def add_document(
        self, notebook: str, new: NewDocument, *, documents_max: int, now: datetime
    ) -> tuple[Document, bool]:
        """Store a document as it was given; the same again is the one that is there.

        Returns:
            The document, and whether it is new.

        Raises:
            NotebookNotFound: there is none of that name.
            TooManyDocuments: it has ``documents_max``.
        """
        ...

    async def document(self, notebook: str, document_id: str) -> Document:
        """Read one document, without its text.

        Raises:
            NotebookNotFound, DocumentNotFound: there is none.
        """
        ...

    async def text(self, document_id: str) -> str:
        """Read a document's text, as it was given.

        Raises:
            DocumentNotFound: it is gone.
        """
        ...

    async def documents(
        self, notebook: str, *, before: int | None, limit: int
    ) -> Sequence[Document]:
        """Read documents, the newest first, those with a number below ``before``.

        Raises:
            NotebookNotFound: there is none of that name.
        """
        ...

    async def add_chunks(
        self, document_id: str, chunks: Sequence[Chunk], *, is_last: bool
    ) -> Collection:
        """Store pieces of a document; a position that is there already stays as it is.

        ``is_last`` says that with these all are there.

        Raises:
            DocumentNotFound: it is gone.
        """
        ...

    async def delete_document(self, notebook: str, document_id: str, *, now: datetime) -> None:
        """Delete a document; nothing of it is found any more. `PassageStore.sweep` tidies up.

        Raises:
            NotebookNotFound, DocumentNotFound: there is none.
        """
        ...
