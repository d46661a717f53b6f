"""Where pushes are kept: whom to tell of runs, and how far that has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agency.domain.push import NewPush, Push


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPushes:
    """Pushes whose runs have recorded something, and how far was looked.

    Attributes:
        numbers: Each once.
        seen: Newest number of the journal that was looked at; ``after`` itself if there is nothing
            newer.
        any_active: There are active pushes at all.
    """

    numbers: Sequence[int]
    seen: int
    any_active: bool


class PushStore(Protocol):
    """Pushes. Each method is one atomic transaction; a push goes with its run."""

    async def put(self, new: NewPush, *, per_run_max: int) -> Push:
        """Keep a push, or set one of the same run and id anew.

        Where it begins is decided in the same transaction: nothing that the run records from then
        on is missed, and the end of a run that has ended already is told. One that is set anew
        never goes forward by that: what it has not told yet is still told.

        Raises:
            RunNotFound: there is no such run.
            TooManyPushes: the run has ``per_run_max`` others.
            StoreFull: nothing was kept.
        """
        ...

    async def get(self, run_id: str, push_id: str) -> Push:
        """Read a push of a run.

        Raises:
            PushNotFound: there is none.
        """
        ...

    async def list(self, run_id: str, *, after: int, limit: int) -> Sequence[Push]:
        """Read a run's pushes in the order of their numbers, those above ``after``."""
        ...

    async def delete(self, run_id: str, push_id: str) -> bool:
        """Forget a push, and tell whether there was one."""
        ...

    async def find(self, number: int) -> Push | None:
        """Read a push by its number; None if it is gone."""
        ...

    async def unfinished(self, *, after: int, limit: int) -> Sequence[int]:
        """List active pushes whose runs have recorded more than they are done with.

        By number, those above ``after``.
        """
        ...

    async def changed(self, *, after: int, limit: int) -> ChangedPushes:
        """Look at up to ``limit`` entries of the journal above ``after``: whom do they concern."""
        ...

    async def note(self, push: Push) -> bool:
        """Write down how far a push has come, and what became of its last attempt.

        False, and nothing is changed, if it is gone or was set anew since it was read.
        """
        ...
