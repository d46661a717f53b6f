"""Real SQLite stores in temporary folders, quick to open."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agency.config.schema import Store as StoreSettings
from agency.core.clock import Clock
from agency.storage.sqlite import upkeep
from agency.storage.sqlite.store import SqliteStore, open_store
from agency.testing.clock import MovedClock

DATABASE = "agency.db"
_SETTINGS = StoreSettings(synchronous="NORMAL", free_bytes_min=0, readers=1)


@asynccontextmanager
async def open_temporary_store(clock: Clock | None = None) -> AsyncIterator[SqliteStore]:
    """Open an empty store in a folder that is removed afterwards.

    Args:
        clock: Dates its migrations; by default a `MovedClock`.
    """
    with tempfile.TemporaryDirectory(prefix="agency-test-") as folder:
        async with open_store_in(Path(folder), clock or MovedClock()) as store:
            yield store


@asynccontextmanager
async def open_store_in(folder: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """Open the store of a folder; made by copying an empty one if there is none.

    What it has committed survives the end of the process, not a power cut: nothing waits for the
    disk.
    """
    _make(folder)
    async with open_store(folder / DATABASE, settings=_SETTINGS, clock=clock) as store:
        yield store


def copy_store(folder: Path, to: Path) -> None:
    """Copy the database of a folder in which no store is open."""
    to.mkdir(parents=True)
    shutil.copy(folder / DATABASE, to / DATABASE)


def _make(folder: Path) -> None:
    path = folder / DATABASE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(_empty())


@functools.cache
def _empty() -> bytes:
    """Make an empty database once; migrating one takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="agency-test-") as folder:
        path = Path(folder) / DATABASE
        upkeep.close(upkeep.connect(path, settings=_SETTINGS, clock=MovedClock()))
        return path.read_bytes()
