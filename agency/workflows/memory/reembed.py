"""``memory_reembed``: vectors replaced by those of another model, as a durable run.

Each collection keeps being searched by its old vectors until it has all of the new ones; the change
is one commit. What has the model already only gets the vectors that are missing.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from agency.core.records import dataclass
from agency.domain.memory import Collection
from agency.domain.run import RunKind
from agency.engine.codec import codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.errors import CollectionChanged
from agency.memory.embedding import BATCH_TEXTS
from agency.memory.memories import Memories

NAME = "memory_reembed"
VERSION = "1"

PAGE_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ReembedInput:
    """``model`` is ``MODEL`` or ``PROVIDER/MODEL``; None for that of the settings."""

    # A misspelt member would else be dropped in silence.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReembedOutput:
    """How many collections were looked at, and how many vectors were made."""

    model: str
    collections: int
    vectors: int


class MemoryReembed:
    """Replaces vectors."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def definition(self) -> Definition:
        """The workflow ``memory_reembed``."""
        return Definition(
            name=NAME,
            kind=RunKind.FUNCTION,
            version=VERSION,
            description="Gives all memories and notebooks vectors of one model.",
            run=self.run,
            takes_input=True,
            input_codec=codec_for(ReembedInput),
            output_codec=codec_for(ReembedOutput),
            concurrency=1,
        )

    async def run(self, ctx: Context, task: ReembedInput) -> ReembedOutput:
        """Go over all collections, one after the other.

        Raises:
            StepFailed: the model cannot embed.
        """
        plan = await ctx.perform(
            StepCall(name="plan", function=functools.partial(self._plan, task.model))
        )
        model, total, done = plan["model"], plan["passages"], 0
        collections, after = 0, 0
        while True:
            begin = functools.partial(self._begin, model, after)
            found = await ctx.perform(StepCall(name="begin", function=begin))
            if found is None:
                break
            collections, after = collections + 1, found["collection"]
            done += await self._fill(ctx, found, model, done=done, total=total)
        return ReembedOutput(model=model, collections=collections, vectors=done)

    async def _fill(
        self, ctx: Context, found: dict[str, Any], model: str, *, done: int, total: int
    ) -> int:
        made, last = 0, 0
        while True:
            embed = functools.partial(self._embed, found, model, last)
            batch: dict[str, int] = await ctx.perform(
                StepCall(name="embed", function=embed, retry=MODEL_RETRY)
            )
            made, last = made + batch["count"], batch["last"]
            if not batch["count"]:
                break
            ctx.progress(min(done + made, total), total)
        if found["is_next"]:
            end = functools.partial(self._end, found)
            # What was added meanwhile lies behind; what was passed over cannot be.
            if not await ctx.perform(StepCall(name="end", function=end)):
                made += await self._fill(ctx, found, model, done=done + made, total=total)
        return made

    async def _plan(self, model: str | None) -> dict[str, Any]:
        memories = self._memories
        wanted = memories.embedder.named(model) if model else memories.embedder.model()
        passages, after = 0, 0
        while page := await memories.passages.collections(after=after, limit=PAGE_ROWS):
            for one in page:
                era = one.era if one.model in {"", wanted} else one.next_era
                passages += (await memories.passages.count(one.number, era=era))[1]
            after = page[-1].number
        return {"model": wanted, "passages": passages}

    async def _begin(self, model: str, after: int) -> dict[str, Any] | None:
        store = self._memories.passages
        page = await store.collections(after=after, limit=1)
        if not page:
            return None
        (collection,) = page
        is_next = collection.model not in {"", model}
        era = collection.era
        if is_next:
            try:
                era = await store.begin_era(collection.number, model)
            except CollectionChanged:  # deleted meanwhile
                is_next = False
        return {"collection": collection.number, "era": era, "is_next": is_next}

    async def _embed(self, found: dict[str, Any], model: str, after: int) -> dict[str, Any]:
        memories = self._memories
        page = await memories.passages.collections(after=found["collection"] - 1, limit=1)
        if not page or page[0].number != found["collection"]:
            return {"count": 0, "last": after}
        collection: Collection = page[0]
        try:
            count, last = await memories.embedder.fill(
                collection, era=found["era"], model=model, limit=BATCH_TEXTS, after=after
            )
        except CollectionChanged:
            return {"count": 0, "last": after}
        return {"count": count, "last": last or after}

    async def _end(self, found: dict[str, Any]) -> bool:
        try:
            is_done = await self._memories.passages.end_era(found["collection"], era=found["era"])
        except CollectionChanged:
            return True
        if is_done:
            await self._memories.sweep()
        return is_done
