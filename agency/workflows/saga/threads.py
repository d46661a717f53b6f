"""Plain functions that act in threads: they cannot be stopped, so they are waited for."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

from agency.engine.steps import is_async

Thread = tuple[str, str]
"""Run and leg that a function acts for."""


class _CalledOff(RuntimeError):
    """The function was still waiting for a thread when its leg was taken back."""


class _Watch:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._is_running = False
        self._is_called_off = False
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        with self._lock:
            if self._is_called_off:
                raise _CalledOff("It was called off before it began.")
            self._is_running = True

    def end(self) -> None:
        with self._lock:
            self._is_running = False
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_tell, one)

    @property
    def is_running(self) -> bool:
        return self._is_running

    async def call_off(self) -> None:
        returned: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._is_called_off = True
            if not self._is_running:
                return
            self._waiting.append(returned)
        await returned


def _tell(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Threads:
    """Which plain functions act, by run and leg."""

    def __init__(self) -> None:
        self._watches: dict[Thread, _Watch] = {}

    def watched(self, thread: Thread, function: Callable[..., Any]) -> Callable[..., Any]:
        """Watch a plain function; an async one, which is cancelled, is handed back as it is."""
        if is_async(function):
            return function
        watch = self._watches[thread] = _Watch()

        @functools.wraps(function)
        def act(*args: Any) -> Any:  # noqa: ANN401  author's values
            watch.begin()
            try:
                return function(*args)
            finally:
                watch.end()

        return act

    def forget_idle(self, thread: Thread) -> None:
        """Forget a function whose step is over, unless it still acts or might begin to."""
        watch = self._watches.get(thread)
        task = asyncio.current_task()
        if watch is not None and not watch.is_running and not (task and task.cancelling()):
            del self._watches[thread]

    async def returned(self, thread: Thread) -> None:
        """Wait until a function that was cut off has returned; one that has not, never begins."""
        watch = self._watches.pop(thread, None)
        if watch is not None:
            await watch.call_off()
