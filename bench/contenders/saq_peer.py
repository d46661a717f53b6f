"""SAQ on a private Redis that syncs each command: at least once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import from_url
from saq import Worker
from saq.queue.redis import RedisQueue

from bench.meter import Meter
from bench.servers import Server, redis


async def noop(_context: Any) -> None:
    """Do nothing."""


@asynccontextmanager
async def _open(folder: str) -> AsyncIterator[tuple[Any, Server]]:
    with redis(folder) as server:
        queue = RedisQueue(from_url(f"unix://{server.address}"))
        await queue.connect()
        try:
            yield queue, server
        finally:
            await queue.disconnect()


async def process(folder: str, runs: int, workers: int) -> dict[str, Any]:
    """Work off so many jobs, so many at once."""
    done = 0
    async with _open(folder) as (queue, server):
        await _fill(queue, runs, at_once=32)

        async def count(_context: Any) -> None:
            nonlocal done
            done += 1
            if done == runs:
                worker.event.set()

        worker: Any = Worker(queue, [noop], concurrency=workers, after_process=count)
        # Its signal handlers are not wanted here.
        worker.SIGNALS = []
        meter = Meter(beside=server.processor_s)
        serving = asyncio.ensure_future(worker.start())
        while done < runs and not serving.done():
            await asyncio.sleep(0.005)
        answer = meter.stop()
        await serving
        assert done >= runs, done
        assert await queue.count("incomplete") == 0
        return answer


async def enqueue(folder: str, runs: int, at_once: int) -> dict[str, Any]:
    """Put in one by one, by so many callers beside each other."""
    async with _open(folder) as (queue, server):
        await queue.enqueue("noop")
        meter = Meter(beside=server.processor_s)
        await _fill(queue, runs, at_once=at_once)
        return meter.stop()


async def _fill(queue: Any, runs: int, *, at_once: int) -> None:
    numbers = iter(range(runs))

    async def call() -> None:
        for _ in numbers:
            await queue.enqueue("noop")

    await asyncio.gather(*(call() for _ in range(at_once)))
