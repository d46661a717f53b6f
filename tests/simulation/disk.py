"""The real store without its threads: groups are carried out in the loop, at moments of a seed.

The writer's own code does all the work. Only its thread is replaced: a group is taken some time
after it was handed in, and answered some time after it was committed. Reads are one statement at
some moment between their call and their return.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

from agency.config.schema import Store as StoreSettings
from agency.core.clock import Clock, SystemClock
from agency.errors import ShuttingDown
from agency.storage.sqlite import store as store_module
from agency.storage.sqlite import upkeep
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.statements import load_statements
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import Member, Recording, Writer, each
from tests.simulation.loop import SimulatedLoop

SETTINGS = StoreSettings(free_bytes_min=0, synchronous="NORMAL", readers=1)


class Disk:
    """How the disk behaves at present, over all lives of a seed.

    Attributes:
        is_full: Nothing that needs another page can be written.
        sync_s_max: A commit takes up to this long.
        read_s_max: A read takes up to this long.
        kill_in: So many commits from now on the life ends; None: not by a commit.
        kill_before: It ends just before that commit, else just after it.
        fail_in: So many commits from now on the disk fails one; None: never.
        fail_after: The failing commit is on the disk all the same.
        commits: Groups that were carried out.
        writer: Of the present life.
    """

    def __init__(self, source: random.Random, note: Callable[..., None]) -> None:
        self.source = source
        self.note = note
        self.is_full = False
        self.sync_s_max = 0.002
        self.read_s_max = 0.001
        self.kill_in: int | None = None
        self.kill_before = False
        self.fail_in: int | None = None
        self.fail_after = False
        self.commits = 0
        self.writer: InlineWriter | None = None
        self.on_commit: Callable[[sqlite3.Connection], None] = lambda _: None

    def delay_s(self, longest_s: float) -> float:
        return self.source.random() * longest_s

    def kill(self) -> None:
        cast(SimulatedLoop, asyncio.get_running_loop()).killed = True
        if self.writer is not None:
            self.writer.is_dead = True

    def comes_to_kill(self, *, before: bool) -> bool:
        """Tell whether the life ends here, and end it."""
        if self.kill_in is None or self.kill_before is not before:
            return False
        self.kill_in -= 1
        if self.kill_in > 0:
            return False
        self.note("killed", "before" if before else "after", "the commit")
        self.kill_in = None
        self.kill()
        return True


class FailingConnection:
    """The write connection, one of whose commits the disk fails."""

    def __init__(self, inner: sqlite3.Connection, disk: Disk) -> None:
        self._inner = inner
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        disk = self._disk
        if sql != "COMMIT" or disk.fail_in is None:
            return self._inner.execute(sql, parameters)
        disk.fail_in -= 1
        if disk.fail_in > 0:
            return self._inner.execute(sql, parameters)
        disk.fail_in = None
        disk.note("the disk fails a commit", disk.fail_after)
        if disk.fail_after:
            self._inner.execute(sql, parameters)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


class InlineWriter(Writer):
    """The writer, carried out in the loop.

    Attributes:
        is_dead: Its life was killed: nothing is written any more.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        on_broken: Callable[[], None],
        disk: Disk,
    ) -> None:
        super().__init__(connect, on_broken=on_broken)
        self.is_dead = False
        self._disk = disk
        self._is_busy = False

    @property
    def connection(self) -> sqlite3.Connection:
        return self._connection

    async def open(self) -> None:
        connection = self._connect()
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        if self._disk.fail_in is not None:
            connection = cast(sqlite3.Connection, FailingConnection(connection, self._disk))
        self._connection = connection
        self._transaction = Transaction(connection, self.steps)
        self._disk.writer = self

    async def close(self) -> None:
        if self.is_dead:
            return
        if not self._is_closing:
            self._is_closing = True
            self._hand_over()
            self._queue.put(None)
            self._nudge()
        await asyncio.shield(self._closed)

    def abandon(self) -> None:
        """Let go of the file, as the kernel does for a dead process."""
        self.is_dead = True
        self._connection.close()

    def _put(self, member: Member) -> None:
        if self.is_dead:
            raise ShuttingDown
        super()._put(member)
        self._nudge()

    def _hand_over(self) -> None:
        super()._hand_over()
        self._nudge()

    def _nudge(self) -> None:
        if self._is_busy or (self._queue.empty() and not self._left):
            return
        self._is_busy = True
        disk = self._disk
        self._loop.call_later(disk.delay_s(disk.sync_s_max), self._turn)

    def _turn(self) -> None:
        disk = self._disk
        if self.is_dead:
            return
        batch, is_last = self._take()
        if batch:
            if disk.comes_to_kill(before=True):
                return
            _limit_pages(self._connection, is_full=disk.is_full)
            self._carry_out(batch)
            disk.commits += 1
            disk.note("commit", *[_name(member) for member in batch])
            disk.on_commit(self._connection)
            if disk.comes_to_kill(before=False):
                return
        self._loop.call_later(
            disk.delay_s(disk.sync_s_max), self._end_turn, batch, self._fulls, is_last
        )

    def _end_turn(self, batch: list[Member], fulls: int, is_last: bool) -> None:
        if self.is_dead:
            return
        self._is_busy = False
        self._answered(batch, fulls)
        if is_last:
            self._connection.close()
            self._closed.set_result(None)
        else:
            self._nudge()


