"""A database with a run, and workspaces over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings, Tools
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.domain.tool import ToolEffect, ToolOutput
from agency.files.workspace import RunWorkspace
from agency.files.workspaces import FileWorkspaces, open_workspaces
from agency.ports.sandbox import Sandbox
from agency.ports.tool import Tool, ToolContext
from agency.storage.sqlite.store import SqliteStore, open_store
from agency.tools.background import Background, open_background
from agency.tools.direct import check_arguments
from agency.tools.sandbox.choose import Choice
from agency.tools.sandbox.sandbox import ChosenSandbox, make_sandbox
from agency.tools.toolsets import ToolsetRegistry, open_tools
from tests.contract.making import start
from tests.databases import database_at


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
            open_store(
                database_at(tmp_path / "agency.db"), settings=settings, clock=SystemClock()
            ) as store,
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


@dataclass
class Bench:
    """Tools over a run's workspace."""

    place: Place
    registry: ToolsetRegistry
    background: Background
    sandbox: Sandbox
    heard: list[str]
    calls: int = 0

    async def find(self, name: str) -> Tool:
        tool = await self.registry.find(name)
        assert tool is not None, name
        return tool

    def context(self, key: str = "") -> ToolContext:
        self.calls += 1
        return ToolContext(
            run_id=self.place.run_id,
            agent="default",
            session_id=None,
            principal="local",
            call_key=key or f"key-{self.calls}",
            workspace=self.place.workspace,
            progress=self.heard.append,
        )

    async def call(self, name: str, /, **arguments: Any) -> ToolOutput:
        """Call a tool as the loop does: arguments checked, workspace opened before, kept after."""
        tool = await self.find(name)
        check_arguments(tool, arguments)
        workspace = await self.place.workspaces.reopen(self.place.run_id)
        async with asyncio.timeout(tool.timeout_s):
            output = await tool.call(arguments, self.context())
        if tool.effect is not ToolEffect.REPEATABLE:
            await workspace.keep()
        assert isinstance(output, ToolOutput)
        return output

    async def said(self, name: str, /, **arguments: Any) -> str:
        """Call a tool that must not fail, and hand back what it says."""
        output = await self.call(name, **arguments)
        assert not output.is_error, output.content
        return output.content

    async def refused(self, name: str, /, **arguments: Any) -> str:
        """Call a tool that must fail, and hand back what it says."""
        output = await self.call(name, **arguments)
        assert output.is_error, output.content
        return output.content

    @property
    def folder(self) -> Path:
        return self.place.workspace.path


OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture(scope="session")
def probed() -> dict[str, tuple[Path, Choice]]:
    """What the probe of each driver has found: one for each test would take most of the time."""
    return {}


@asynccontextmanager
async def _sandboxed(
    driver: str,
    probed: dict[str, tuple[Path, Choice]],
    made_at: Path,
    private_hosts: Sequence[str],
) -> AsyncIterator[Sandbox]:
    data_dir, choice = probed.get(driver, (made_at, None))
    settings = Settings(
        server=Server(data_dir=str(data_dir)),
        sandbox=SandboxSettings(
            driver=driver,  # type: ignore[arg-type]
            private_hosts=list(private_hosts),
        ),
    )
    sandbox = make_sandbox(settings)
    if choice is None:
        await sandbox.ready()
        probed[driver] = (data_dir, sandbox.choice)
    else:
        sandbox = ChosenSandbox(settings.sandbox, sandbox.surroundings, choice=choice)
    try:
        yield sandbox
    finally:
        await sandbox.close()


@pytest.fixture
def open_bench(
    open_place: OpenPlace,
    probed: dict[str, tuple[Path, Choice]],
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenBench:
    """Open tools over a data directory; settings are those of ``[tools]``."""

    @asynccontextmanager
    async def opened(
        *,
        run_id: str | None = None,
        driver: str = "auto",
        private_hosts: Sequence[str] = (),
        **settings: Any,
    ) -> AsyncIterator[Bench]:
        tools = Tools(**settings)
        async with AsyncExitStack() as stack:
            place = await stack.enter_async_context(open_place(run_id=run_id))
            sandbox = await stack.enter_async_context(
                _sandboxed(driver, probed, tmp_path_factory.mktemp("sandbox"), private_hosts)
            )
            background = await stack.enter_async_context(
                open_background(place.store.versions.is_live)
            )
            place.workspaces._is_busy = background.is_busy
            registry = await stack.enter_async_context(
                open_tools(tools, sandbox=sandbox, background=background)
            )
            yield Bench(place, registry, background, sandbox, [])

    return opened


@pytest.fixture
async def bench(open_bench: OpenBench) -> AsyncIterator[Bench]:
    async with open_bench() as opened:
        yield opened
