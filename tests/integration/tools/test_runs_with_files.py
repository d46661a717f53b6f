"""Files go with their runs: into forks, to other databases, and into oblivion."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Retention as RetentionSettings
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.engine.engine import Engine
from agency.engine.export_file import LINE_BYTES_MAX
from agency.engine.lineage import AnewWish
from agency.engine.registry import Registry
from agency.engine.transfers import FILES_BYTES_MAX, ImportWish
from agency.errors import ExportCorrupt, WorkspaceLost
from agency.files.workspaces import FileWorkspaces, open_workspaces
from agency.storage.sqlite.store import open_store
from tests.integration.engine.house import House

FORGET = RetentionSettings(completed_age_s=1e-6, pause_s=0)


@dataclass
class Home:
    """An engine with files."""

    house: House
    workspaces: FileWorkspaces
    path: Path

    async def kept(self, run_id: str, **files: bytes) -> str:
        """Add files to a run's folder, and keep it."""
        workspace = await self.workspaces.reopen(run_id)
        for name, content in files.items():
            await workspace.put(name, content)
        return await workspace.keep()

    async def files(self, run_id: str) -> list[str]:
        page = await self.workspaces.list(run_id, after=0, limit=100)
        return [file.path for file in page.files]

    def age(self) -> None:
        """Let all contents and folders be old enough to be swept."""
        for path in [*self.path.glob("files/??/*"), *self.path.glob("workspaces/*-*")]:
            os.utime(path, (1, 1))

    def contents(self) -> int:
        return len(list(self.workspaces.blobs().hashes()))


@workflow("waits", version="1")
async def waits(ctx: Context) -> str:
    await ctx.step("begin", _nothing)
    answer: str = await ctx.input("Go on?")
    return answer


async def _nothing() -> None:
    return None


@asynccontextmanager
async def open_home(path: Path) -> AsyncIterator[Home]:
    clock = SystemClock()
    registry = Registry()
    registry.add_function(waits)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(path / "agency.db", settings=StoreSettings(free_bytes_min=0), clock=clock)
        )
        workspaces = await stack.enter_async_context(
            open_workspaces(path, versions=store.versions, bytes_max=1 << 27, files_max=1000)
        )
        engine = await stack.enter_async_context(
            Engine(
                store=store,
                registry=registry,
                clock=clock,
                settings=EngineSettings(linger_s=0.0),
                boot_id=new_id(),
                retention=FORGET,
                files=workspaces,
            )
        )
        yield Home(House(engine, store, registry), workspaces, path)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    (tmp_path / "here").mkdir()
    async with open_home(tmp_path / "here") as opened:
        yield opened


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[Home]:
    (tmp_path / "there").mkdir()
    async with open_home(tmp_path / "there") as opened:
        yield opened


async def waiting(home: Home) -> str:
    run_id = await home.house.start("waits")
    await home.house.suspended(run_id)
    return run_id


async def test_forgotten_run_takes_its_files_along(home: Home) -> None:
    gone = await waiting(home)
    stays = await waiting(home)  # the newest wait keeps its run from being forgotten
    await home.kept(gone, a=b"only here", b=b"in both")
    await home.kept(stays, b=b"in both")
    await home.house.resume(gone, "yes")
    await home.house.ended(gone)
    home.age()
    assert 4 == home.contents()

    await home.house.engine.retention.make_pass()

    assert 2 == home.contents()
    assert not (home.path / "workspaces" / gone).exists()
    assert not (home.path / "workspaces/index" / f"{gone}.json").exists()
    assert ["b"] == await home.files(stays)


async def test_files_of_a_live_run_and_of_its_past_are_never_swept(home: Home) -> None:
    run_id = await waiting(home)
    first = await home.kept(run_id, a=b"one")
    await home.kept(run_id, a=b"two", b=b"more")
    home.age()

    await home.house.engine.retention.make_pass()

    folder = await home.workspaces.of(run_id).open(first)
    assert b"one" == (folder / "a").read_bytes()
    assert not (folder / "b").exists()


async def test_folder_of_an_ended_run_goes_and_can_be_made_again(home: Home) -> None:
    run_id = await waiting(home)
    await home.kept(run_id, a=b"one")
    await home.house.resume(run_id, "yes")
    await home.house.ended(run_id)
    home.age()

    await home.workspaces.sweep()

    assert not (home.path / "workspaces" / run_id).exists()
    assert ["a"] == await home.files(run_id)
    folder = await home.workspaces.of(run_id).folder()
    assert b"one" == (folder / "a").read_bytes()