def _limit_pages(connection: sqlite3.Connection, *, is_full: bool) -> None:
    """Let the database grow no further, or as far as it likes."""
    if is_full:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    elif connection.execute("PRAGMA max_page_count").fetchone() != (_PAGES_MAX,):
        connection.execute(f"PRAGMA max_page_count = {_PAGES_MAX}")


_PAGES_MAX = 1 << 30


def _name(member: Member) -> str:
    error = "" if member.error is None else f" {type(member.error).__name__}"
    if isinstance(member, Recording):
        return "entries" + error
    work: Any = member.item if member.work is each else member.work
    return str(getattr(work, "func", work).__name__) + error


class InlineReader:
    """What the pool of readers asks of a connection of aiosqlite."""

    def __init__(self, connection: sqlite3.Connection, disk: Disk) -> None:
        self._connection = connection
        self._disk = disk

    async def execute_fetchall(self, sql: str, parameters: Any = ()) -> list[Any]:
        disk = self._disk
        await asyncio.sleep(disk.delay_s(disk.read_s_max))
        if disk.writer is None or disk.writer.is_dead:
            raise ShuttingDown
        rows = self._connection.execute(sql, parameters).fetchall()
        await asyncio.sleep(disk.delay_s(disk.read_s_max))
        return rows

    async def interrupt(self) -> None:
        """Cut off a read: it is over already, and its answer is not waited for any more."""


@contextmanager
def without_threads(disk: Disk) -> Iterator[None]:
    """Let `open_store` open the stand-ins."""

    @asynccontextmanager
    async def open_writer(
        connect: Callable[[], sqlite3.Connection], *, on_broken: Callable[[], None], **_: Any
    ) -> AsyncIterator[Writer]:
        """Open the stand-in; nothing is done beside it."""
        writer = InlineWriter(connect, on_broken=on_broken, disk=disk)
        await writer.open()
        try:
            yield writer
        finally:
            await writer.close()

    @asynccontextmanager
    async def open_readers(
        path: Path, *, connections: int, on_broken: Callable[[], None], **more: Any
    ) -> AsyncIterator[Readers]:
        address = f"file:{quote(str(path))}?mode=ro"
        opened = [
            sqlite3.connect(address, uri=True, isolation_level=None) for _ in range(connections)
        ]
        try:
            for connection in opened:
                connection.executescript(load_statements()["open_reader"])
            inline: Any = [InlineReader(connection, disk) for connection in opened]
            readers = Readers(inline, on_broken=on_broken, **more)
            try:
                yield readers
            finally:
                readers.close()
        finally:
            for connection in opened:
                connection.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "open_writer", open_writer)
        patch.setattr(store_module, "open_readers", open_readers)
        yield


def make_template(folder: Path) -> Path:
    """Make a database with its schema, to be copied for each seed."""
    path = folder / "template.db"
    connect = partial(upkeep.connect, path, settings=SETTINGS, clock=cast(Clock, SystemClock()))
    upkeep.close(connect())
    return path


def copy_template(template: Path, folder: Path) -> Path:
    """Put a fresh database into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "agency.db"
    shutil.copy(template, path)
    return path
