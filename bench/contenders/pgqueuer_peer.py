"""PgQueuer on a private PostgreSQL, each commit synced: at least once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, Queries, QueueManager
from pgqueuer.types import QueueExecutionMode

from bench.meter import Meter
from bench.servers import Server, postgres

_ENTRYPOINT = "noop"
_BULK = 1000


@asynccontextmanager
async def _open(folder: str) -> AsyncIterator[tuple[Queries, Server]]:
    with postgres(folder) as server:
        connection = await _connect(server)
        try:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            yield queries, server
        finally:
            await connection.close()


async def _connect(server: Server) -> Any:
    return await asyncpg.connect(host=server.address, user="bench", database="postgres")


async def process(folder: str, runs: int, workers: int) -> dict[str, Any]:
    """Work off so many jobs, ``workers`` of them in a batch, which is its default."""
    done = 0
    async with _open(folder) as (queries, server):
        await _fill(queries, runs)
        queue = QueueManager(queries)

        @queue.entrypoint(_ENTRYPOINT)  # type: ignore[untyped-decorator]
        async def noop(_: Job) -> None:
            nonlocal done
            done += 1

        meter = Meter(beside=server.processor_s)
        await queue.run(batch_size=workers, mode=QueueExecutionMode.drain)
        answer = meter.stop()
        assert done == runs, done
        return answer


async def enqueue(folder: str, runs: int, at_once: int) -> dict[str, Any]:
    """Put in one by one, by so many callers beside each other, each with its connection."""
    async with _open(folder) as (queries, server):
        numbers = iter(range(runs))

        async def call(mine: Queries) -> None:
            for _ in numbers:
                await mine.enqueue(_ENTRYPOINT, None)

        if at_once == 1:
            await queries.enqueue(_ENTRYPOINT, None)
            meter = Meter(beside=server.processor_s)
            await call(queries)
            return meter.stop()
        pool = await asyncpg.create_pool(
            host=server.address,
            user="bench",
            database="postgres",
            min_size=at_once,
            max_size=at_once,
        )
        async with pool:
            mine = Queries(AsyncpgPoolDriver(pool))
            meter = Meter(beside=server.processor_s)
            await asyncio.gather(*(call(mine) for _ in range(at_once)))
            return meter.stop()


async def enqueue_many(folder: str, runs: int) -> dict[str, Any]:
    """Put in a thousand at a time."""
    async with _open(folder) as (queries, server):
        meter = Meter(beside=server.processor_s)
        await _fill(queries, runs)
        return meter.stop()


async def _fill(queries: Queries, runs: int) -> None:
    for begin in range(0, runs, _BULK):
        count = min(_BULK, runs - begin)
        await queries.enqueue([_ENTRYPOINT] * count, [None] * count, [0] * count)
