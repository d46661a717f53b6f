"""Where chance and other threads come into the product: ids, jitter, plain functions.

For the time of a seed they are replaced by what the seed draws.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agency.core import clock as clock_module
from agency.core import ids
from agency.core.clock import EPOCH
from agency.engine import engine as engine_module
from agency.engine import runs as runs_module
from agency.engine.pool import ThreadPool
from tests.simulation.loop import SerialEvent, restart_serials

BEGIN = EPOCH + timedelta(days=20_000)
_THREAD_S_MAX = 0.5


class SimulatedClock:
    """The wall clock: what has passed on the loop, and a difference that may jump."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.elapsed_s: Callable[[], float] = lambda: 0.0

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.elapsed_s() + self.ahead_s)


class InlineThreads(ThreadPool):
    """The pool for plain functions: they are carried out at once, and have taken some time."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(1)
        self._source = source

    def submit(
        self, function: Callable[[], Any], *, on_start: Callable[[], None] | None = None
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def serve() -> None:
            if future.cancelled():
                return
            if on_start is not None:
                on_start()
            try:
                value = context.run(function)
            except Exception as error:
                loop.call_later(self._source.random() * _THREAD_S_MAX, _fail, future, error)
            else:
                loop.call_later(self._source.random() * _THREAD_S_MAX, _succeed, future, value)

        loop.call_later(self._source.random() * _THREAD_S_MAX, serve)
        return future


def _succeed(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@contextmanager
def seeded(source: random.Random, clock: SimulatedClock) -> Iterator[None]:
    """Draw everything from ``source`` that the product draws from the machine."""
    restart_serials()
    chance = SimpleNamespace(urandom=source.randbytes)
    moment = SimpleNamespace(
        time_ns=lambda: (clock.now() - EPOCH) // timedelta(microseconds=1) * 1000
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "os", chance)
        patch.setattr(ids, "time", moment)
        patch.setattr(runs_module, "os", chance)
        patch.setattr(clock_module, "monotonic_s", clock.elapsed_s)
        patch.setattr(engine_module, "ThreadPool", lambda _: InlineThreads(source))
        patch.setattr(asyncio, "Event", SerialEvent)
        yield
