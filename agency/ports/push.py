"""Where pushes are kept: whom to tell of tasks, and how far that has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.push import NewPush, Push


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPushes:
    """Pushes whose tasks have recorded something, and how far was looked.

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
    """Pushes. Each method is one atomic transaction; a push goes with its task."""

    async def put(self, new: NewPush, *, per_task_max: int) -> Push:
        """Keep a push, or set one of the same task and id anew.

        Where it begins is decided in the same transaction: nothing that the task records from then
        on is missed, and the end of one that has ended already is told. A push that is set anew
        never goes forward by that: what it has not told yet is still told.

        Raises:
            TaskNotFound: there is no such task.
            TooManyPushes: the task has ``per_task_max`` others.
            StoreFull: nothing was kept.
        """
        ...

    async def get(self, task_id: str, push_id: str) -> Push:
        """Read a push of a task.

        Raises:
            PushNotFound: there is none.
        """
        ...

    async def list(self, task_id: str, *, after: int, limit: int) -> Sequence[Push]:
        """Read a task's pushes in the order of their numbers, those above ``after``.

        The task may also be named by the run that it is now.
        """
        ...

    async def delete(self, task_id: str, push_id: str) -> bool:
        """Forget a push, and tell whether there was one."""
        ...

    async def find(self, number: int) -> Push | None:
        """Read a push by its number; None if it is gone."""
        ...

    async def unfinished(self, *, after: int, limit: int) -> Sequence[int]:
        """List active pushes whose tasks have recorded more than they are done with.

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

    async def give_up(self) -> int:
        """Give up all that are active: nobody is told any more. Tells how many they were."""
        ...
