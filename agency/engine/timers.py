"""The timer: one sleep until the earliest moment at which anything comes due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from agency.core.clock import Clock
from agency.core.limits import TIMER_REREAD_S
from agency.errors import ReadTooLong, StoreFull
from agency.ports.store import RunStore, Wake

log = logging.getLogger(__name__)

BATCH_WAITS_MAX = 500
"""Waits resolved in one transaction: more hold up other writers."""
_RETRY_S = 1.0

Source = Callable[[datetime], Awaitable[datetime | None]]
"""Does what is due by a moment, and tells when it is to be asked again, or None."""


class Timer:
    """Fires what is due, and sleeps until the next.

    It reads the wall clock again at least every ``limits.TIMER_REREAD_S`` seconds: machines sleep
    and clocks are set.
    """

    def __init__(
        self,
        *,
        runs: RunStore,
        clock: Clock,
        wake: Callable[[Sequence[Wake]], None],
        overdue: Callable[[str], Awaitable[None]],
        nudge: Callable[[], None],
        sources: Sequence[Source] = (),
    ) -> None:
        self._runs = runs
        self._sources = sources
        self._clock = clock
        self._wake = wake
        self._overdue = overdue
        self._nudge = nudge
        self._next_at: datetime | None = None
        self._earlier = asyncio.Event()

    async def catch_up(self) -> None:
        """Fire what is due by the clock as it is now: it was set, or the machine has slept."""
        await self._fire()

    def expect(self, moment: datetime) -> None:
        """Take note that something comes due at ``moment``."""
        if self._next_at is None or moment < self._next_at:
            self._next_at = moment
            self._earlier.set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Fire what comes due until ``stop`` is set."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                await self._fire()
                await self._sleep(stopped)
        finally:
            stopped.cancel()

    async def _fire(self) -> None:
        while True:
            now = self._clock.now()
            # What is expected from here on was perhaps not yet committed when the store looks.
            self._next_at = None
            self._earlier.clear()
            try:
                due = await self._runs.fire_due(now=now, limit=BATCH_WAITS_MAX)
                self._wake(due.wakes)
                for run_id in due.overdue:
                    await self._overdue(run_id)
                for source in self._sources:
                    moment = await source(now)
                    if moment is not None:
                        self.expect(moment)
            except (StoreFull, ReadTooLong) as error:
                log.warning("timers are fired later", extra={"reason": error.code})
                self.expect(now + timedelta(seconds=_RETRY_S))
                return
            self._nudge()
            if due.next_at is not None:
                self.expect(due.next_at)
            if len(due.wakes) < BATCH_WAITS_MAX:
                return

    async def _sleep(self, stopped: asyncio.Future[Literal[True]]) -> None:
        """Sleep until the next moment, an earlier one, or the stop."""
        while not stopped.done():
            self._earlier.clear()
            remaining = TIMER_REREAD_S
            if self._next_at is not None:
                remaining = min(remaining, (self._next_at - self._clock.now()).total_seconds())
            if remaining <= 0:
                return
            earlier = asyncio.ensure_future(self._earlier.wait())
            try:
                done, _ = await asyncio.wait(
                    {earlier, stopped}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                earlier.cancel()
            if not done:
                return
