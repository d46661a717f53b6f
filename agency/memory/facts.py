"""Facts: what is worth knowing later, remembered in a sentence or two."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from agency.core.clock import Clock
from agency.core.ids import new_id
from agency.domain.memory import FACT_CHARACTERS_MAX, Collection, Fact, NewFact, Scope
from agency.errors import CollectionChanged, EmbeddingsDiffer, Fault, InvalidInput
from agency.memory.embedding import AWAY, BATCH_TEXTS, WAIT_S, Embedder
from agency.ports.memory import PassageStore

log = logging.getLogger(__name__)


class Facts:
    """Remembers and forgets."""

    def __init__(
        self,
        store: PassageStore,
        embedder: Embedder,
        clock: Clock,
        *,
        facts_max: int,
        redact: Callable[[str], str],
    ) -> None:
        """Take the store.

        Args:
            facts_max: Of one scope.
            redact: Takes secrets out of a text.
        """
        self._store = store
        self._embedder = embedder
        self._clock = clock
        self._facts_max = facts_max
        self._redact = redact

    async def remember(
        self,
        scope: Scope,
        text: str,
        *,
        source: str,
        principal: str,
        run_id: str | None = None,
        session_id: str | None = None,
        call_key: str | None = None,
    ) -> tuple[Fact, bool, str]:
        """Remember a fact; the same twice is once.

        It is remembered before its vector is made: without one it is found by its words, and gets
        one together with the next fact.

        Returns:
            The fact, whether it is new, and why it is found by its words only, or empty.

        Raises:
            InvalidInput: the text is empty or too long.
            MemoryFull: there are as many as there may be.
        """
        text = self._redact(text).strip()
        if not text or len(text) > FACT_CHARACTERS_MAX:
            what = f"A fact has 1 to {FACT_CHARACTERS_MAX} characters; this one has {len(text)}."
            raise InvalidInput(what, faults=[Fault("/text", what)])
        new = NewFact(
            id=new_id(),
            text=text,
            source=self._redact(source),
            principal=principal,
            run_id=run_id,
            session_id=session_id,
            call_key=call_key,
        )
        fact, collection, is_new = await self._store.add_fact(
            scope, new, facts_max=self._facts_max, now=self._clock.now()
        )
        return fact, is_new, await self._fill(collection)

    async def list(self, scope: Scope, *, before: int | None, limit: int) -> Sequence[Fact]:
        """Read facts, the newest first."""
        return await self._store.facts(scope, before=before, limit=limit)

    async def forget(self, scope: Scope, fact_id: str) -> None:
        """Forget a fact.

        Raises:
            FactNotFound: this memory has none of that id.
        """
        await self._store.forget(scope, fact_id)

    async def _fill(self, collection: Collection) -> str:
        """Give vectors to the new fact and to such as had to do without; tell what went wrong."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._embedder.fill(
                    collection, era=collection.era, model=collection.model, limit=BATCH_TEXTS
                )
        except TimeoutError:
            return f"The embedding model has not answered within {WAIT_S:g} s."
        except CollectionChanged:
            # Another model has come in between, and goes over all facts itself.
            return ""
        except AWAY as error:
            log.info("fact has no vector yet", extra={"reason": error.message})
            return error.message
        except EmbeddingsDiffer as error:
            log.warning("fact gets no vector", extra={"reason": error.message})
            return f"{error.message} {error.hint}"
        return ""
