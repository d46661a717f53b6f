"""Runs on their way out and in, on SQLite; the promises are those of `agency.ports.transfers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.entry import Entry
from agency.domain.lineage import Outline
from agency.domain.run import ENDED, NewRun, Run, RunError, RunStatus
from agency.domain.transfer import (
    Arrival,
    EntryPart,
    EventPart,
    ExportForm,
    FilePart,
    MessagePart,
    Part,
    Receipt,
    WaitPart,
)
from agency.errors import (
    ExportTaken,
    ReceiptNotFound,
    RunChanged,
    RunEnded,
    RunEndWanted,
    RunIdTaken,
    RunNotFound,
    SnapshotSpent,
)
from agency.ports.store import Ending
from agency.storage.sqlite import endings, forms, holds, rows, starts
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_CHUNK_BYTES = 1 << 20
"""Entries that are put in with one statement: what is read ahead of them is held in memory."""
_SEEN = RunStatus.SUSPENDED


class SqliteTransfers:
    """Transfers in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def request_hash(self, run_id: str) -> str | None:
        """Read the hash of a run's request; see `TransferStore.request_hash`."""
        row = await self._readers.one("find_request_hash", (run_id,))
        if row is None:
            raise RunNotFound(run_id)
        found: str | None = row[0]
        return found

    async def entries(self, run: int, numbers: Sequence[int]) -> Sequence[EntryPart]:
        """Read entries by their numbers; see `TransferStore.entries`."""
        wanted = {"run": run, "numbers": encode(list(numbers)).decode()}
        found = await self._readers.all("load_parts", wanted)
        return [EntryPart(rows.entry_of(row[:-1]), bool(row[-1])) for row in found]

    async def messages(
        self, run: Run, *, after: int, until: datetime, limit: int
    ) -> Sequence[tuple[int, MessagePart]]:
        """Read a page of a session's messages; see `TransferStore.messages`."""
        found = await self._readers.all(
            "page_messages",
            {
                "run": run.number,
                "session_id": run.session_id,
                "after": after,
                "until": to_micros(until),
                "limit": limit,
            },
        )
        return [
            (
                position,
                MessagePart(
                    role=role,
                    content=decode(content),
                    created_at=from_micros(created_at),
                    is_own=bool(is_own),
                ),
            )
            for position, role, content, created_at, is_own in found
        ]

    async def events(
        self, run: int, *, after: int, to: int, limit: int
    ) -> Sequence[tuple[int, EventPart]]:
        """Read a page of a mailbox's untaken events; see `TransferStore.events`."""
        wanted = {"run": run, "after": after, "to": to, "limit": limit}
        return [
            (
                number,
                EventPart(
                    id=event_id,
                    name=name,
                    payload=decode(payload),
                    created_at=from_micros(created_at),
                ),
            )
            for number, event_id, name, payload, created_at in await self._readers.all(
                "page_untaken", wanted
            )
        ]

    async def newest_event(self, run: int) -> int:
        """Tell the newest event of a mailbox; see `TransferStore.newest_event`."""
        row = await self._readers.one("newest_event", (run,))
        assert row is not None
        number: int = row[0]
        return number

    async def move(self, seen: Outline, receipt: Receipt, *, now: datetime) -> Ending:
        """Store a receipt, and end its run; see `TransferStore.move`."""
        work = partial(_move, seen=seen, receipt=receipt, now=to_micros(now))
        ended = await self._writer.submit(work)
        return Ending(
            ended=[one.run_id for one in ended.ended], asked=ended.asked, wakes=ended.wakes
        )

    async def receipt(self, receipt_id: str) -> Receipt:
        """Read a receipt; see `TransferStore.receipt`."""
        row = await self._readers.one("find_receipt", (receipt_id,))
        if row is None:
            raise ReceiptNotFound(receipt_id)
        return _receipt_of(row)

    async def find_receipt(self, run_id: str) -> Receipt | None:
        """Find the receipt of a run; see `TransferStore.find_receipt`."""
        row = await self._readers.one("find_receipt_of_run", (run_id,))
        return None if row is None else _receipt_of(row)

    async def confirm(self, receipt_id: str, *, now: datetime) -> Receipt:
        """Note that a run has arrived; see `TransferStore.confirm`."""
        work = partial(_confirm, receipt_id=receipt_id, now=to_micros(now))
        return _receipt_of(await self._writer.submit(work))

    async def take_in(
        self, new: NewRun, arrival: Arrival, parts: Iterable[Part]
    ) -> tuple[Run, bool]:
        """Start a run with the parts of a file; see `TransferStore.take_in`."""
        self._space.check()
        work = partial(_take_in, form=forms.start_form(new), arrival=arrival, parts=parts)
        row, is_new = await self._writer.submit(work)
        return rows.run_of(row), is_new


def _move(tx: Transaction, *, seen: Outline, receipt: Receipt, now: int) -> endings.Ended:
    run_id = seen.run.id
    state = tx.one("find_state", (run_id,))
    if state is None:
        raise RunNotFound(run_id)
    number, _, status, _, newest = state
    if status in ENDED:
        raise RunEnded(run_id, status)
    if status != _SEEN or newest != receipt.snapshot_id:
        raise SnapshotSpent(receipt.snapshot_id, run_id, newest)
    wanted = tx.one("find_wanted_end", (number,))
    if wanted is not None:
        raise RunEndWanted(run_id, wanted[0])
    if tx.one("newest_event", (number,)) != (receipt.form.events_to,):
        raise RunChanged(run_id, status)
    # What a held run waits for is answered without waking it.
    seen_open = {wait.key for wait in seen.waits if wait.outcome is None}
    if {key for (key,) in tx.all("list_open_keys", (number,))} != seen_open:
        raise RunChanged(run_id, status)
    stored = (
        receipt.id,
        number,
        receipt.snapshot_id,
        receipt.hash,
        receipt.size_bytes,
        encode(asdict(receipt.form)),
        now,
    )
    tx.insert("add_receipt", stored)
    error = RunError(
        code="moved",
        message=f"Moved away; the receipt is {receipt.id}.",
        details={"receipt_id": receipt.id},
    )
    wakes = endings.end_now(
        tx, number, run_id, status=RunStatus.CANCELLED, error=forms.error_form(error), now=now
    )
    result = endings.Ended(ended=[rows.wake_of(number, run_id, RunStatus.CANCELLED)])
    result.wakes = wakes + endings.end_children(tx, run_id, now=now)
    result.wakes += holds.leave(tx, number)
    return result


