"""Branches: the strands of a run that go on beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.content import DELIVERED
from agency.engine.journal import MARKS
from agency.errors import InvalidInput

END_PATH = "!end/"
"""Path of the branch in which the work registered for the real end runs."""


class Branch:
    """One strand: the root, a branch of a gather, map or first, or the end.

    Attributes:
        path: Prefix of the keys of everything in it, ending in ``/``; empty for the root.
        task: The only task that may call the context for it.
        in_flight: Name of the operation that it awaits, or None.
        is_lost: It has lost a ``first``: nothing that it still asks for is answered.
        is_left: Its code was told to stop and did not: it is left to itself, and counts no more.
        last_key: Key of the last operation that it has begun.
    """

    __slots__ = (
        "_counters",
        "in_flight",
        "is_end",
        "is_left",
        "is_lost",
        "last_key",
        "parent",
        "path",
        "task",
    )

    def __init__(self, path: str, parent: Branch | None = None) -> None:
        self.path = path
        self.parent = parent
        self.is_lost = False
        self.is_left = False
        self.task: asyncio.Task[Any] | None = None
        self.in_flight: str | None = None
        self.last_key = ""
        self.is_end = path.startswith(END_PATH)
        self._counters: dict[str, int] = {}

    def tasks(self) -> Iterator[asyncio.Task[Any]]:
        """Its own task, and those of the branches that it is in."""
        branch: Branch | None = self
        while branch is not None:
            if branch.task is not None:
                yield branch.task
            branch = branch.parent

    def key(self, name: str) -> str:
        """Make the key of the next occurrence of a name."""
        number = self._counters.get(name, 0) + 1
        if number == 1:
            check_name(name)
        self._counters[name] = number
        self.last_key = f"{self.path}{name}#{number}"
        return self.last_key

    def content_key(self, label: str) -> str:
        """Make the key of the next content of a label: ``content/gather#1.a/log#2``.

        Branches count for themselves: which of them is faster is another each time.
        """
        counter = f"{DELIVERED}{label}"  # no name of a step has the mark in it
        number = self._counters.get(counter, 0) + 1
        self._counters[counter] = number
        return f"{DELIVERED}{self.path}{label}#{number}"


CURRENT_BRANCH: ContextVar[Branch | None] = ContextVar("agency_branch", default=None)


def check_name(name: str) -> None:
    """Refuse a name that keys cannot be made with.

    Raises:
        InvalidInput: it is empty, too long, or holds one of the marks of keys.
    """
    if not isinstance(name, str) or not name or len(name) > NAME_CHARACTERS_MAX:
        raise InvalidInput(
            f"The name {name!r} of a step or branch cannot be used.",
            hint=f"Use 1 to {NAME_CHARACTERS_MAX} characters.",
        )
    if any(mark in name for mark in MARKS) or not name.isprintable():
        raise InvalidInput(
            f"The name {name!r} of a step or branch cannot be used.",
            hint=f"Leave out {' '.join(MARKS)} and control characters.",
        )


class Join:
    """Where a branch waits for the branches that it has made.

    While it waits it is not active. The branch that satisfies it hands its own activity over in
    the same moment, so that there is never an instant in which the run seems to be idle.
    """

    def __init__(self, is_satisfied: Callable[[Join], bool]) -> None:
        self._is_satisfied = is_satisfied
        self._ready: asyncio.Future[None] | None = None
        self.branches: dict[str, Branch] = {}
        self.running: dict[str, asyncio.Task[Any]] = {}
        self.done: dict[str, asyncio.Task[Any]] = {}

    def arm(self) -> asyncio.Future[None] | None:
        """Get ready to wait; None if there is nothing to wait for."""
        if self._is_satisfied(self):
            return None
        self._ready = asyncio.get_running_loop().create_future()
        return self._ready

    def finish(self, name: str, task: asyncio.Task[Any]) -> bool:
        """Take note of a branch's end. True if it hands its activity to the waiting branch."""
        del self.running[name]
        self.done[name] = task
        ready = self._ready
        if ready is not None and not ready.done() and self._is_satisfied(self):
            ready.set_result(None)
            return True
        return False
