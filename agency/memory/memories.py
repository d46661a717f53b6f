"""All of memory, as tools, workflows and doors use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from agency.config.schema import Memory as Settings
from agency.core.clock import Clock
from agency.core.ids import new_id
from agency.domain.memory import (
    Asker,
    Chunk,
    Collection,
    Document,
    Isolation,
    Notebook,
    Recollection,
    Scope,
    check_notebook_name,
    scope_of,
)
from agency.errors import NotebookNotFound
from agency.memory.chunks import split
from agency.memory.core import CoreMemory
from agency.memory.documents import read_document
from agency.memory.embedding import Embedder
from agency.memory.facts import Facts
from agency.memory.recall import recall
from agency.ports.memory import CoreStore, NotebookStore, PassageStore
from agency.ports.model import Roles

NOTEBOOKS_SEARCHED_MAX = 50
"""Notebooks that one question goes to; of more, the first by name."""

SWEEP_ROWS = 500
"""Rows that are deleted in one transaction."""
SWEEPS_AT_ONCE = 10
"""Transactions in which a deletion tidies up after itself; the rest is done with retention."""


def plain(text: str) -> str:
    """Hand a text back as it is: where there are no secrets."""
    return text


class Memories:
    """Core memory, facts, recall and notebooks.

    Attributes:
        core: Core memory.
        facts: Facts.
        embedder: Makes vectors.
        passages: Where texts and vectors are.
        notebooks: Where notebooks are.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        core: CoreStore,
        passages: PassageStore,
        notebooks: NotebookStore,
        roles: Roles,
        redact: Callable[[str], str] = plain,
    ) -> None:
        """Put memory together. ``redact`` takes secrets out of what is to be remembered."""
        self._settings = settings
        self._clock = clock
        self._redact = redact
        self.embedder = Embedder(roles, passages)
        self.core = CoreMemory(
            core, clock, characters_max=settings.core_characters_max, redact=redact
        )
        self.facts = Facts(
            passages, self.embedder, clock, facts_max=settings.facts_max, redact=redact
        )
        self.passages = passages
        self.notebooks = notebooks

    def scope(self, asker: Asker) -> Scope:
        """Find whose memory somebody has, as ``[memory] isolation`` says."""
        return scope_of(asker, Isolation(self._settings.isolation))

    async def core_of(self, asker: Asker) -> str:
        """Write the core memory for a prompt; empty when there is none."""
        return await self.core.render(self.scope(asker))

    # --- recall

    async def recall(
        self,
        asker: Asker,
        query: str,
        *,
        limit: int | None = None,
        notebook: str | None = None,
    ) -> Recollection:
        """Find what an agent knows: its facts, and what the notebooks say that it may see.

        Args:
            limit: Results; None for ``[memory] recall_results``.
            notebook: Only what this one says.

        Raises:
            InvalidInput: the question is empty or too long.
            NotebookNotFound: there is no notebook of that name, or not for this agent.
        """
        collections = await self._seen(asker, notebook)
        return await recall(
            self.passages,
            self.embedder,
            collections,
            query,
            limit=limit or self._settings.recall_results,
        )

    async def search(self, notebook: str, query: str, *, limit: int | None = None) -> Recollection:
        """Find what a notebook says; for people, who see all of them.

        Raises:
            InvalidInput, NotebookNotFound.
        """
        found = await self.notebooks.get(notebook)
        collections = [await self._collection("notebook", found.id)]
        return await recall(
            self.passages,
            self.embedder,
            [one for one in collections if one is not None],
            query,
            limit=limit or self._settings.recall_results,
        )

    async def _seen(self, asker: Asker, notebook: str | None) -> list[Collection]:
        shared = await self.notebooks.seen_by(asker.agent, limit=NOTEBOOKS_SEARCHED_MAX)
        found: list[Collection | None] = []
        if notebook is None:
            found.append(await self._collection("facts", self.scope(asker).key))
        else:
            shared = [one for one in shared if one.name == notebook]
            if not shared:
                raise NotebookNotFound(notebook)
        found += [await self._collection("notebook", one.id) for one in shared if one.documents]
        return [one for one in found if one is not None]

    async def _collection(self, kind: str, owner: str) -> Collection | None:
        return await self.passages.find_collection(kind, owner)

    # --- notebooks

    async def add_notebook(
        self, name: str, *, description: str, agents: Sequence[str], by: str
    ) -> Notebook:
        """Make a notebook.

        Raises:
            InvalidInput: it cannot have that name.
            NotebookExists, TooManyNotebooks.
        """
        check_notebook_name(name)
        return await self.notebooks.add(
            name,
            id=new_id(),
            description=description,
            agents=list(dict.fromkeys(agents)),
            by=by,
            now=self._clock.now(),
        )

    async def add_document(
        self,
        notebook: str,
        data: bytes,
        *,
        title: str,
        source: str,
        media_type: str,
        principal: str,
    ) -> tuple[Document, bool]:
        """Store a document; the run ``notebook_add`` splits it and makes vectors.

        Returns:
            The document, and whether it is new.

        Raises:
            NotebookNotFound, DocumentTooLarge, DocumentUnreadable, TooManyDocuments, StoreFull.
        """
        await self.notebooks.get(notebook)
        new = await asyncio.to_thread(
            read_document,
            data,
            title=title,
            source=source,
            media_type=media_type,
            principal=principal,
            bytes_max=self._settings.document_bytes_max,
        )
        redacted = await asyncio.to_thread(self._redact, new.text)
        return await self.notebooks.add_document(
            notebook,
            replace(new, text=redacted),
            documents_max=self._settings.documents_max,
            now=self._clock.now(),
        )

    async def split(self, document_id: str) -> list[Chunk]:
        """Split a document that is stored.

        Raises:
            DocumentNotFound: it is gone.
        """
        text = await self.notebooks.text(document_id)
        return await asyncio.to_thread(
            split,
            text,
            tokens_max=self._settings.chunk_tokens,
            overlap_tokens=self._settings.chunk_overlap_tokens,
        )

    async def delete_notebook(self, name: str) -> None:
        """Delete a notebook with its documents.

        Raises:
            NotebookNotFound: there is none of that name.
        """
        await self.notebooks.delete(name, now=self._clock.now())
        await self.sweep()

    async def delete_document(self, notebook: str, document_id: str) -> None:
        """Delete a document.

        Raises:
            NotebookNotFound, DocumentNotFound: there is none.
        """
        await self.notebooks.delete_document(notebook, document_id, now=self._clock.now())
        await self.sweep()

    async def sweep(self) -> None:
        """Tidy up after deletions, as far as that is done soon."""
        for _ in range(SWEEPS_AT_ONCE):
            if not await self.passages.sweep(rows_max=SWEEP_ROWS):
                return
