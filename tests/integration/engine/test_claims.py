"""Claims that end otherwise than by the run: lost to another, broken by a fault, with no room."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from agency.errors import Fenced, StoreFull
from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.house import Between, open_house


async def echo(value: Any = None) -> Any:
    return value


@workflow("w", version="1")
async def w(ctx: Context) -> Any:
    first = await ctx.step("one", echo, 1)
    return [first, await ctx.wait_event("news")]


def raising(method: str, *errors: Exception) -> Callable[[SqliteStore], Between]:
    """Make a room of runs whose method raises these errors, one after another, and then works."""
    left = list(errors)

    def between(store: SqliteStore) -> Between:
        inner = getattr(store.runs, method)

        async def call(*args: Any, **more: Any) -> Any:
            if left:
                raise left.pop(0)
            return await inner(*args, **more)

        return Between(store.runs, **{method: call})

    return between


async def complete(path: Path, between: Callable[[SqliteStore], Between], **settings: Any) -> None:
    async with open_house(path, w, runs=between, **settings) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="news", payload=2)
        assert [1, 2] == (await house.ended(run_id)).run.output
        assert not house.engine.failed.done()
        assert [] == await house.engine.sweep()


async def test_run_whose_claim_seems_over_is_given_back_and_goes_on(tmp_path: Path) -> None:
    await complete(tmp_path, raising("record", *[Fenced("run-1", 1)] * 2))


@pytest.mark.parametrize("method", ["claim", "record", "suspend", "finish"])
async def test_run_goes_on_when_there_is_room_again(tmp_path: Path, method: str) -> None:
    full = StoreFull("The disk is full.")
    await complete(tmp_path, raising(method, full), linger_s=5.0)


async def test_fault_of_the_engine_fails_its_run_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    between = raising("suspend", ValueError("a fault"))
    async with open_house(tmp_path, w, runs=between, linger_s=5.0) as house:
        run = (await house.ended(await house.start("w"))).run
        other = await house.start("w")
        await house.suspended(other)
        await house.runs.send(other, name="news", payload=2)
        assert [1, 2] == (await house.ended(other)).run.output
        assert not house.engine.failed.done()

    assert run.error is not None
    assert ("failed", "engine_fault", "a fault") == (run.status, run.error.code, run.error.message)
    assert "a run could not be worked on" in caplog.messages


async def test_claims_and_ends_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="agency.engine"):
        async with open_house(tmp_path, w) as house:
            run_id = await house.start("w")
            await house.suspended(run_id)
            await house.runs.send(run_id, name="news", payload=2)
            await house.ended(run_id)
            await asyncio.sleep(0)
            assert house.engine.running <= 1

    assert {"run accepted", "run suspended", "run ended"} <= set(caplog.messages)
