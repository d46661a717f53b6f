"""What the lives of one connection share of its login: who may renew, and what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from agency.core.clock import monotonic_s

FAILED_PAUSE_S = 5.0
"""An authorization server that did not answer is left alone for so long."""

CLOSE_S = 10.0
"""Longest wait, when the daemon stops, for a renewal that is under way: its token would be lost."""

_Result = TypeVar("_Result")


class NotRenewed(Exception):
    """A token could not be renewed now; the text says why. It may work later."""


class SharedLogin:
    """The login of one connection, as far as it is not in the vault."""

    def __init__(self, tasks: set[asyncio.Task[Any]]) -> None:
        self._lock = asyncio.Lock()
        self._tasks = tasks
        self.unkept: object | None = None
        """A grant for which the vault had no room, and which would be lost otherwise."""
        self._failure: NotRenewed | None = None
        self._failed_s = 0.0

    async def alone(self, work: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Do something while nobody else does; it is finished even if nobody waits any more."""

        async def locked() -> _Result:
            async with self._lock:
                return await work()

        # It is no part of the call that has needed it, and outlives it.
        task = asyncio.get_running_loop().create_task(locked(), name="mcp-login", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at, so that the loop does not complain where nobody waits any more.
            task.exception()

    def check(self) -> None:
        """Fail as it failed a moment ago, so that those who wait do not ask one after another.

        Raises:
            NotRenewed: it failed a moment ago.
        """
        if self._failure is not None and monotonic_s() - self._failed_s < FAILED_PAUSE_S:
            raise NotRenewed(str(self._failure))

    def note(self, failure: NotRenewed | None) -> None:
        """Note that a renewal has failed, or, without a failure, that one has not."""
        self._failure, self._failed_s = failure, monotonic_s()


class Logins:
    """The logins of all connections."""

    def __init__(self) -> None:
        self._shared: dict[str, SharedLogin] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def of(self, name: str) -> SharedLogin:
        """Give that of a connection; the same one for each of its lives."""
        return self._shared.setdefault(name, SharedLogin(self._tasks))

    async def close(self) -> None:
        """Wait for what is under way; what takes longer is given up."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=CLOSE_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)


def secret_name(connection: str) -> str:
    """Name the secret of the vault in which the login of a connection is."""
    return f"mcp.{connection}.login"
