"""An event loop without a selector, whose time is made up and whose accidents come from a seed.

Each turn costs a little time; when nothing is ready the time jumps to the next timer. Whatever
really happens in another thread (a commit, a read, a plain function) is a timer here, and lands
between any two turns. The order of ``call_soon`` stays that of the calls: asyncio promises it, and
the engine may rely on it.

Futures and tasks are hashed by a serial number, so that sets of them are gone through in the same
order each time.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Coroutine
from itertools import count
from typing import Any

from agency.errors import StoreBroken, StoreFull

_TURN_S = 40e-6
"""A turn costs up to this much."""
_STALL_CHANCE = 0.001
_STALL_S = 3.0
"""Once in a while the machine does something else for up to this long."""


class _Serials:
    """Numbers of a seed's futures, tasks and events."""

    next = count(1)


class Killed(BaseException):
    """The life of this loop is over, as by ``kill -9``."""


class Stuck(AssertionError):
    """Nothing is ready, and nothing ever will be."""


class SerialFuture(asyncio.Future[Any]):
    """A future with a hash that comes out the same in each replay."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        self._serial = next(_Serials.next)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class SerialTask(asyncio.Task[Any]):
    """A task with a hash that comes out the same in each replay."""

    def __init__(self, work: Any, **more: Any) -> None:
        self._serial = next(_Serials.next)
        super().__init__(work, **more)

    def __hash__(self) -> int:
        return self._serial


class SerialEvent(asyncio.Event):
    """An event with a hash that comes out the same in each replay."""

    def __init__(self) -> None:
        self._serial = next(_Serials.next)
        super().__init__()

    def __hash__(self) -> int:
        return self._serial


def restart_serials() -> None:
    """Begin to count anew: a seed starts."""
    _Serials.next = count(1)


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> SerialTask:
    return SerialTask(work, loop=loop, **more)


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one life of the engine.

    Attributes:
        killed: Set by whoever kills; the loop stops before its next turn with `Killed`.
        turns: How many there were.
    """

    def __init__(self, source: random.Random, *, start_s: float) -> None:
        super().__init__()
        self.killed = False
        self.turns = 0
        self._random = source.random
        self._now = start_s
        # What is ready, and the timers: of the standard library's own loop.
        self._queue: Any = vars(self)["_ready"]
        self._timers: Any = vars(self)["_scheduled"]
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._now

    def create_future(self) -> SerialFuture:
        return SerialFuture(loop=self)

    def _write_to_self(self) -> None:
        """There is nobody asleep to be woken: all runs in this thread."""

    def _run_once(self) -> None:
        ready, scheduled = self._queue, self._timers
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                raise Stuck("nothing is ready, and nothing ever will be")
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        if ready:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
        self.turns += 1
        chance = self._random()
        self._now += chance * _TURN_S if chance > _STALL_CHANCE else self._random() * _STALL_S
        if self.killed:
            raise Killed

    def wind_up(self) -> list[asyncio.Task[Any]]:
        """Stop all tasks that a kill has left behind, and close the loop; nothing has an effect.

        Returns:
            Tasks that did not stop.
        """
        self.killed = False
        self.set_exception_handler(lambda *_: None)
        for _ in range(10):
            tasks = sorted(asyncio.all_tasks(self), key=hash)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.run_until_complete(_wait(tasks))
        while self._queue:  # those who listen to the tasks' ends
            self._run_once()
        left = list(asyncio.all_tasks(self))
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.close()
        return left


async def _wait(tasks: list[asyncio.Task[Any]]) -> None:
    _, late = await asyncio.wait(tasks, timeout=60.0)
    for task in tasks:
        if task not in late and not task.cancelled():
            task.exception()


def live(loop: SimulatedLoop, main: Coroutine[Any, Any, None]) -> bool:
    """Live until ``main`` has ended (True), or was killed or stopped by the disk (False)."""
    try:
        loop.run_until_complete(main)
    except (Killed, StoreBroken, StoreFull):
        return False
    return True
