"""Requests that wait for a run: bounded in time, and cut short when the daemon stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from agency.domain.run import ENDED
from agency.engine.runs import Runs
from agency.ports.store import RunDetail

REREAD_S = 1.0
"""A watched run is read again this often: a change between a look at it and the wait for the next
one is then late, but never lost."""


T = TypeVar("T")


class Patience:
    """All the requests that wait now."""

    def __init__(self) -> None:
        self._bounds: set[asyncio.Timeout] = set()
        self._is_over = False

    async def wait_for(self, runs: Runs, run_id: str, *, timeout_s: float) -> RunDetail:
        """Read a run when it has ended or is suspended, or ``timeout_s`` is over, or we stop.

        Raises:
            RunNotFound: there is none.
        """
        if timeout_s <= 0 or self._is_over:
            return await runs.get(run_id)
        # A second more than the wait itself has, so that the bound only counts when we stop.
        bound = asyncio.timeout(timeout_s + 1.0)
        self._bounds.add(bound)
        try:
            async with bound:
                return await runs.wait(run_id, timeout_s=timeout_s)
        except TimeoutError:
            return await runs.get(run_id)
        finally:
            self._bounds.discard(bound)

    async def wait_until(
        self, runs: Runs, run_id: str, is_wanted: Callable[[RunDetail], bool], *, timeout_s: float
    ) -> RunDetail:
        """Read a run as soon as ``is_wanted`` says so of it, or ``timeout_s`` is over, or we stop.

        Raises:
            RunNotFound: there is none.
        """
        if self._is_over:
            return await runs.get(run_id)
        bound = asyncio.timeout(timeout_s)
        self._bounds.add(bound)
        try:
            async with bound:
                while True:
                    detail = await runs.get(run_id)
                    if is_wanted(detail) or detail.run.status in ENDED:
                        return detail
                    await runs.watch(run_id, timeout_s=REREAD_S)
        except TimeoutError:
            return await runs.get(run_id)
        finally:
            self._bounds.discard(bound)

    async def hold(
        self, waiting: Awaitable[T], *, otherwise: Callable[[], Awaitable[T]], timeout_s: float
    ) -> T:
        """Await what has a limit of its own; when we stop before, give what ``otherwise`` gives."""
        bound = asyncio.timeout(0 if self._is_over else timeout_s + 1.0)
        self._bounds.add(bound)
        try:
            async with bound:
                return await waiting
        except TimeoutError:
            return await otherwise()
        finally:
            self._bounds.discard(bound)

    async def end(self, _: web.Application) -> None:
        """Let nobody wait any longer; called when the server begins to close."""
        self._is_over = True
        now = asyncio.get_running_loop().time()
        for bound in tuple(self._bounds):
            if not bound.expired():
                bound.reschedule(now)


PATIENCE = web.AppKey("patience", Patience)
