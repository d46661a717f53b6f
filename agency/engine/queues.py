"""Named queues: which there are, and how operators pause and drain them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from agency.config.schema import Queue as QueueSettings
from agency.core.clock import Clock
from agency.core.names import DEFAULT_QUEUE
from agency.domain.queue import Queue, QueueLimits
from agency.domain.run import Run, RunStatus
from agency.engine.definition import Definition
from agency.engine.registry import Registry
from agency.errors import QueueFull, QueueNotFound
from agency.ports.queues import QueueStore

log = logging.getLogger(__name__)

RETRY_AFTER_S = 10.0
"""When to try again with a full queue whose pace is not known."""
_RETRY_AFTER_S_MIN, _RETRY_AFTER_S_MAX = 1.0, 60.0
_PACE_S = 60.0
"""How far back the pace of a queue is looked at."""
_PACE_RUNS = 256


class Queues:
    """The queues of an engine. All methods raise the errors of ``agency.errors``.

    A queue that somebody may name is one that the settings name, or a workflow; any other name is
    a slip, and would be a queue without limits.
    """

    def __init__(
        self,
        *,
        store: QueueStore,
        registry: Registry,
        clock: Clock,
        settings: Mapping[str, QueueSettings],
        nudge: Callable[[], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._nudge = nudge
        self._left: dict[str, deque[float]] = {}
        self._watched: dict[str, set[asyncio.Event]] = {}

    async def configure(self) -> None:
        """Hand the limits of all queues and workflows to the store, before anything is claimed."""
        names = {DEFAULT_QUEUE, *self._settings}
        names |= {one.queue for one in self._registry if one.queue is not None}
        await self._store.configure(
            [_limits(name, self._settings.get(name, QueueSettings())) for name in sorted(names)],
            workflows={
                one.name: one.concurrency for one in self._registry if one.concurrency is not None
            },
            now=self._clock.now(),
        )

    def choose(self, wanted: str | None, definition: Definition) -> str:
        """Choose the queue of a run: the one asked for, else the workflow's, else the default.

        Raises:
            QueueNotFound: nobody has made the queue that is asked for.
        """
        name = wanted or definition.queue or DEFAULT_QUEUE
        if wanted is not None and not self._is_known(name):
            raise QueueNotFound(name)
        return name

    def _is_known(self, name: str) -> bool:
        return (
            name == DEFAULT_QUEUE
            or name in self._settings
            or any(one.queue == name for one in self._registry)
        )

    async def list(self, *, after: str | None, limit: int) -> Sequence[Queue]:
        """Read queues by name, those behind ``after``."""
        return await self._store.list(after=after, limit=limit)

    async def get(self, name: str) -> Queue:
        """Read one queue. Raises: QueueNotFound."""
        return await self._store.get(name)

    async def pause(self, name: str) -> Queue:
        """Let nothing of the queue be taken up until it is resumed, also after a restart.

        Raises:
            QueueNotFound: there is none.
        """
        await self._store.pause(name, now=self._clock.now())
        log.info("queue paused", extra={"queue": name})
        return await self._store.get(name)

    async def resume(self, name: str) -> Queue:
        """Let the queue be worked off again.

        Raises:
            QueueNotFound: there is none.
        """
        await self._store.resume(name)
        log.info("queue resumed", extra={"queue": name})
        self._nudge()
        return await self._store.get(name)

    async def drain(self, name: str, *, timeout_s: float) -> Queue:
        """Pause the queue, and wait until nothing of it runs, ``timeout_s`` at most.

        Its count of running runs says whether that was reached.

        Raises:
            QueueNotFound: there is none.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        left = asyncio.Event()
        watchers = self._watched.setdefault(name, set())
        watchers.add(left)
        try:
            queue = await self.pause(name)
            while queue.count(RunStatus.RUNNING) > 0 and loop.time() < until:
                try:
                    async with asyncio.timeout_at(until):
                        await left.wait()
                except TimeoutError:
                    break
                left.clear()
                queue = await self._store.get(name)
            return queue
        finally:
            watchers.discard(left)
            if not watchers:
                self._watched.pop(name, None)

    def left(self, run: Run) -> None:
        """Take note that a run is not worked on any more."""
        moments = self._left.get(run.queue)
        if moments is None:
            moments = self._left[run.queue] = deque(maxlen=_PACE_RUNS)
        moments.append(asyncio.get_running_loop().time())
        for watcher in self._watched.get(run.queue, ()):
            watcher.set()

    def explain_full(self, full: QueueFull) -> QueueFull:
        """Say when to try again: when a tenth of the queue is worked off at its present pace."""
        now = asyncio.get_running_loop().time()
        recent = [moment for moment in self._left.get(full.queue, ()) if now - moment <= _PACE_S]
        full.retry_after_s = RETRY_AFTER_S
        if recent:
            pace = len(recent) / max(now - recent[0], 0.001)
            wanted_s = full.size_max / 10 / pace
            full.retry_after_s = min(max(wanted_s, _RETRY_AFTER_S_MIN), _RETRY_AFTER_S_MAX)
        return full


def _limits(name: str, settings: QueueSettings) -> QueueLimits:
    """In the settings 0 is no limit."""
    return QueueLimits(
        name=name,
        concurrency=settings.concurrency or None,
        rate=settings.rate or None,
        rate_period_s=settings.rate_period_s,
        size_max=settings.size_max or None,
    )
