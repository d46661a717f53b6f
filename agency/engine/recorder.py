"""Commits what a claimed run records, together with what was kept for the next commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from agency.domain.entry import Entry
from agency.domain.message import NewMessage
from agency.domain.run import NewRun, Phase, Run, RunError
from agency.domain.wait import NewWait, Wait, WaitKind
from agency.engine import foreign
from agency.engine.journal import JournalView
from agency.engine.ledger import Ledger
from agency.engine.parts import Parts
from agency.engine.patience import until_read
from agency.engine.suspension import Dropped
from agency.errors import Fenced, JournalFull, ShuttingDown, StoreBroken, StoreFull
from agency.ports.store import Claim, Writes

log = logging.getLogger(__name__)

STORE_FULL_PAUSE_S = 1.0
"""Pause before a commit is tried again that found no room on the disk."""
PROGRESS_FLUSH_S = 0.5
"""Progress is committed by itself after this, if it cannot ride with another commit."""
WAIT_FLUSH_S = 0.02
"""The same for a wait that was reached while another branch is busy."""
_WARN_SHARE = 0.8


class Recorder:
    """Writes for one claim.

    What belongs to several branches is committed by a task of its own, so that a branch that is
    cancelled in the middle does not take the others' part of it along. All is handed to the store
    in the order of the calls: what such a task has not yet handed over is never overtaken.

    Attributes:
        claim: The claim that is written for.
        journal: What is recorded so far, as far as it is looked up again.
        is_bounded: The limit of the journal holds; not for what has to be taken back.
        is_lost: The claim is over; nothing can be recorded any more.
    """

    def __init__(
        self,
        parts: Parts,
        run: Run,
        *,
        on_resolved: Callable[[Wait], None],
        on_lost: Callable[[], None],
        on_broken: Callable[[Exception], None],
    ) -> None:
        self._parts = parts
        self._on_resolved = on_resolved
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._ledger = Ledger()
        self._commits: set[asyncio.Task[None]] = set()
        self._unbegun = 0
        self._flush: asyncio.TimerHandle | None = None
        self._has_warned = False
        self._room = asyncio.Lock()
        self.claim = Claim(run.number, run.id, run.epoch)
        self.journal = JournalView(None)
        self.is_bounded = True
        self.is_lost = False

    @property
    def is_waiting_for_room(self) -> bool:
        """Something of this run has found no room, and may not be overtaken."""
        return self._room.locked()

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be committed, and no commit is under way."""
        return self._ledger.is_empty and not self._commits and not self._room.locked()

    @property
    def kept_waits(self) -> Sequence[NewWait]:
        """Waits that ride with the next commit."""
        return self._ledger.waits

    def keep(
        self,
        *,
        entry: Entry | None = None,
        wait: NewWait | None = None,
        child: NewRun | None = None,
    ) -> None:
        """Keep something for the next commit.

        Raises:
            JournalFull: the run has used up its entries.
        """
        if entry is not None:
            self._count(1)
            self.journal.add(entry)
        self._ledger.add(entry=entry, wait=wait, child=child)

    def set_progress(self, progress: Any) -> None:  # noqa: ANN401  JSON value
        """Keep progress for the next commit; if none comes soon, commit it by itself."""
        self._ledger.set_progress(progress)
        self.flush_within(PROGRESS_FLUSH_S)

    def forget(self, path: str) -> set[str]:
        """Forget kept waits and children of a branch that has lost; gives their keys."""
        return self._ledger.forget(path)

    async def commit(
        self,
        *entries: Entry,
        messages: Sequence[NewMessage] = (),
        closed_waits: Sequence[str] = (),
    ) -> None:
        """Make entries durable, with everything that was kept for the next commit.

        When the disk is full it waits until there is room: the result is held in memory. If the
        caller is cancelled, what it handed in is recorded all the same.

        Raises:
            JournalFull: the run has used up its entries.
            Dropped: the claim is over.
        """
        self._count(len(entries))
        if closed_waits or self._unbegun or not self._ledger.is_empty:
            writes = self.take(entries, messages=messages, closed_waits=closed_waits)
            await asyncio.shield(self._begin(self._commit(writes)))
            return
        # The common case, by the shortest way: nothing of it is anybody else's.
        claim, parts = self.claim, self._parts
        writes = Writes(entries=entries, messages=messages)
        if self.is_waiting_for_room:
            await self._record(writes)
            parts.recorded(claim.run_id)
            return
        try:
            await parts.store.runs.record(claim, writes, now=parts.clock.now())
        except (StoreFull, Fenced, ShuttingDown, StoreBroken):
            await self._record(writes)
        parts.recorded(claim.run_id)

    async def barrier(self) -> None:
        """Return when all that was handed in before is recorded, and read it into the journal.

        Raises:
            Dropped: the claim is over.
        """
        await self._record(Writes())
        load = self._parts.store.journal.load
        self.journal.absorb(await until_read(lambda: load(self.claim.number)))

    async def begin_compensation(self, entry: Entry, cause: RunError | None) -> None:
        """Record that the run takes back what it has done, and why.

        What branches that were cut off had kept for the next commit is forgotten. From here on the
        limit of the journal does not hold.

        Raises:
            Dropped: the claim is over.
        """
        self.forget("")
        self.is_bounded = False
        writes = replace(self.take((entry,)), phase=Phase.COMPENSATING, cause=cause)
        await self._record(writes)
        self._parts.recorded(self.claim.run_id)

    async def settle(self) -> None:
        """Wait for the commits that are under way, and for those that begin meanwhile."""
        while self._commits:
            await asyncio.wait(set(self._commits))

    def take(
        self,
        entries: Sequence[Entry] = (),
        *,
        messages: Sequence[NewMessage] = (),
        closed_waits: Sequence[str] = (),
    ) -> Writes:
        """Hand out everything that was kept, followed by what is given."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        return self._ledger.take(entries, messages=messages, closed_waits=closed_waits)

    def put_back(self, writes: Writes) -> None:
        """Keep again what could not be committed."""
        self._ledger.put_back(writes)

    def note(self, writes: Writes) -> None:
        """Take note of what was just committed: what comes due, and which waits are open."""
        now = self._parts.clock.now()
        for wait in writes.waits:
            self.journal.open_wait(wait, now)
            if wait.due_at is not None:
                self._parts.expect(wait.due_at)
            if wait.kind is WaitKind.RESOURCE:
                self._parts.expect_resource(wait.target)
        for child in writes.children:
            if child.deadline_at is not None:
                self._parts.expect(child.deadline_at)
        if writes.children:
            self._parts.nudge()

    def flush_within(self, delay_s: float) -> None:
        """Commit what is kept by itself, if nothing else of the run is committed before."""
        loop = asyncio.get_running_loop()
        if self._flush is not None:
            if self._flush.when() <= loop.time() + delay_s:
                return
            self._flush.cancel()
        self._flush = loop.call_later(delay_s, self._start_flush)

    async def until_room(self, transaction: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """Carry out a transaction, again and again while the disk has no room.

        What comes after one that has found no room waits behind it, in the order of the calls.

        Raises:
            Dropped: the claim is over, or the store is.
        """
        try:
            if not self.is_waiting_for_room:
                try:
                    return await transaction()
                except StoreFull:
                    log.warning("no room to record", extra={"run_id": self.claim.run_id})
            async with self._room:
                return await _insist(transaction)
        except (Fenced, ShuttingDown, StoreBroken):
            self.is_lost = True
            self._on_lost()
            raise Dropped from None

    async def _commit(self, writes: Writes) -> None:
        resolved = await self._record(writes)
        if writes.waits or writes.children:
            self.note(writes)
        for wait in resolved:
            self._on_resolved(wait)
        if any(self._is_of_topic(key) for key in writes.closed_waits):
            self._parts.spread()
        self._parts.recorded(self.claim.run_id)

    def _is_of_topic(self, key: str) -> bool:
        wait = self.journal.waits.get(key)
        return wait is not None and wait.kind is WaitKind.EVENT and wait.target != ""

    async def _record(self, writes: Writes) -> Sequence[Wait]:
        resolved: Sequence[Wait] = await self.until_room(
            lambda: self._parts.store.runs.record(self.claim, writes, now=self._parts.clock.now())
        )
        return resolved

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def commit() -> None:
            self._unbegun -= 1
            await work

        self._unbegun += 1
        task = asyncio.get_running_loop().create_task(commit(), name=f"{self.claim.run_id}:commit")
        self._commits.add(task)
        task.add_done_callback(self._committed)
        return task

    def _committed(self, task: asyncio.Task[None]) -> None:
        self._commits.discard(task)
        if not task.cancelled():
            task.exception()  # whoever awaited it may have been cancelled

    def _start_flush(self) -> None:
        self._flush = None
        if not self._ledger.is_empty and not self.is_lost:
            self._begin(self._flush_now())

    async def _flush_now(self) -> None:
        if self._ledger.is_empty:
            return  # it has ridden with another commit meanwhile, perhaps the last of this claim
        outcome = await foreign.attempt(self._commit(self.take()))
        if isinstance(outcome, foreign.Raised):
            self._on_broken(outcome.error)

    def _count(self, added: int) -> None:
        entries_max = self._parts.settings.journal_entries_max
        if self.journal.count + added > entries_max and self.is_bounded:
            raise JournalFull(self.claim.run_id, entries_max)
        self.journal.count += added
        if not self._has_warned and self.journal.count > entries_max * _WARN_SHARE:
            self._has_warned = True
            log.warning(
                "journal nearly full",
                extra={
                    "run_id": self.claim.run_id,
                    "entries": self.journal.count,
                    "max": entries_max,
                },
            )


async def _insist(transaction: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
    while True:
        try:
            return await transaction()
        except StoreFull:
            await asyncio.sleep(STORE_FULL_PAUSE_S)
