"""Queues on SQLite; the promises are those of `agency.ports.queues.QueueStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.queue import Queue, QueueLimits
from agency.domain.run import RunStatus
from agency.errors import QueueNotFound
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

SECOND = 1_000_000


class SqliteQueues:
    """Queues in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def configure(
        self, limits: Sequence[QueueLimits], *, workflows: Mapping[str, int], now: datetime
    ) -> None:
        """Set all limits anew; see `QueueStore.configure`."""
        rows = [_limits_form(one, to_micros(now)) for one in limits]
        await self._writer.submit(partial(_configure, limits=rows, workflows=dict(workflows)))

    async def list(self, *, after: str | None, limit: int) -> Sequence[Queue]:
        """Read queues by name; see `QueueStore.list`."""
        return [
            _queue_of(row) for row in await self._readers.all("list_queues", (after or "", limit))
        ]

    async def get(self, name: str) -> Queue:
        """Read one queue; see `QueueStore.get`."""
        row = await self._readers.one("get_queue", (name,))
        if row is None:
            raise QueueNotFound(name)
        return _queue_of(row)

    async def pause(self, name: str, *, now: datetime) -> None:
        """Let nothing of the queue be claimed; see `QueueStore.pause`."""
        await self._writer.submit(partial(_pause, name=name, now=to_micros(now)))

    async def resume(self, name: str) -> None:
        """Let the queue be claimed from; see `QueueStore.resume`."""
        await self._writer.submit(partial(_resume, name=name))


def capacity(rate: float) -> float:
    """Give the size of a bucket of tokens: one claim fits in however slowly it fills."""
    return max(rate, 1.0)


def _limits_form(limits: QueueLimits, now: int) -> dict[str, Any]:
    return {
        "name": limits.name,
        "concurrency": limits.concurrency,
        "size_max": limits.size_max,
        "rate": limits.rate,
        "period": None if limits.rate is None else round(limits.rate_period_s * SECOND),
        "capacity": 0.0 if limits.rate is None else capacity(limits.rate),
        "now": now,
    }


def _configure(
    tx: Transaction, limits: Sequence[Mapping[str, Any]], workflows: Mapping[str, int]
) -> None:
    tx.many("set_limits", limits)
    names = encode([one["name"] for one in limits]).decode()
    tx.change("lift_limits", (names,))
    tx.change("forget_queues", (names,))
    tx.change("lift_workflow_limits")
    tx.many("set_workflow_limit", sorted(workflows.items()))


def _pause(tx: Transaction, name: str, now: int) -> None:
    if not tx.change("pause_queue", {"name": name, "now": now}):
        raise QueueNotFound(name)


def _resume(tx: Transaction, name: str) -> None:
    if not tx.change("resume_queue", (name,)):
        raise QueueNotFound(name)


def _queue_of(row: Row) -> Queue:
    """Read ``queue_columns``."""
    name, paused_at, concurrency, size_max, rate, period, counted = row
    runs: dict[RunStatus, int] = {}
    for status, count in decode(counted):
        runs[RunStatus(status)] = runs.get(RunStatus(status), 0) + count
    limits = QueueLimits(
        name=name,
        concurrency=concurrency,
        rate=rate,
        rate_period_s=1.0 if period is None else period / SECOND,
        size_max=size_max,
    )
    return Queue(
        name=name,
        limits=limits,
        paused_at=None if paused_at is None else from_micros(paused_at),
        runs=runs,
    )
