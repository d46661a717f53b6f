"""The database without a daemon: looked into and kept small while none runs.

The store is opened with the lock of its folder, so that a live daemon's is never opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agency.api.db_shape import check_json, given_json, pass_json, stats_json
from agency.config.places import database_path
from agency.config.schema import Settings
from agency.core.clock import SystemClock
from agency.daemon.compose import open_store
from agency.documents import CheckDocument, PruneDocument, StatsDocument, VacuumDocument
from agency.engine.retention import Retention
from agency.errors import DatabaseMissing

# All raise DataDirectoryLocked while a daemon runs, and DatabaseMissing where there is no database.


async def stats(settings: Settings) -> StatsDocument:
    """Tell how large the database is."""
    async with _open(settings) as retention:
        return stats_json(await retention.stats())


async def check(settings: Settings, *, timeout_s: float) -> CheckDocument:
    """Look through the database for damage, ``timeout_s`` at most."""
    async with _open(settings) as retention:
        return check_json(await retention.check(timeout_s=timeout_s))


async def vacuum(settings: Settings, *, bytes_max: int) -> VacuumDocument:
    """Give free space back to the disk."""
    async with _open(settings) as retention:
        return given_json(await retention.vacuum(bytes_max=bytes_max))


async def prune(settings: Settings) -> PruneDocument:
    """Delete what has expired and what all hooks have heard of, as far as they ever had come.

    Which hooks there still are only a daemon knows, which loads their files.
    """
    async with _open(settings) as retention:
        return pass_json(await retention.make_pass())


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Retention]:
    _refuse_missing(Path(database_path(settings.store.url)))
    clock = SystemClock()
    async with open_store(settings, clock) as store:
        told = min((hook.position for hook in await store.updates.hooks()), default=None)
        yield Retention(
            store=store.upkeep, clock=clock, settings=settings.retention, told=lambda: told
        )


def _refuse_missing(path: Path) -> None:
    """Make nothing where nothing was: it was only to be looked at."""
    if not path.exists():
        raise DatabaseMissing(str(path))