def _confirm(tx: Transaction, *, receipt_id: str, now: int) -> Row:
    tx.change("confirm_receipt", {"id": receipt_id, "now": now})
    row = tx.one("find_receipt", (receipt_id,))
    if row is None:
        raise ReceiptNotFound(receipt_id)
    return row


def _take_in(
    tx: Transaction, *, form: forms.StartForm, arrival: Arrival, parts: Iterable[Part]
) -> tuple[Row, bool]:
    new = form.new
    known = tx.one("find_import", (arrival.hash,))
    if known is not None:
        run_id, was_move = known
        if was_move and arrival.is_move:
            raise ExportTaken(arrival.hash, run_id)
        row = tx.one("find_run_by_id", (run_id,))
        if row is not None and not (was_move or arrival.is_move or arrival.again):
            return row, False
    if arrival.is_move and tx.one("find_run_by_id", (new.id,)) is not None:
        raise RunIdTaken(new.id, new.id)
    has_session = new.session_id is not None and tx.one("find_session", (new.session_id,))
    number = starts.start(tx, form)
    if not isinstance(number, int):
        raise RunIdTaken(new.id, number[1])
    now = to_micros(new.created_at)
    _take_in_parts(tx, number, new, parts, has_session=bool(has_session), now=now)
    tx.change("begin_with_journal", {"number": number, "generation": arrival.generation})
    state = {"number": number, "attempt": arrival.attempt, "phase": arrival.phase}
    tx.change("begin_taken_in", state)
    tx.change("add_import", (arrival.hash, new.id, arrival.is_move, now))
    row = tx.one("find_run_by_id", (new.id,))
    assert row is not None
    return row, True


def _take_in_parts(
    tx: Transaction,
    number: int,
    new: NewRun,
    parts: Iterable[Part],
    *,
    has_session: bool,
    now: int,
) -> None:
    """Put in all parts; messages only if their session is not there already."""
    position = 0
    chunk: list[tuple[Any, ...]] = []
    size = 0
    for part in parts:
        match part:
            case EntryPart(entry=entry, is_void=is_void):
                chunk.append(_entry_row(tx, number, entry, is_void=is_void))
                size += len(entry.body)
                if size > _CHUNK_BYTES:
                    tx.many("take_in_entry", chunk)
                    chunk, size = [], 0
            case WaitPart():
                tx.insert("take_in_wait", _wait_row(tx, number, part))
            case MessagePart():
                if new.session_id is not None and not has_session:
                    tx.change("add_session", (new.session_id, now))
                    position += 1
                    tx.change(
                        "take_in_message",
                        {
                            "position": position,
                            "role": part.role,
                            "run": number if part.is_own else None,
                            "created_at": to_micros(part.created_at),
                            "content": tx.keep(encode(part.content)),
                            "session_id": new.session_id,
                        },
                    )
            case EventPart():
                at = to_micros(part.created_at)
                tx.one(
                    "insert_event",
                    (part.id, number, part.name, at, tx.keep(encode(part.payload))),
                )
            case FilePart(hash=version) if part.is_version and part.offset == 0:
                tx.change("add_version_of", {"run": number, "version": version})
            case FilePart():
                pass  # contents are kept outside of the database
    tx.many("take_in_entry", chunk)


def _entry_row(tx: Transaction, number: int, entry: Entry, *, is_void: bool) -> tuple[Any, ...]:
    return (
        number,
        int(entry.kind),
        to_micros(entry.at),
        int(is_void),
        entry.key,
        entry.meta,
        tx.keep(entry.body),
    )


def _wait_row(tx: Transaction, number: int, part: WaitPart) -> tuple[Any, ...]:
    wait = part.wait
    is_open = wait.outcome is None
    return (
        number,
        wait.key,
        wait.kind.value,
        wait.name,
        None if wait.due_at is None else to_micros(wait.due_at),
        wait.target,
        to_micros(wait.opened_at),
        None if wait.outcome is None else wait.outcome.value,
        None if wait.resolved_at is None else to_micros(wait.resolved_at),
        0 if is_open else tx.next_resolution(),
        None if wait.show is None else encode(wait.show),
        None if wait.payload is None else tx.keep(encode(wait.payload)),
    )


def _receipt_of(row: Row) -> Receipt:
    receipt_id, run_id, snapshot_id, digest, size_bytes, form, created_at, confirmed_at = row
    return Receipt(
        id=receipt_id,
        run_id=run_id,
        snapshot_id=snapshot_id,
        hash=digest,
        size_bytes=size_bytes,
        form=_form_of(decode(form)),
        created_at=from_micros(created_at),
        confirmed_at=None if confirmed_at is None else from_micros(confirmed_at),
    )


def _form_of(stored: dict[str, Any]) -> ExportForm:
    moments = {
        name: datetime.fromisoformat(stored[name]) for name in ("exported_at", "messages_until")
    }
    return ExportForm(**{**stored, **moments})
