"""The write-ahead log stays short, whoever reads, and long reads are cut off."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agency.errors import ReadTooLong
from agency.storage.sqlite import log as log_module
from agency.storage.sqlite.readers import Readers, open_readers
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import make_step, record, start_claimed
from tests.unit.storage.conftest import Opener

MEBIBYTE = 1 << 20
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the log after each commit: a test writes as much in a moment as others in hours."""
    monkeypatch.setattr(log_module, "_LOOK_S", 0.0)


async def write(store: SqliteStore, mebibytes: int) -> None:
    claimed = await start_claimed(store)
    for i in range(mebibytes * 20):
        await record(store, claimed, entries=[make_step(f"s{i}", "x" * 52_000)])


def size_of(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


async def test_log_begins_anew_when_it_is_long(opener: Opener, path: Path) -> None:
    async with opener(log_bytes_max=MEBIBYTE) as store:
        await write(store, 6)

        assert size_of(path) <= 2 * MEBIBYTE
        assert 0.0 == (await store.upkeep.stats()).blocked_s


async def test_reader_that_never_ends_is_told_of_and_the_log_is_cut_when_it_has_gone(
    opener: Opener, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opener(log_bytes_max=MEBIBYTE) as store:
        await write(store, 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM runs").fetchone()
            with caplog.at_level(logging.WARNING):
                await write(store, 4)
            blocked = await store.upkeep.stats()
            grown = size_of(path)

        await write(store, 1)
        after = await store.upkeep.stats()

        told = [one for one in caplog.records if "a reader keeps" in one.message]
        assert 1 == len(told)  # once a minute, not once for each commit
        assert told[0].blocked_s >= 0  # type: ignore[attr-defined]
        assert told[0].log_bytes > MEBIBYTE  # type: ignore[attr-defined]
        assert blocked.blocked_s > 0
        assert grown > 4 * MEBIBYTE
        assert 0.0 == after.blocked_s
        assert size_of(path) <= 2 * MEBIBYTE


@asynccontextmanager
async def reading(path: Path, *, timeout_s: float) -> AsyncIterator[Readers]:
    async with open_readers(
        path, connections=1, timeout_s=timeout_s, on_broken=lambda: None
    ) as readers:
        readers._statements = {**readers._statements, "endless": ENDLESS}
        yield readers


async def test_read_that_takes_too_long_is_cut_off(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await start_claimed(store)
    async with reading(path, timeout_s=0.1) as readers:
        with pytest.raises(ReadTooLong):
            await readers.all("endless")

        assert await readers.one("check_read") is not None
        assert 0.0 == readers.oldest_s()
        assert ["endless"] == [
            one.statement  # type: ignore[attr-defined]
            for one in caplog.records
            if one.message == "a read was cut off"
        ]


async def test_read_that_nobody_waits_for_any_more_is_cut_off(
    store: SqliteStore, path: Path
) -> None:
    await start_claimed(store)
    async with reading(path, timeout_s=60) as readers:
        task = asyncio.ensure_future(readers.all("endless"))
        async with asyncio.timeout(10):
            while readers.oldest_s() < 0.05:
                await asyncio.sleep(0.01)  # until the read is surely under way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with asyncio.timeout(10):
            assert await readers.one("check_read") is not None


async def test_reads_behind_a_long_one_wait_for_their_turn(store: SqliteStore, path: Path) -> None:
    await start_claimed(store)
    async with reading(path, timeout_s=0.3) as readers:
        late, *others = await asyncio.gather(
            readers.all("endless"),
            *(readers.one("check_read") for _ in range(5)),
            return_exceptions=True,
        )

    assert isinstance(late, ReadTooLong)
    assert all(isinstance(other, tuple) for other in others)
