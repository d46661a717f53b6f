"""The store on SQLite: one file, one writer thread, a few readers, one daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from agency.config.schema import Store as StoreSettings
from agency.core.clock import Clock, monotonic_s
from agency.errors import ShuttingDown, StoreBroken, StoreFull
from agency.storage.sqlite import place, upkeep
from agency.storage.sqlite.approvals import SqliteApprovals
from agency.storage.sqlite.connections import SqliteConnections
from agency.storage.sqlite.core import SqliteCore
from agency.storage.sqlite.definitions import SqliteDefinitions
from agency.storage.sqlite.fitness import SqliteFitness
from agency.storage.sqlite.journal import SqliteJournal
from agency.storage.sqlite.lineage import SqliteLineage
from agency.storage.sqlite.log import Log
from agency.storage.sqlite.mail import SqliteMail
from agency.storage.sqlite.maintenance import SqliteUpkeep
from agency.storage.sqlite.notebooks import SqliteNotebooks
from agency.storage.sqlite.passages import SqlitePassages
from agency.storage.sqlite.peers import SqlitePeers
from agency.storage.sqlite.pushes import SqlitePushes
from agency.storage.sqlite.queues import SqliteQueues
from agency.storage.sqlite.readers import Readers, open_readers
from agency.storage.sqlite.runs import SqliteRuns
from agency.storage.sqlite.sagas import SqliteSagas
from agency.storage.sqlite.schedules import SqliteSchedules
from agency.storage.sqlite.secrets import SqliteSecrets
from agency.storage.sqlite.sessions import SqliteSessions
from agency.storage.sqlite.snapshots import SqliteSnapshots
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.tasks import SqliteTasks
from agency.storage.sqlite.tokens import SqliteTokens
from agency.storage.sqlite.topics import SqliteTopics
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.transfers import SqliteTransfers
from agency.storage.sqlite.updates import SqliteUpdates
from agency.storage.sqlite.versions import SqliteVersions
from agency.storage.sqlite.writer import Writer, open_writer

FULL_KNOWN_S = 2.0
"""A write that found no room counts this long: there may be room again, and nobody has tried."""


class SqliteStore:
    """Everything that is kept, in one SQLite file; see `agency.ports.store.Store`.

    Attributes:
        broken: Set once what the disk holds is unknown; the process must end then, and recover.
    """

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        space: Space,
        broken: asyncio.Event,
        *,
        path: Path,
        log: Log,
    ) -> None:
        self.runs = SqliteRuns(writer, readers, space)
        self.journal = SqliteJournal(readers)
        self.mail = SqliteMail(writer, readers, space)
        self.snapshots = SqliteSnapshots(writer, readers)
        self.sessions = SqliteSessions(writer, readers, space)
        self.tokens = SqliteTokens(writer, readers)
        self.secrets = SqliteSecrets(writer, readers, space)
        self.core = SqliteCore(writer, readers, space)
        self.passages = SqlitePassages(writer, readers, space)
        self.notebooks = SqliteNotebooks(writer, readers, space)
        self.lineage = SqliteLineage(writer, readers, space)
        self.transfers = SqliteTransfers(writer, readers, space)
        self.approvals = SqliteApprovals(writer, readers)
        self.topics = SqliteTopics(writer, readers, space)
        self.updates = SqliteUpdates(writer, readers)
        self.queues = SqliteQueues(writer, readers)
        self.schedules = SqliteSchedules(writer, readers, space)
        self.upkeep = SqliteUpkeep(writer, readers, path, log)
        self.definitions = SqliteDefinitions(writer, readers, space)
        self.sagas = SqliteSagas(writer)
        self.versions = SqliteVersions(writer, readers)
        self.connections = SqliteConnections(writer, readers, space)
        self.fitness = SqliteFitness(writer, readers, space)
        self.tasks = SqliteTasks(writer, readers, space)
        self.pushes = SqlitePushes(writer, readers, space)
        self.peers = SqlitePeers(writer, readers, space)
        self.broken = broken
        self._writer = writer
        self._readers = readers
        self._space = space

    async def check(self, *, timeout_s: float) -> bool:
        """Tell whether a read and an empty write both get through in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._readers.one("check_read")
                await self._writer.submit(_nothing)
        except StoreFull:
            # A full disk is a state that the store gets through, not one that a restart mends.
            return True
        except (TimeoutError, StoreBroken, ShuttingDown):
            return False
        return True

    def has_room(self) -> bool:
        """Tell whether new work would be taken, as far as anybody knows."""
        since_full_s = monotonic_s() - self._writer.full_at_s
        return since_full_s >= FULL_KNOWN_S and self._space.has_enough()


def _nothing(_: Transaction) -> None:
    """Write nothing: that the writer comes to it is all that is asked."""


@asynccontextmanager
async def open_store(
    path: Path, *, settings: StoreSettings, clock: Clock
) -> AsyncIterator[SqliteStore]:
    """Open the database, made and migrated as needed, for this process alone.

    Leaving carries out what was handed in, refuses the rest and leaves one tidy file.

    The process should call ``sys.setswitchinterval(1e-4)`` before: with the interpreter's own 5 ms
    a coroutine that computes between its awaits starves the writer's thread.

    Args:
        path: The database file; its folder is the data directory, locked while the store is open.
        settings: Section ``[store]``.
        clock: Dates migrations and backups.

    Raises:
        DataDirectoryLocked: another process has the data directory.
        NetworkFileSystem: the data directory does not lie on a local disk.
        SchemaNewer, MigrationChanged: the database is from another Agency.
        DatabaseForeign: the file is another program's.
    """
    broken = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(place.locked(path.parent))
        connect = partial(upkeep.connect, path, settings=settings, clock=clock)
        log = Log(path, bytes_max=settings.log_bytes_max)
        writer = await stack.enter_async_context(
            open_writer(connect, on_broken=broken.set, log_beside=log)
        )
        readers = await stack.enter_async_context(
            open_readers(
                path,
                connections=settings.readers,
                timeout_s=settings.read_timeout_s,
                on_broken=broken.set,
            )
        )
        log.reading_s = readers.oldest_s
        space = Space(path.parent, free_bytes_min=settings.free_bytes_min)
        yield SqliteStore(writer, readers, space, broken, path=path, log=log)
