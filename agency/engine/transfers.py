"""Export and import of runs, and moving them to another database.

A copy may be made of any run, and is brought in as a fork of it. A run that is moved ends here in
the transaction that writes its receipt; its file is made anew from what is stored whenever it is
fetched, always the same, until the arrival was confirmed. So nothing is lost if a connection dies
half way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from agency.core import ids
from agency.core.clock import Clock
from agency.core.limits import TRANSFER_BYTES_MAX
from agency.core.records import dataclass
from agency.domain.entry import Entry
from agency.domain.lineage import ForkPlan, Outline
from agency.domain.run import ENDED, NewRun, Run, RunError, RunStatus
from agency.domain.snapshot import Snapshot
from agency.domain.transfer import Arrival, EntryPart, ExportForm, FilePart, Part, Receipt, WaitPart
from agency.domain.wait import Wait
from agency.engine.export_file import (
    Checked,
    Digest,
    Parts,
    check,
    contents_of,
    end_line,
    head_line,
    part_line,
    run_line,
)
from agency.engine.plans import newest_of, plan_fork
from agency.engine.queues import Queues
from agency.engine.runs import Runs, StartRequest
from agency.errors import (
    ExportTooLarge,
    QueueFull,
    ReceiptConfirmed,
    RunChanged,
    RunEnded,
    ShuttingDown,
    SnapshotSpent,
)
from agency.ports.store import Store
from agency.ports.workspace import Luggage, Workspaces

log = logging.getLogger(__name__)

_PAGE_BYTES = 1 << 20
"""Of entries that are read at once: the memory that an export takes, and one entry more."""
_PAGE_ENTRIES = 500
_PAGE_ROWS = 50
FILES_BYTES_MAX = 32 << 20
"""Of a run's own files that go with it."""
_OTHERS_BYTES = 4 << 20
"""Left for waits, messages and events beside the files."""
_MOVE_TRIES = 5
"""So often a move is made ready anew when an event has come in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A file that is ready to be written."""

    outline: Outline
    form: ExportForm
    request_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportWish:
    """How a file is brought in.

    Attributes:
        is_copy: As a copy, also if the file is of a moved run.
        again: Make another copy although there is one of this file.
    """

    is_copy: bool = False
    again: bool = False
    principal: str = "local"
    correlation_id: str = ""


