"""Resources that runs wait for: model servers that are away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agency.core.clock import Clock
from agency.engine.patience import until_read
from agency.errors import StoreFull
from agency.ports.store import MailStore, Wake

log = logging.getLogger(__name__)

WOKEN_AT_ONCE = 8
"""Runs that are woken together when a resource is back: its lane takes them one after another."""
WAKE_PAUSE_S = 0.2


class Resources:
    """Looks for missing resources while runs wait for them, and wakes the runs when they are back.

    Nothing is polled while nobody waits.
    """

    def __init__(
        self,
        *,
        mail: MailStore,
        clock: Clock,
        health: Mapping[str, Callable[[], Awaitable[bool]]],
        wake: Callable[[Sequence[Wake]], None],
        poll_s: float,
    ) -> None:
        self._mail = mail
        self._clock = clock
        self._health = health
        self._wake = wake
        self._poll_s = poll_s
        self._wanted: set[str] = set()
        self._expected = asyncio.Event()

    def expect(self, resource: str) -> None:
        """Take note that a run waits for ``resource``."""
        self._wanted.add(resource)
        self._expected.set()

    async def is_healthy(self, resource: str) -> bool:
        """Look whether a resource answers now; one that this daemon does not know does not."""
        look = self._health.get(resource)
        return look is not None and await look()

    async def serve(self, stop: asyncio.Event) -> None:
        """Watch until ``stop`` is set."""
        self._wanted.update(await until_read(self._mail.resources))
        if self._wanted:
            self._expected.set()
        while not stop.is_set():
            await _first_of(stop, self._expected, None)
            while self._wanted and not stop.is_set():
                for resource in sorted(self._wanted):
                    if await self.is_healthy(resource):
                        await self._wake_all(resource, stop)
                if self._wanted:
                    await _first_of(stop, None, self._poll_s)
            self._expected.clear()
            if self._wanted:
                self._expected.set()

    async def _wake_all(self, resource: str, stop: asyncio.Event) -> None:
        self._wanted.discard(resource)
        while not stop.is_set():
            try:
                wakes = await self._mail.wake_waiting_for(
                    resource, limit=WOKEN_AT_ONCE, now=self._clock.now()
                )
            except StoreFull:
                log.warning("no room to wake runs", extra={"resource": resource})
                self._wanted.add(resource)
                return
            if not wakes:
                return
            log.info("resource is back", extra={"resource": resource, "runs": len(wakes)})
            self._wake(wakes)
            await _first_of(stop, None, WAKE_PAUSE_S)
            if not await self.is_healthy(resource):
                self._wanted.add(resource)
                return


async def _first_of(
    stop: asyncio.Event, other: asyncio.Event | None, timeout_s: float | None
) -> None:
    waits = {asyncio.ensure_future(stop.wait())}
    if other is not None:
        waits.add(asyncio.ensure_future(other.wait()))
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
