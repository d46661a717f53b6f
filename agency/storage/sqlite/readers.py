"""A small pool of read-only connections for short reads.

Each answer is one statement, read to its end in one hop to a reader's thread, so that no reader
ever keeps the write-ahead log from being copied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import quote

import aiosqlite

from agency.errors import ShuttingDown, StoreBroken
from agency.storage.sqlite import faults
from agency.storage.sqlite.statements import load_statements
from agency.storage.sqlite.transaction import Parameters, Row


class Readers:
    """Reads by named statements; what was committed before the call is seen."""

    def __init__(
        self, connections: list[aiosqlite.Connection], *, on_broken: Callable[[], None]
    ) -> None:
        self._turns = cycle(connections)
        self._statements = load_statements()
        self._on_broken = on_broken
        self._is_closed = False

    async def all(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement and take all its rows.

        Raises:
            ShuttingDown: the store was closed.
            StoreBroken: the database cannot be read.
        """
        if self._is_closed:
            raise ShuttingDown
        connection = next(self._turns)
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

    def close(self) -> None:
        """Refuse what comes from now on."""
        self._is_closed = True


@asynccontextmanager
async def open_readers(
    path: Path, *, connections: int, on_broken: Callable[[], None]
) -> AsyncIterator[Readers]:
    """Open the pool; the database must have its schema.

    Args:
        path: The database.
        connections: How many, 1 or more.
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
        readers = Readers(opened, on_broken=on_broken)
        try:
            yield readers
        finally:
            readers.close()
