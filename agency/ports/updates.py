"""What watchers of runs are told, in the order in which it was committed.

An update is an entry of the journal: one number orders all that happens in all runs. What the store
writes for watchers only (changes of status, progress) it writes in the statement that makes the
change, so that no update costs a commit.

Numbers never come twice, also not after old runs were deleted. For that the entry with the highest
number is never deleted, whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.update import HookState, Update, UpdateType


@dataclass(frozen=True, slots=True)
class UpdatePage:
    """Updates in the order of their numbers, and how far was looked: where the next page begins."""

    updates: Sequence[Update]
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStep:
    """How far a hook has come since it was last written down."""

    name: str
    position: int
    calls: int
    skipped: int


class UpdateStore(Protocol):
    """Reading what has happened, and keeping how far hooks have come."""

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` on the loop after commits, until what comes back is called.

        Only a hint: one call may stand for many commits, and a commit may have nothing to see. What
        was committed before the call is seen by whoever reads then.
        """
        ...

    async def newest(self) -> int:
        """Tell the highest number that was given; 0 if there is none."""
        ...

    async def tail(
        self, *, after: int, types: frozenset[UpdateType], runs: frozenset[int], limit: int
    ) -> UpdatePage:
        """Look at up to ``limit`` entries above ``after``, and read those that are wanted.

        Wanted are those of ``types`` of all runs, and all that is to be seen of ``runs`` (by their
        numbers). ``seen`` is ``after`` itself when there is nothing newer.
        """
        ...

    async def of_run(self, run_id: str, *, after: int, limit: int) -> UpdatePage:
        """Read up to ``limit`` updates of one run above ``after``.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def last_status(self, run_id: str) -> Update:
        """Read the newest change of status of a run: every run has one.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def open_hook(self, name: str, *, now: datetime) -> int:
        """Tell how far a hook has come; one that is new begins with what comes from now on."""
        ...

    async def save_hooks(self, steps: Sequence[HookStep], *, now: datetime) -> None:
        """Write down how far hooks have come; a position never goes back."""
        ...

    async def hooks(self) -> Sequence[HookState]:
        """Read how far all hooks have come that there ever were, by name."""
        ...
