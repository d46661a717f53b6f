"""Reading journals on SQLite; the promises are those of `agency.ports.store.JournalStore`."""

from __future__ import annotations

from collections.abc import Sequence

from agency.core.json import encode
from agency.domain.entry import Entry, EntryKind
from agency.domain.wait import Wait
from agency.errors import RunNotFound
from agency.ports.store import Journal, Void
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import entry_of, wait_of

_ENTRY_COLUMNS = 7


class SqliteJournal:
    """Journals in a SQLite database."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def load(self, number: int) -> Journal:
        """Read the whole journal of a run; see `JournalStore.load`."""
        found = await self._readers.all("load_journal", (number,))
        # By number, which is the order of recording; the index gives them by key.
        found.sort(key=lambda row: (row[0], row[1]))
        entries = [entry_of(row[1 : 1 + _ENTRY_COLUMNS]) for row in found if row[0] == 0]
        waits = [wait_of(row[1:]) for row in found if row[0] == 1]
        voids = [Void(row[2], EntryKind(row[3]), row[1]) for row in found if row[0] == 2]
        return Journal(entries, waits, voids)

    async def waits(self, number: int, keys: Sequence[str]) -> Sequence[Wait]:
        """Read the waits of the given keys; see `JournalStore.waits`."""
        parameters = {"run": number, "keys": encode(list(keys)).decode()}
        return [wait_of(row) for row in await self._readers.all("list_waits_of", parameters)]

    async def entries(self, run_id: str, *, after: int, limit: int) -> Sequence[Entry]:
        """Read a page of a run's entries; see `JournalStore.entries`."""
        parameters = {"run_id": run_id, "after": after, "limit": limit}
        found = await self._readers.all("page_entries", parameters)
        if not found:
            raise RunNotFound(run_id)
        return [entry_of(row) for row in found if row[0] is not None]
