"""Sagas on SQLite; the promises are those of `agency.ports.saga.SagaStore`."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from agency.core.clock import to_micros
from agency.domain.entry import EntryKind
from agency.domain.run import RunKind, RunStatus
from agency.errors import CompensationNotFailed, NameTaken, RunNotFound
from agency.ports.store import Wake
from agency.storage.sqlite import holds
from agency.storage.sqlite.rows import wake_of
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import Writer


class SqliteSagas:
    """Sagas in a SQLite database."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def retry_compensation(self, run_id: str, *, now: datetime) -> Wake:
        """Let a run take back what it could not; see `SagaStore.retry_compensation`."""
        return await self._writer.submit(partial(_retry, run_id=run_id, now=to_micros(now)))


def _retry(tx: Transaction, run_id: str, now: int) -> Wake:
    row = tx.one("find_saga", (run_id,))
    if row is None:
        raise RunNotFound(run_id)
    number, kind, status, name, epoch, error, session_id, key, parent_id = row
    if kind != RunKind.SAGA or status != RunStatus.COMPENSATION_FAILED:
        raise CompensationNotFailed(run_id, kind, status)
    if name is not None and (holder := tx.one("find_live_name", (name,))) is not None:
        raise NameTaken(name, holder[0])
    tx.change("supersede_failed_compensations", (number,))
    if tx.one("find_turn", (number,)) is None:
        # A fault of the engine has ended it before it could write down why it compensates.
        body = b'{"phase":"compensating","status":"failed","error":%b}' % (error or b"null")
        entry = (number, epoch, int(EntryKind.PHASE), now, "!compensating#1", None, body)
        tx.change("insert_entry", entry)
    tx.change("retry_compensation", {"number": number, "now": now})
    holds.take_again(tx, number, holds.wanted_by(session_id, key), parent_id=parent_id)
    return wake_of(number, run_id, RunStatus.PENDING)
