"""The life of a daemon inside the test's own process, where its parts can be made to fail."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agency.config.load import Loaded, load
from agency.config.schema import Settings
from agency.core.clock import Clock, SystemClock, monotonic_s
from agency.daemon import compose
from agency.daemon.detach import Report
from agency.daemon.lifecycle import Boot, serve
from agency.daemon.systemd import Notifier
from agency.errors import DataDirectoryLocked, PortTaken, StoreBroken
from agency.storage.sqlite.store import SqliteStore
from agency.telemetry.logs import Logs, open_logs


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    environ = {"AGENCY_LLM__PROVIDER": "rehearsal", "PORT": "0"}
    return load(None, environ=environ, current=tmp_path)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    with open_logs(Settings().logging, environ={}, file=tmp_path / "log") as opened:
        yield opened
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


def boot_of(loaded: Loaded, logs: Logs, *, ready: asyncio.Event) -> Boot:
    return Boot(
        loaded=loaded,
        load=lambda: loaded,
        logs=logs,
        notifier=Notifier(None),
        report=Report(),
        show=lambda _: ready.set(),
        started_s=monotonic_s(),
    )


async def test_daemon_that_was_stopped_can_be_started_again(loaded: Loaded, logs: Logs) -> None:
    for _ in range(2):
        ready = asyncio.Event()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(serve(boot_of(loaded, logs, ready=ready)))
            await ready.wait()
            os.kill(os.getpid(), signal.SIGTERM)

    assert not (Path(loaded.settings.server.data_dir) / "daemon.json").exists()


async def test_broken_store_ends_the_daemon(
    loaded: Loaded, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[SqliteStore] = []
    make = compose.make_application

    def make_and_keep(settings: Settings, clock: Clock, **parts: object) -> object:
        assert isinstance(parts["store"], SqliteStore)
        stores.append(parts["store"])
        return partial(make, settings, clock)(**parts)  # type: ignore[arg-type]

    monkeypatch.setattr(compose, "make_application", make_and_keep)
    ready = asyncio.Event()
    async with asyncio.timeout(20):
        life = asyncio.ensure_future(serve(boot_of(loaded, logs, ready=ready)))
        await ready.wait()
        stores[0].broken.set()

        with pytest.raises(StoreBroken):
            await life


async def test_port_that_is_taken_leaves_nothing_open(loaded: Loaded, logs: Logs) -> None:
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with listening:
        server = replace(loaded.settings.server, port=listening.sockets[0].getsockname()[1])
        taken = replace(loaded, settings=replace(loaded.settings, server=server))
        for _ in range(2):
            with pytest.raises(PortTaken):
                await serve(boot_of(taken, logs, ready=asyncio.Event()))


async def test_data_directory_is_locked_also_when_the_database_lies_elsewhere(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    environs = [{"AGENCY_STORE__URL": f"sqlite:{tmp_path}/{name}/a.db"} for name in ("one", "two")]
    first, second = (load(None, environ=one, current=tmp_path).settings for one in environs)
    (tmp_path / "var").mkdir()

    async with compose.open_store(first, clock):
        with pytest.raises(DataDirectoryLocked):
            async with compose.open_store(second, clock):
                pass
