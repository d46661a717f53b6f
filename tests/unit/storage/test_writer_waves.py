"""Transactions that are handed in together are committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from agency.config.schema import Store
from agency.core import limits
from agency.core.clock import SystemClock
from agency.errors import ShuttingDown
from agency.storage.sqlite import upkeep
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import open_writer

GUARD_S = 5.0


@pytest.fixture
def commits() -> list[str]:
    """Commits that were made, as the connection's trace has them."""
    return []


@pytest.fixture
def connect(tmp_path: Path, commits: list[str]) -> Callable[[], sqlite3.Connection]:
    def opened() -> sqlite3.Connection:
        connection = upkeep.connect(
            tmp_path / "waves.db", settings=Store(free_bytes_min=0), clock=SystemClock()
        )
        connection.set_trace_callback(
            lambda statement: commits.append(statement) if statement == "COMMIT" else None
        )
        return connection

    return opened


def _nothing(_: Transaction) -> None:
    return None


def _ignore() -> None:
    return None


async def test_those_who_were_answered_together_are_committed_together_again(
    connect: Callable[[], sqlite3.Connection], commits: list[str]
) -> None:
    rounds, callers = 20, 64

    async with asyncio.timeout(GUARD_S), open_writer(connect, on_broken=_ignore) as writer:

        async def call() -> None:
            for _ in range(rounds):
                await writer.submit(_nothing)

        await asyncio.gather(*(call() for _ in range(callers)))

    # The first ones are handed over one by one, and may stay a group of their own.
    assert len(commits) <= 3 * rounds


async def test_a_group_holds_no_more_than_its_limit(
    connect: Callable[[], sqlite3.Connection], commits: list[str]
) -> None:
    callers = 2 * limits.BATCH_TRANSACTIONS_MAX + 1

    async with asyncio.timeout(GUARD_S), open_writer(connect, on_broken=_ignore) as writer:

        async def call() -> None:
            await writer.submit(_nothing)
            await gate.wait()
            await writer.submit(_nothing)

        gate = asyncio.Event()
        calls = [asyncio.ensure_future(call()) for _ in range(callers)]
        await writer.submit(_nothing)
        commits.clear()
        gate.set()
        await asyncio.gather(*calls)

    assert len(commits) >= 3


async def test_what_was_gathered_is_carried_out_when_the_writer_closes(
    connect: Callable[[], sqlite3.Connection],
) -> None:
    done: list[int] = []

    async with asyncio.timeout(GUARD_S), open_writer(connect, on_broken=_ignore) as writer:

        async def call(number: int) -> None:
            await writer.submit(_nothing)
            await writer.submit(lambda _: done.append(number))

        calls = [asyncio.ensure_future(call(number)) for number in range(8)]
        await writer.submit(_nothing)
        await asyncio.sleep(0)  # one turn: the second transactions are handed in
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert all(outcome is None or isinstance(outcome, ShuttingDown) for outcome in outcomes)
    assert sorted(done) == [number for number, outcome in enumerate(outcomes) if outcome is None]


async def test_an_error_of_one_reaches_only_its_caller(
    connect: Callable[[], sqlite3.Connection],
) -> None:
    def fail(_: Transaction) -> NoReturn:
        raise LookupError("not there")

    async with asyncio.timeout(GUARD_S), open_writer(connect, on_broken=_ignore) as writer:
        await writer.submit(_nothing)
        outcomes = await asyncio.gather(
            writer.submit(lambda _: 1),
            writer.submit(fail),
            writer.submit(lambda _: 3),
            return_exceptions=True,
        )

    assert [1, 3] == [outcomes[0], outcomes[2]]
    assert isinstance(outcomes[1], LookupError)
