"""Versions of workspaces on SQLite; the promises are those of `agency.ports.workspace`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agency.errors import RunNotFound
from agency.ports.workspace import VersionRow
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import Writer


class SqliteVersions:
    """Which versions the runs of a SQLite database refer to."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, run_id: str, version: str) -> None:
        """Note that a run refers to a version; see `VersionStore.add`."""
        await self._writer.submit(partial(_add, run_id=run_id, version=version))

    async def newest(self, run_id: str) -> str | None:
        """Read which version a run has used last; see `VersionStore.newest`."""
        row = await self._readers.one("find_newest_version", (run_id,))
        return None if row is None else row[0]

    async def used(self, run_id: str, *, limit: int) -> Sequence[str]:
        """Read which versions a run has used; see `VersionStore.used`."""
        rows = await self._readers.all("list_versions_of", (run_id, limit))
        return [version for (version,) in rows]

    async def list(self, *, after: int, limit: int) -> Sequence[VersionRow]:
        """Read the versions that runs refer to; see `VersionStore.list`."""
        rows = await self._readers.all("list_versions", {"after": after, "limit": limit})
        return [VersionRow(*row) for row in rows]

    async def is_live(self, run_id: str) -> bool:
        """Tell whether there is such a run, and it has not ended; see `VersionStore.is_live`."""
        return await self._readers.one("find_live_run", (run_id,)) is not None


def _add(tx: Transaction, *, run_id: str, version: str) -> None:
    named = {"run": run_id, "version": version}
    tx.change("forget_version", named)
    if tx.change("add_version", named) == 0:
        raise RunNotFound(run_id)
