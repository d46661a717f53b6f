"""A small pool of read-only connections for short reads.

Each answer is one statement, read to its end in one hop to a reader's thread, and one that takes
too long is cut off: so no reader keeps the write-ahead log from being copied for long.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import quote

import aiosqlite

from agency.core.clock import monotonic_s
from agency.errors import ReadTooLong, ShuttingDown, StoreBroken
from agency.storage.sqlite import faults
from agency.storage.sqlite.statements import load_statements
from agency.storage.sqlite.transaction import Parameters, Row

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Reader:
    """A connection, and whose turn it is."""

    connection: aiosqlite.Connection
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Readers:
    """Reads by named statements; what was committed before the call is seen."""

    def __init__(
        self,
        connections: list[aiosqlite.Connection],
        *,
        timeout_s: float,
        on_broken: Callable[[], None],
    ) -> None:
        self._turns = cycle([_Reader(connection) for connection in connections])
        self._timeout_s = timeout_s
        self._since_s: dict[_Reader, float] = {}
        self._statements = load_statements()
        self._on_broken = on_broken
        self._is_closed = False

    async def all(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement and take all its rows.

        Raises:
            ShuttingDown: the store was closed.
            StoreBroken: the database cannot be read.
            ReadTooLong: it was cut off.
        """
        if self._is_closed:
            raise ShuttingDown
        reader = next(self._turns)
        # One at a time, so that what is cut off is surely the one that is late.
        async with reader.turn:
            self._since_s[reader] = monotonic_s()
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._read(reader.connection, name, parameters)
            except (TimeoutError, asyncio.CancelledError) as error:
                await reader.connection.interrupt()
                if isinstance(error, TimeoutError):
                    log.warning("a read was cut off", extra={"statement": name})
                    raise ReadTooLong(self._timeout_s) from error
                raise
            finally:
                del self._since_s[reader]

    async def _read(
        self, connection: aiosqlite.Connection, name: str, parameters: Parameters
    ) -> list[Row]:
        try:
            # A list at run time; the annotation of aiosqlite promises less.
            rows = await connection.execute_fetchall(self._statements[name], parameters)
        except sqlite3.DatabaseError as error:
            if not faults.is_fatal(error):
                raise
            self._on_broken()
            raise StoreBroken(f"The database could not be read: {error}.") from error
        return cast("list[Row]", rows)

    async def one(self, name: str, parameters: Parameters = ()) -> Row | None:
        """Run a statement that answers with one row at most.

        Raises:
            ShuttingDown, StoreBroken: as `all`.
        """
        rows = await self.all(name, parameters)
        return rows[0] if rows else None

    def oldest_s(self) -> float:
        """Tell for how long the oldest read has been under way, or 0; from any thread."""
        since_s = min(list(self._since_s.values()), default=None)
        return 0.0 if since_s is None else monotonic_s() - since_s

    def close(self) -> None:
        """Refuse what comes from now on."""
        self._is_closed = True


@asynccontextmanager
async def open_readers(
    path: Path, *, connections: int, timeout_s: float, on_broken: Callable[[], None]
) -> AsyncIterator[Readers]:
    """Open the pool; the database must have its schema.

    Args:
        path: The database.
        connections: How many, 1 or more.
        timeout_s: Longest read.
        on_broken: Called when the database cannot be read.
    """
    address = f"file:{quote(str(path))}?mode=ro"
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(connections):
            connection = await stack.enter_async_context(
                aiosqlite.connect(address, uri=True, isolation_level=None, cached_statements=64)
            )
            await connection.executescript(load_statements()["open_reader"])
            opened.append(connection)
        readers = Readers(opened, timeout_s=timeout_s, on_broken=on_broken)
        try:
            yield readers
        finally:
            readers.close()
