"""Snapshots on SQLite; the promises are those of `agency.ports.store.SnapshotStore`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agency.domain.snapshot import Snapshot
from agency.errors import SnapshotLive, SnapshotNotFound
from agency.ports.store import SnapshotFilter
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import snapshot_of
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import Writer


class SqliteSnapshots:
    """Snapshots in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def get(self, snapshot_id: str) -> Snapshot:
        """Read one snapshot; see `SnapshotStore.get`."""
        row = await self._readers.one("get_snapshot", (snapshot_id,))
        if row is None:
            raise SnapshotNotFound(snapshot_id)
        return snapshot_of(row)

    async def list(
        self, which: SnapshotFilter, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        """Read snapshots, newest first; see `SnapshotStore.list`."""
        parameters = {
            "run_id": which.run_id,
            "run_name": which.run_name,
            "reason": which.reason,
            "before": before,
            "limit": limit,
        }
        is_of_runs = which.run_id is not None or which.run_name is not None
        statement = "list_snapshots_of_runs" if is_of_runs else "list_snapshots"
        return [snapshot_of(row) for row in await self._readers.all(statement, parameters)]

    async def delete(self, snapshot_id: str) -> None:
        """Delete a snapshot; see `SnapshotStore.delete`."""
        await self._writer.submit(partial(_delete, snapshot_id=snapshot_id))


def _delete(tx: Transaction, *, snapshot_id: str) -> None:
    row = tx.one("snapshot_state", (snapshot_id,))
    if row is None:
        raise SnapshotNotFound(snapshot_id)
    run_id, is_live, is_newest = row
    if is_live and is_newest:
        raise SnapshotLive(snapshot_id, run_id)
    tx.change("delete_snapshot", (snapshot_id,))
