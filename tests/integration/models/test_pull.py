"""Fetching models: progress, faults, restarts and cancelling."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agency.domain.run import RunStatus
from agency.engine.retry import Retry
from agency.errors import ModelPullFailed
from tests.fake_ollama import FakeOllama
from tests.fake_ollama.pulls import LAYER_BYTES, PIECE_BYTES
from tests.integration.models.world import World, opened, rehearsal

NEW = "new:1b"


async def progress_of(world: World, run_id: str) -> dict[str, object]:
    """Wait until the run has shown how far it is."""
    async with asyncio.timeout(10):
        while True:
            run = (await world.engine.runs.get(run_id)).run
            if isinstance(run.progress, dict) and run.progress["total"]:
                return run.progress
            await asyncio.sleep(0.02)


async def test_model_is_fetched_and_can_be_used(tmp_path: Path) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        fake.registry.models.add(NEW)
        run = await world.run("model_pull", model=NEW)
        names = [one.name for one in await world.models.default.models()]

    assert run.status is RunStatus.COMPLETED
    assert run.output == {"provider": "ollama", "model": NEW, "bytes": 2 * LAYER_BYTES}
    assert NEW in names


async def test_progress_is_seen_while_it_goes_on(tmp_path: Path) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        fake.registry.models.add(NEW)
        fake.registry.hold_after_piece = 2
        run_id = await world.start("model_pull", model=NEW)
        await fake.registry.held.wait()
        progress = await progress_of(world, run_id)
        fake.registry.go_on.set()
        run = await world.end(run_id)

    assert progress["done"] == 2 * PIECE_BYTES
    assert progress["total"] == LAYER_BYTES
    assert str(progress["note"]).startswith(f"ollama/{NEW}: pulling ")
    assert run.status is RunStatus.COMPLETED


async def test_download_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    async with FakeOllama() as fake:
        fake.registry.models.add(NEW)
        fake.registry.hold_after_piece = 2
        async with opened(tmp_path, fake) as world:
            run_id = await world.start("model_pull", model=NEW)
            await fake.registry.held.wait()
        async with asyncio.timeout(5):
            await fake.left.wait()
        assert max(fake.registry.done.values()) == 2 * PIECE_BYTES
        fake.registry.hold_after_piece = None
        async with opened(tmp_path, fake) as world:
            run = await world.end(run_id)

    assert run.status is RunStatus.COMPLETED
    assert len(fake.of("/api/pull")) == 2


async def test_cancelling_ends_the_download_and_keeps_what_there_is(tmp_path: Path) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        fake.registry.models.add(NEW)
        fake.registry.hold_after_piece = 3
        run_id = await world.start("model_pull", model=NEW)
        await fake.registry.held.wait()
        await world.engine.runs.cancel(run_id)
        async with asyncio.timeout(5):
            await fake.left.wait()
        run = await world.end(run_id)

    assert run.status is RunStatus.CANCELLED
    assert max(fake.registry.done.values()) == 3 * PIECE_BYTES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("write /m/blobs/sha256-1-partial: no space left on device", "model_refused"),
        ("pull model manifest: 412: requires a newer version of Ollama.", "model_refused"),
    ],
)
async def test_fault_that_no_retry_mends_is_told_at_once(
    tmp_path: Path, error: str, code: str
) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        fake.registry.models.add(NEW)
        fake.registry.error_line = error
        run = await world.run("model_pull", model=NEW)

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert (run.error.code, len(fake.of("/api/pull"))) == (code, 1)


async def test_unknown_model_is_told_at_once(tmp_path: Path) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        run = await world.run("model_pull", model="nobody/nothing")

    assert run.error is not None
    assert run.error.code == "model_not_found"
    assert "ollama.com/library" in run.error.hint


async def test_download_that_breaks_off_is_tried_again_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = Retry(attempts=2, base_s=0.0, retry_on=(ModelPullFailed,))
    monkeypatch.setattr("agency.workflows.models.pull._RETRY", quickly)
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        fake.registry.models.add(NEW)
        fake.registry.ends_early = True
        run = await world.run("model_pull", model=NEW)

    assert run.status is RunStatus.COMPLETED
    assert len(fake.of("/api/pull")) == 2


async def test_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    fake = FakeOllama()
    async with fake:
        pass
    fake.registry.models.add(NEW)
    async with opened(tmp_path, fake) as world:
        run_id = await world.start("model_pull", model=NEW)
        async with asyncio.timeout(10):
            while (await world.engine.runs.get(run_id)).run.status is not RunStatus.SUSPENDED:
                await asyncio.sleep(0.02)
        async with fake:
            run = await world.end(run_id)

    assert run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("model", ["rehearsal/x", "gpt-oss:120b-cloud"])
async def test_what_cannot_be_fetched_is_refused(tmp_path: Path, model: str) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake, more=[rehearsal()]) as world:
        run = await world.run("model_pull", model=model)

    assert run.error is not None
    assert run.error.code == "model_refused"
    assert fake.of("/api/pull") == []
