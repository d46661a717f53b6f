"""A bounded pool for steps that are plain functions.

Unlike the standard library's pool its threads never hold up the exit of the process: a function
that is late keeps its thread, and nothing waits for it longer than it wants to.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any

_Job = tuple[
    contextvars.Context,
    Callable[[], Any],
    asyncio.Future[Any],
    asyncio.AbstractEventLoop,
    Callable[[], None] | None,
]


class ThreadPool:
    """Threads for blocking work; made when first needed, ``threads_max`` at the most."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._threads = 0
        self._idle = 0
        self._waiting = 0
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    def submit(
        self, function: Callable[[], Any], *, on_start: Callable[[], None] | None = None
    ) -> asyncio.Future[Any]:
        """Run ``function`` in a thread, in a copy of the caller's context.

        The future is done when the function has returned, also if nobody awaits it any more. If it
        is cancelled before the function has begun, that never begins.
        Work beyond the threads waits in order; ``on_start`` is called in the loop when it begins.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting += 1
            if self._waiting > self._idle and self._threads < self._threads_max:
                self._threads += 1
                self._idle += 1
                threading.Thread(
                    target=self._serve, name=f"step-{self._threads}", daemon=True
                ).start()
        self._jobs.put((contextvars.copy_context(), function, future, loop, on_start))
        return future

    def close(self) -> None:
        """Let the threads end once what was submitted is done; nothing may be submitted then."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            context, function, future, loop, on_start = job
            del job
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            if future.cancelled():
                with self._lock:
                    self._idle += 1
                continue
            value: Any = None
            failure: BaseException | None = None
            if on_start is not None and not loop.is_closed():
                loop.call_soon_threadsafe(on_start)
            try:
                value = context.run(function)
            except BaseException as error:  # noqa: BLE001  handed to whoever awaits
                failure = error
            with self._lock:
                self._idle += 1
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, value, failure)
            del context, function, future, value, failure, on_start


def _settle(future: asyncio.Future[Any], value: object, failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(value)
    else:
        if isinstance(failure, StopIteration):  # cannot be set on a future
            failure = RuntimeError(f"step raised StopIteration: {failure}")
        future.set_exception(failure)