async def test_fork_can_open_each_state_although_its_origin_is_forgotten(home: Home) -> None:
    origin = await waiting(home)
    first = await home.kept(origin, a=b"one")
    await home.kept(origin, a=b"two")
    fork = (await home.house.engine.lineage.fork(origin, AnewWish())).run.id
    await home.house.suspended(fork)
    await home.house.resume(fork, "yes")
    await home.house.ended(fork)
    fork_of_fork = (await home.house.engine.lineage.fork(fork, AnewWish(at="input#1"))).run.id
    await home.house.suspended(fork_of_fork)
    await home.house.resume(origin, "yes")
    await home.house.ended(origin)
    home.age()

    await home.house.engine.retention.make_pass()

    workspace = home.workspaces.of(fork_of_fork)
    assert ["a"] == await home.files(fork_of_fork)
    folder = await workspace.open(first)
    assert b"one" == (folder / "a").read_bytes()


async def exported(home: Home, run_id: str) -> bytes:
    export = await home.house.engine.transfers.export_run(run_id)
    return b"".join([line async for line in home.house.engine.transfers.lines(export)])


async def bring_in(home: Home, file: bytes) -> str:
    run, _ = await home.house.engine.transfers.bring_in(io.BytesIO(file), ImportWish())
    return run.id


async def test_copy_of_a_run_has_its_files(home: Home, elsewhere: Home) -> None:
    run_id = await waiting(home)
    large = os.urandom(3 << 20)
    first = await home.kept(run_id, a=b"one", empty=b"")
    second = await home.kept(run_id, a=b"two", large=large)

    copy = await bring_in(elsewhere, await exported(home, run_id))

    assert ["a", "empty", "large"] == await elsewhere.files(copy)
    workspace = elsewhere.workspaces.of(copy)
    folder = await workspace.folder()
    assert (b"two", large) == ((folder / "a").read_bytes(), (folder / "large").read_bytes())
    assert second == await workspace.keep()
    await workspace.open(first)
    assert b"one" == (folder / "a").read_bytes()
    elsewhere.age()
    await elsewhere.workspaces.sweep()
    await workspace.open(second)


async def test_moved_run_goes_on_with_its_files(home: Home, elsewhere: Home) -> None:
    run_id = await waiting(home)
    version = await home.kept(run_id, a=b"one")
    snapshot_id = (await home.house.suspended(run_id)).snapshot_id
    assert snapshot_id is not None
    transfers = home.house.engine.transfers
    receipt = await transfers.move(snapshot_id)
    files = []
    for _ in range(2):
        export = await transfers.export_moved(receipt.id)
        files.append(b"".join([line async for line in transfers.lines(export)]))
        home.age()
        await home.workspaces.sweep()
    assert files[0] == files[1]
    assert receipt.size_bytes == len(files[0])

    assert run_id == await bring_in(elsewhere, files[0])

    folder = await elsewhere.workspaces.of(run_id).open(version)
    assert b"one" == (folder / "a").read_bytes()


async def test_files_that_are_too_large_stay_and_that_is_said(
    home: Home, elsewhere: Home, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = await waiting(home)
    version = await home.kept(run_id, a=os.urandom(FILES_BYTES_MAX + 1))

    file = await exported(home, run_id)

    assert len(file) < LINE_BYTES_MAX
    assert b'"files_left_out_bytes":3355' in file.split(b"\n")[0]
    assert "they are too large" in caplog.text
    copy = await bring_in(elsewhere, file)
    with pytest.raises(WorkspaceLost):
        await elsewhere.workspaces.of(copy).open(version)


def _without(file: bytes, part: bytes, which: int) -> bytes:
    lines = file.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if part in line[:40]]
    del lines[places[which]]
    return b"".join(lines)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: _without(file, b'"part":"file"', 0),
        lambda file: _without(file, b'"part":"file"', 1),
        lambda file: _without(file, b'"is_version":true', 0),
        lambda file: file.replace(b'"offset":1048576', b'"offset":1048577'),
    ],
    ids=["first", "second", "version", "offset"],
)
async def test_damaged_files_are_found_before_anything_is_brought_in(
    home: Home, elsewhere: Home, damage: Callable[[bytes], bytes]
) -> None:
    run_id = await waiting(home)
    await home.kept(run_id, large=os.urandom(3 << 20), a=b"x")
    file: Any = await exported(home, run_id)
    changed = damage(file)
    assert changed != file

    with pytest.raises(ExportCorrupt):
        await bring_in(elsewhere, changed)

    assert 0 == elsewhere.contents()
