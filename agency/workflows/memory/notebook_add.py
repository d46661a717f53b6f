"""``notebook_add``: a stored document is split, and its pieces get vectors, as a durable run.

The pieces of a document come out the same each time and are stored once each, and vectors are made
for what has none: so a run that was interrupted goes on where it was. Its words are found as soon
as it is split; when the model server is away, the run waits for it.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from agency.core.records import dataclass
from agency.domain.run import RunKind
from agency.engine.codec import codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.errors import CollectionChanged
from agency.memory.embedding import BATCH_TEXTS
from agency.memory.memories import Memories

NAME = "notebook_add"
VERSION = "1"

CHUNKS_AT_ONCE = 200
"""Pieces that are stored in one transaction: others wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddInput:
    """Which document: its notebook, and its id there."""

    # A misspelt member would else be dropped in silence.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    notebook: Annotated[str, Field(min_length=1, max_length=128)]
    document_id: Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOutput:
    """Into how many pieces the document was split, and the model of their vectors."""

    document_id: str
    passages: int
    model: str


class NotebookAdd:
    """Adds documents to notebooks."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def definition(self) -> Definition:
        """The workflow ``notebook_add``."""
        return Definition(
            name=NAME,
            kind=RunKind.FUNCTION,
            version=VERSION,
            description="Splits a document of a notebook and makes it searchable.",
            run=self.run,
            takes_input=True,
            input_codec=codec_for(AddInput),
            output_codec=codec_for(AddOutput),
        )

    async def run(self, ctx: Context, task: AddInput) -> AddOutput:
        """Split the document and embed what has no vector.

        Raises:
            StepFailed: the document is gone, or the model cannot embed.
        """
        split = functools.partial(self._split, task)
        passages = await ctx.perform(StepCall(name="split", function=split))
        done, after, model = 0, 0, ""
        while True:
            embed = functools.partial(self._embed, task, after)
            batch = await ctx.perform(StepCall(name="embed", function=embed, retry=MODEL_RETRY))
            if not batch["count"]:
                break
            done, after, model = done + batch["count"], batch["last"], batch["model"]
            ctx.progress(min(done, passages), passages)
        return AddOutput(document_id=task.document_id, passages=passages, model=model)

    async def _split(self, task: AddInput) -> int:
        store = self._memories.notebooks
        known = await store.document(task.notebook, task.document_id)
        if known.passages is not None:
            return known.passages
        chunks = await self._memories.split(task.document_id)
        for start in range(0, max(1, len(chunks)), CHUNKS_AT_ONCE):
            part = chunks[start : start + CHUNKS_AT_ONCE]
            is_last = start + CHUNKS_AT_ONCE >= len(chunks)
            await store.add_chunks(task.document_id, part, is_last=is_last)
        return len(chunks)

    async def _embed(self, task: AddInput, after: int) -> dict[str, Any]:
        memories = self._memories
        # Gone with its notebook or document: then there is nothing left to be done.
        await memories.notebooks.document(task.notebook, task.document_id)
        notebook = await memories.notebooks.get(task.notebook)
        collection = await memories.passages.find_collection("notebook", notebook.id)
        assert collection is not None
        try:
            count, last = await memories.embedder.fill(
                collection,
                era=collection.era,
                model=collection.model,
                limit=BATCH_TEXTS,
                after=after,
            )
        except CollectionChanged:
            # Another model has come in between; who has brought it goes over everything.
            count, last = 0, after
        return {
            "count": count,
            "last": last,
            "model": collection.model or memories.embedder.model(),
        }
