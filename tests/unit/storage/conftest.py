"""A SQLite store in a temporary folder, and a look into it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.storage.sqlite.store import SqliteStore, open_store
from tests.databases import database_at

Opener = Callable[..., AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "agency.db"


@pytest.fixture
def opener(path: Path) -> Opener:
    """Opens the store; keywords are settings of section ``[store]``."""

    def opened(**changes: Any) -> AbstractAsyncContextManager[SqliteStore]:
        settings = StoreSettings(**{"free_bytes_min": 0, **changes})
        return open_store(path, settings=settings, clock=SystemClock())

    return opened


@pytest.fixture
async def store(path: Path, opener: Opener) -> AsyncIterator[SqliteStore]:
    database_at(path)
    async with opener() as opened:
        yield opened


@pytest.fixture
def database(store: SqliteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """A second connection to the store's file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
