"""The stores that the contract tests run against: one set of tests, each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.ports.store import Store
from agency.storage.sqlite.store import SqliteStore, open_store
from tests.databases import database_at

Opener = Callable[[], AbstractAsyncContextManager[Store]]


def _sqlite(folder: Path) -> AbstractAsyncContextManager[SqliteStore]:
    settings = StoreSettings(free_bytes_min=0)
    return open_store(database_at(folder / "agency.db"), settings=settings, clock=SystemClock())


ENGINES: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {"sqlite": _sqlite}


@pytest.fixture(params=sorted(ENGINES))
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the store of the test; closed and opened again it is the same one."""
    return lambda: ENGINES[request.param](tmp_path)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    """An empty store."""
    async with opener() as opened:
        yield opened