class Transfers:
    """Write runs to files, and bring them in."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        runs: Runs,
        queues: Queues,
        entries_max: int,
        files: Workspaces | None = None,
    ) -> None:
        """Hold the store, and the files of runs where there are some."""
        self._files = files
        self._store = store
        self._clock = clock
        self._runs = runs
        self._queues = queues
        self._entries_max = entries_max

    async def export_run(self, run_id: str) -> Export:
        """Make a copy of a run as it is now ready to be written.

        Raises:
            RunNotFound: there is none.
            ExportTooLarge: its file would be.
        """
        outline = await self._store.lineage.outline(run_id)
        plan = plan_fork(outline, newest_of(outline))
        return await self._export(outline, plan, snapshot_id=None)

    async def export_snapshot(self, snapshot_id: str) -> Export:
        """Make a copy of a run as it was at a snapshot ready to be written.

        Raises:
            SnapshotNotFound: there is none.
            ExportTooLarge: its file would be.
        """
        snapshot = await self._store.snapshots.get(snapshot_id)
        outline = await self._store.lineage.outline(snapshot.run_id)
        return await self._export(outline, _plan(outline, snapshot), snapshot_id=snapshot.id)

    async def export_moved(self, receipt_id: str) -> Export:
        """Make the file of a moved run ready to be written; it is the same each time.

        Raises:
            ReceiptNotFound: there is none.
            ReceiptConfirmed: its arrival was confirmed.
        """
        receipt = await self._store.transfers.receipt(receipt_id)
        if receipt.confirmed_at is not None:
            raise ReceiptConfirmed(receipt_id, receipt.run_id)
        outline = await self._store.lineage.outline(receipt.run_id)
        request_hash = await self._store.transfers.request_hash(receipt.run_id)
        return Export(outline=outline, form=receipt.form, request_hash=request_hash)

    async def lines(self, export: Export) -> AsyncIterator[bytes]:
        """Write a file, line by line; the memory that it takes is that of a page.

        Raises:
            ExportTooLarge: it grows beyond the limit.
        """
        digest = Digest()
        async for line in self._lines(export, digest):
            yield line
        yield end_line(digest)

    async def move(self, snapshot_id: str) -> Receipt:
        """Let a suspended run end here, to go on where its file is brought in.

        Asked for again, it gives the receipt of the first time.

        Raises:
            SnapshotNotFound, SnapshotSpent, RunEnded, RunEndWanted, RunChanged, ExportTooLarge,
            StoreFull.
        """
        snapshot = await self._store.snapshots.get(snapshot_id)
        for attempt in range(1, _MOVE_TRIES + 1):
            try:
                return await self._find_moved(snapshot) or await self._move(snapshot)
            except (RunEnded, SnapshotSpent):
                # By another move, perhaps, that was faster.
                earlier = await self._find_moved(snapshot)
                if earlier is None:
                    raise
                return earlier
            except RunChanged:
                if attempt == _MOVE_TRIES:
                    raise
        raise AssertionError(snapshot_id)

    async def _find_moved(self, snapshot: Snapshot) -> Receipt | None:
        receipt = await self._store.transfers.find_receipt(snapshot.run_id)
        return receipt if receipt is not None and receipt.snapshot_id == snapshot.id else None

    async def receipt(self, receipt_id: str) -> Receipt:
        """Read a receipt. Raises: ReceiptNotFound."""
        return await self._store.transfers.receipt(receipt_id)

    async def confirm(self, receipt_id: str) -> Receipt:
        """Note that a moved run has arrived; its file cannot be fetched after that.

        Raises:
            ReceiptNotFound: there is none.
        """
        receipt = await self._store.transfers.confirm(receipt_id, now=self._clock.now())
        told = {"run_id": receipt.run_id, "receipt_id": receipt_id}
        log.info("arrival of a moved run confirmed", extra=told)
        return receipt

    async def bring_in(self, file: BinaryIO, wish: ImportWish) -> tuple[Run, bool]:
        """Bring a run in from a file: check all of it, then store it in one transaction.

        Returns:
            The run, and whether it is new: a copy of a file that is here already is that copy.

        Raises:
            ExportCorrupt, ExportFormatUnknown, ExportTooLarge, WorkflowNotFound, InvalidInput,
            ExportTaken, RunIdTaken, NameTaken, SessionBusy, QueueFull, ShuttingDown, StoreFull.
        """
        if self._runs.is_closed:
            raise ShuttingDown
        checked = await asyncio.to_thread(check, file, entries_max=self._entries_max)
        if self._files is not None and checked.counts.get("file"):
            # Before the run is there, so that it never looks for what is on its way.
            await self._files.unpack(contents_of(file))
        is_move = checked.head.is_move and not wish.is_copy
        new = self._arriving(checked, wish, is_move=is_move)
        arrival = Arrival(
            hash=checked.hash,
            is_move=is_move,
            again=wish.again,
            # Children that it starts from now on are not those that were cancelled with the move.
            generation=checked.run.generation + (1 if is_move else 0),
            attempt=checked.run.attempt if is_move else 1,
            phase=checked.run.phase,
        )
        try:
            run, is_new = await self._store.transfers.take_in(new, arrival, Parts(file))
        except QueueFull as full:
            raise self._queues.explain_full(full) from None
        if is_new:
            self._runs.expect(run)
            told = {"run_id": run.id, "workflow": run.workflow, "is_move": is_move}
            log.info("run brought in", extra=told)
        return run, is_new

    # --- inside -----------------------------------------------------------------------------

    async def _export(self, outline: Outline, plan: ForkPlan, *, snapshot_id: str | None) -> Export:
        request_hash = await self._store.transfers.request_hash(outline.run.id)
        now = self._clock.now()
        form = ExportForm(
            exported_at=now,
            snapshot_id=snapshot_id,
            receipt_id=None,
            at=plan.at,
            dropped=plan.dropped,
            waits=plan.waits,
            open_waits=(),
            messages_until=plan.moment or outline.run.ended_at or now,
            events_to=0,
        )
        _check_size(outline, form)
        return Export(outline=outline, form=form, request_hash=request_hash)

    async def _move(self, snapshot: Snapshot) -> Receipt:
        detail = await self._store.runs.get(snapshot.run_id)
        if detail.run.status in ENDED:
            raise RunEnded(snapshot.run_id, detail.run.status)
        if detail.snapshot_id != snapshot.id:
            raise SnapshotSpent(snapshot.id, snapshot.run_id, detail.snapshot_id)
        outline = await self._store.lineage.outline(snapshot.run_id)
        run = outline.run
        plan = plan_fork(outline, newest_of(outline), is_move=True)
        is_open = {wait.key for wait in outline.waits if wait.outcome is None}
        now = self._clock.now()
        receipt_id = ids.new_id()
        form = ExportForm(
            exported_at=now,
            snapshot_id=snapshot.id,
            receipt_id=receipt_id,
            at=plan.at,
            dropped=plan.dropped,
            waits=plan.waits,
            open_waits=[key for key in plan.waits if key in is_open],
            messages_until=now,
            events_to=await self._store.transfers.newest_event(run.number),
        )
        request_hash = await self._store.transfers.request_hash(run.id)
        digest = Digest()
        export = Export(outline=outline, form=form, request_hash=request_hash)
        async for _ in self._lines(export, digest):
            pass  # only counted: what is written later is the same
        receipt = Receipt(
            id=receipt_id,
            run_id=run.id,
            snapshot_id=snapshot.id,
            hash=digest.hash,
            size_bytes=digest.size_bytes + len(end_line(digest)),
            form=form,
            created_at=now,
        )
        ending = await self._store.transfers.move(outline, receipt, now=now)
        self._runs.ended(
            ending,
            RunStatus.CANCELLED,
            RunError(code="cancelled", message="Cancelled: the run that has started it was moved."),
        )
        log.info("run moved away", extra={"run_id": run.id, "receipt_id": receipt_id})
        return receipt

    async def _lines(self, export: Export, digest: Digest) -> AsyncIterator[bytes]:
        """Write all lines but the last."""
        run, form = export.outline.run, export.form
        dropped = frozenset(form.dropped)
        kept = [
            (entry.number, entry.size_bytes)
            for entry in export.outline.entries
            if entry.number <= form.at and entry.number not in dropped
        ]
        newest = kept[-1][0] if kept else 0
        luggage = await self._pack(run, sum(size for _, size in kept))
        left_out = luggage.left_out_bytes
        yield digest.add(head_line(run, form, files_left_out_bytes=left_out))
        yield digest.add(run_line(run, export.request_hash, newest_entry=newest), "run")
        async for part in self._parts(export, kept):
            sort, line = part_line(part)
            yield digest.add(line, sort)
        async for part in self._file_parts(luggage):
            sort, line = part_line(part)
            yield digest.add(line, sort)

    async def _pack(self, run: Run, size_bytes: int) -> Luggage:
        """Choose what of the run's files goes with it, beside entries of that size."""
        if self._files is None:
            return Luggage()
        # In base64 four bytes stand for three; what else a run has is mostly small.
        room = (TRANSFER_BYTES_MAX - size_bytes - _OTHERS_BYTES) * 3 // 4
        luggage = await self._files.pack(run.id, bytes_max=max(0, min(FILES_BYTES_MAX, room)))
        if luggage.left_out_bytes:
            log.warning(
                "the files of a run do not go with it: they are too large",
                extra={"run_id": run.id, "bytes": luggage.left_out_bytes},
            )
        return luggage

    async def _file_parts(self, luggage: Luggage) -> AsyncIterator[Part]:
        """Read the files: contents first, then the versions in the order of their use."""
        assert self._files is not None or not luggage.versions
        versions = frozenset(luggage.versions)
        for hash in [*(one for one in luggage.contents if one not in versions), *luggage.versions]:
            assert self._files is not None
            offset = 0
            is_version = hash in versions
            async for piece in self._files.content(hash):
                yield FilePart(hash=hash, is_version=is_version, offset=offset, content=piece)
                offset += len(piece)
            if offset == 0:
                yield FilePart(hash=hash, is_version=is_version, offset=0, content=b"")

    async def _parts(self, export: Export, kept: Sequence[tuple[int, int]]) -> AsyncIterator[Part]:
        run, form = export.outline.run, export.form
        for numbers in _pages(kept):
            for part in await self._store.transfers.entries(run.number, numbers):
                yield _undated(part)
        is_open = frozenset(form.open_waits)
        for start in range(0, len(form.waits), _PAGE_ROWS):
            keys = form.waits[start : start + _PAGE_ROWS]
            for wait in await self._store.journal.waits(run.number, keys):
                yield WaitPart(_opened(wait) if wait.key in is_open else wait)
        if run.session_id is not None:
            async for message in self._messages(run, form):
                yield message
        if form.events_to:
            async for event in self._events(run, form):
                yield event

    async def _messages(self, run: Run, form: ExportForm) -> AsyncIterator[Part]:
        after, is_more = 0, True
        while is_more:
            page = await self._store.transfers.messages(
                run, after=after, until=form.messages_until, limit=_PAGE_ROWS
            )
            for _, message in page:
                yield message
            is_more = len(page) == _PAGE_ROWS
            after = page[-1][0] if page else 0

    async def _events(self, run: Run, form: ExportForm) -> AsyncIterator[Part]:
        after, is_more = 0, True
        while is_more:
            page = await self._store.transfers.events(
                run.number, after=after, to=form.events_to, limit=_PAGE_ROWS
            )
            for _, event in page:
                yield event
            is_more = len(page) == _PAGE_ROWS
            after = page[-1][0] if page else 0

    def _arriving(self, checked: Checked, wish: ImportWish, *, is_move: bool) -> NewRun:
        """Make the run of a file: the same one if it was moved, else a fork of it."""
        part = checked.run
        now = self._clock.now()
        span = None if part.deadline_at is None else part.deadline_at - part.created_at
        timeout_s = None if span is None or span.total_seconds() <= 0 else span.total_seconds()
        new = self._runs.prepare(
            StartRequest(
                workflow=part.workflow,
                input=part.input,
                session_id=None if part.session_id is None else ids.new_id(),
                correlation_id=wish.correlation_id,
                principal=wish.principal,
                tags=part.tags,
                priority=part.priority,
                timeout_s=timeout_s,
                queue=part.queue,
                concurrency_key=part.concurrency_key,
                max_attempts=part.max_attempts,
            )
        )
        new = replace(new, seed=part.seed, provider=part.provider)
        if not is_move:
            return replace(new, forked_from=part.id, forked_at=part.newest_entry)
        return replace(
            new,
            id=part.id,
            name=part.name,
            version=part.version,
            session_id=part.session_id,
            idempotency_key=part.idempotency_key,
            request_hash=part.request_hash,
            correlation_id=part.correlation_id,
            principal=part.principal,
            deadline_at=part.deadline_at,
            created_at=now,
        )


