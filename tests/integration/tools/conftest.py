"""A database with a run, and workspaces over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.files.workspace import RunWorkspace
from agency.files.workspaces import FileWorkspaces, open_workspaces
from agency.storage.sqlite.store import SqliteStore, open_store
from tests.contract.making import start


@dataclass
class Place:
    """A data directory with a run."""

    store: SqliteStore
    workspaces: FileWorkspaces
    run_id: str
    data_dir: Path

    @property
    def workspace(self) -> RunWorkspace:
        return self.workspaces.of(self.run_id)

    async def new_run(self) -> str:
        return (await start(self.store)).id


OpenPlace = Callable[..., AbstractAsyncContextManager[Place]]


@pytest.fixture
def open_place(tmp_path: Path) -> OpenPlace:
    """Open the data directory, as often as wanted, one after the other."""

    @asynccontextmanager
    async def opened(
        *,
        run_id: str | None = None,
        bytes_max: int = 1 << 24,
        files_max: int = 1000,
        is_busy: Callable[[str], bool] = lambda _: False,
    ) -> AsyncIterator[Place]:
        settings = StoreSettings(free_bytes_min=0)
        async with (
            open_store(tmp_path / "agency.db", settings=settings, clock=SystemClock()) as store,
            open_workspaces(
                tmp_path,
                versions=store.versions,
                bytes_max=bytes_max,
                files_max=files_max,
                is_busy=is_busy,
            ) as workspaces,
        ):
            if run_id is None:
                run_id = (await start(store)).id
            yield Place(store, workspaces, run_id, tmp_path)

    return opened


@pytest.fixture
async def place(open_place: OpenPlace) -> AsyncIterator[Place]:
    async with open_place() as opened:
        yield opened
