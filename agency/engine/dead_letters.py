"""Dead letters: runs that have used up their attempts, to be requeued or discarded."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.domain.run import Run, RunStatus
from agency.engine.lineage import Lineage, Preview, RetryWish
from agency.errors import AgencyError, NotADeadLetter, ShuttingDown, StoreBroken, StoreFull
from agency.ports.store import RunDetail, RunFilter, Store

log = logging.getLogger(__name__)

SWEPT_RUNS_MAX = 500
"""Dead letters that one request looks at: it ends in a few seconds, and says where to go on."""
_BATCH_RUNS = 25
"""So many are asked for at once; they share commits, and others find their turn between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters are meant; None means any.

    Attributes:
        code: Code of the error that they have ended with: ``crash``, ``error`` …
    """

    workflow: str | None = None
    queue: str | None = None
    code: str | None = None

    def has(self, run: Run) -> bool:
        """Tell whether a dead letter is meant."""
        code = run.error.code if run.error is not None else ""
        return (self.queue is None or run.queue == self.queue) and self.code in (None, code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What came of a request for many.

    Attributes:
        done: How many were requeued or discarded.
        refused: How many were not, by the code of the reason.
        before: Number to go on from; None when all were looked at.
    """

    done: int
    refused: Mapping[str, int]
    before: int | None


class DeadLetters:
    """See dead letters, requeue them, or give them up."""

    def __init__(self, *, store: Store, clock: Clock, lineage: Lineage) -> None:
        self._store = store
        self._clock = clock
        self._lineage = lineage

    async def list(self, which: DeadFilter, *, before: int | None, limit: int) -> Sequence[Run]:
        """Read dead letters, newest first.

        Up to `SWEPT_RUNS_MAX` are looked at for a page of those that the filter means.
        """
        found: list[Run] = []
        looked = 0
        while len(found) < limit and looked < SWEPT_RUNS_MAX:
            rows = await self._page(which, before, limit)
            found += [run for run in rows if which.has(run)]
            looked += len(rows)
            if len(rows) < limit:
                break
            before = rows[-1].number
        return found[:limit]

    async def get(self, run_id: str) -> RunDetail:
        """Read one dead letter.

        Raises:
            RunNotFound, NotADeadLetter.
        """
        detail = await self._store.runs.get(run_id)
        if detail.run.status is not RunStatus.DEAD_LETTER:
            raise NotADeadLetter(run_id, detail.run.status)
        return detail

    async def requeue(self, run_id: str, wish: RetryWish, *, dry_run: bool = False) -> Preview:
        """Let a dead letter go on from what has failed.

        Raises:
            RunNotFound, NotADeadLetter; and as `Lineage.retry`.
        """
        await self.get(run_id)
        return await self._lineage.retry(run_id, wish, dry_run=dry_run)

    async def discard(self, run_id: str, *, principal: str, dry_run: bool = False) -> RunDetail:
        """Give a dead letter up: it is cancelled, and its error says who has discarded it.

        Raises:
            RunNotFound, NotADeadLetter.
        """
        if dry_run:
            return await self.get(run_id)
        await self._discard(run_id, principal)
        return await self._store.runs.get(run_id)

    async def requeue_all(
        self, which: DeadFilter, wish: RetryWish, *, before: int | None, dry_run: bool = False
    ) -> Swept:
        """Requeue those that the filter means, up to a bound; each stands for itself."""

        async def requeue(run: Run) -> None:
            await self._lineage.retry(run.id, wish, dry_run=dry_run)

        return await self._sweep(which, requeue, before)

    async def discard_all(
        self, which: DeadFilter, *, principal: str, before: int | None, dry_run: bool = False
    ) -> Swept:
        """Give up those that the filter means, up to a bound; each stands for itself."""

        async def discard(run: Run) -> None:
            if not dry_run:
                await self._discard(run.id, principal)

        return await self._sweep(which, discard, before)

    async def _discard(self, run_id: str, principal: str) -> None:
        now = self._clock.now()
        await self._store.lineage.discard(run_id, principal=principal, now=now)
        self._lineage.changed(run_id)
        log.info("dead letter discarded", extra={"run_id": run_id, "principal": principal})

    async def _sweep(
        self, which: DeadFilter, deal_with: Callable[[Run], Awaitable[None]], before: int | None
    ) -> Swept:
        """Deal with dead letters, newest first, those before a number.

        Raises:
            ShuttingDown, StoreFull, StoreBroken: those that were dealt with stay so.
        """
        done = looked = 0
        refused: Counter[str] = Counter()
        while looked < SWEPT_RUNS_MAX:
            rows = await self._page(which, before, _BATCH_RUNS)
            if not rows:
                return Swept(done=done, refused=refused, before=None)
            looked += len(rows)
            before = rows[-1].number
            meant = [run for run in rows if which.has(run)]
            outcomes = await asyncio.gather(*(_tried(deal_with(run)) for run in meant))
            for reason in outcomes:
                if reason is None:
                    done += 1
                else:
                    refused[reason.code] += 1
        return Swept(done=done, refused=refused, before=before)

    async def _page(self, which: DeadFilter, before: int | None, limit: int) -> Sequence[Run]:
        statuses = frozenset({RunStatus.DEAD_LETTER})
        meant = RunFilter(statuses=statuses, workflow=which.workflow)
        return await self._store.runs.list(meant, before=before, limit=limit)


async def _tried(work: Awaitable[None]) -> AgencyError | None:
    """Give the reason why one of many was refused; what stops all of them is raised."""
    try:
        await work
    except (ShuttingDown, StoreFull, StoreBroken):
        raise
    except AgencyError as error:
        return error
    return None