def _plan(outline: Outline, snapshot: Snapshot) -> ForkPlan:
    open_keys = frozenset(wait.key for wait in snapshot.waits)
    return plan_fork(outline, snapshot.entry_number, open_keys=open_keys)


def _check_size(outline: Outline, form: ExportForm) -> None:
    """Refuse a file that is too large before anything of it is sent.

    Raises:
        ExportTooLarge: entries and waits alone are too large.
    """
    dropped = frozenset(form.dropped)
    size = sum(
        entry.size_bytes
        for entry in outline.entries
        if entry.number <= form.at and entry.number not in dropped
    )
    if size > TRANSFER_BYTES_MAX:
        raise ExportTooLarge(TRANSFER_BYTES_MAX)


def _opened(wait: Wait) -> Wait:
    """A wait as it was while it was open, whatever has become of it here."""
    return replace(wait, outcome=None, payload=None, resolved_at=None)


def _pages(kept: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    page: list[int] = []
    size = 0
    for number, size_bytes in kept:
        if page and (size + size_bytes > _PAGE_BYTES or len(page) >= _PAGE_ENTRIES):
            yield page
            page, size = [], 0
        page.append(number)
        size += size_bytes
    if page:
        yield page


def _undated(part: EntryPart) -> EntryPart:
    """Leave out what only its own database knows: the claim and the number."""
    entry = part.entry
    return EntryPart(Entry(entry.key, entry.kind, entry.body, entry.at, entry.meta), part.is_void)
