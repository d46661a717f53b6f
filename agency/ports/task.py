"""Where tasks are kept: what makes a run one, and what its caller has said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from agency.core.records import dataclass
from agency.domain.content import Content
from agency.domain.task import NewTaskMessage, Task, TaskState
from agency.domain.wait import WaitOutcome

if TYPE_CHECKING:  # it names records of that file
    from agency.ports.store import Wake


CONTENTS_BYTES_MAX = 32 * 1024 * 1024
"""Content that is read at once: it is held in memory, and is part of one answer."""


TASKS_BYTES_MAX = 64 * 1024 * 1024
"""Tasks of a page with all that belongs to them: they are held in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; None means any. ``owner`` and ``target`` are always asked for."""

    owner: str
    target: str
    context_id: str | None = None
    state: TaskState | None = None
    changed_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Where a page of tasks has ended: moment of the change in microseconds, and number."""

    changed_at: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Some tasks, those changed last first.

    Attributes:
        total: How many there are in all.
        next: Where to go on; None at the end.
    """

    tasks: Sequence[Task]
    total: int
    next: TaskPlace | None


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A piece of content that a run has handed out before its end.

    Attributes:
        number: Of its entry in the journal.
        key: Of its entry.
        content: None where all before it have used up `CONTENTS_BYTES_MAX`.
    """

    number: int
    key: str
    content: Content | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What became of a message to a task.

    Attributes:
        is_new: False when it was there already, and nothing was done.
        wakes: Whoever has to hear of it.
    """

    is_new: bool
    wakes: Sequence[Wake] = field(default=())


class TaskStore(Protocol):
    """Tasks. Each method is one atomic transaction; a task goes with its run.

    Tasks are started by `agency.ports.store.RunStore.start`, with `NewRun.task`: task, message and
    run are stored in one transaction. If the message was stored before, by the same principal for
    the same target, the run that its task began with comes back with ``is_new`` False; if its
    digest is another one, `MessageIdTaken` is raised.
    """

    async def find(self, task_id: str) -> Task | None:
        """Read a task as it is; None if there is none. All of it is of one moment."""
        ...

    async def find_said(self, message: NewTaskMessage, *, owner: str, target: str) -> str | None:
        """Find the id of the task that a message was stored for; None if it was not.

        Raises:
            MessageIdTaken: another message was stored under its id.
        """
        ...

    async def list(self, which: TaskFilter, *, after: TaskPlace | None, limit: int) -> TaskPage:
        """Read tasks, those whose state changed last first, below a place.

        Up to ``limit`` of them, and fewer where they would have more than `TASKS_BYTES_MAX` bytes;
        one at least.
        """
        ...

    async def contents(self, run: int, *, after: int, through: int) -> Sequence[HandedOut]:
        """Read what a run has handed out in the entries above one number, up to another.

        In its order, with up to `CONTENTS_BYTES_MAX` bytes of content, or else the first piece.
        """
        ...

    async def answer(
        self,
        task_id: str,
        message: NewTaskMessage,
        *,
        wait: str,
        outcome: WaitOutcome,
        payload: Any,  # noqa: ANN401  JSON value
        now: datetime,
    ) -> Said:
        """Store a message and resolve an open wait with it, as `MailStore.answer` does.

        A message that is there already does nothing. An approval is decided as
        `agency.ports.approval.ApprovalStore.decide` does: ``payload`` is then
        ``{"approved": bool, "comment": str, "value": JSON or None}``.

        Raises:
            TaskNotFound: there is none.
            MessageIdTaken: the id was used for another message.
            RunEnded, WaitNotFound, WaitTaken: as `MailStore.answer`.
            TooManyMessages: the task has as many as it may, or as many bytes of them.
        """
        ...

    async def deliver(
        self,
        task_id: str,
        message: NewTaskMessage,
        *,
        payload: Any,  # noqa: ANN401  JSON value
        now: datetime,
    ) -> Said:
        """Store a message and put it into the run's mailbox as the event ``message``.

        Only a run that waits or has waited for one is told: others would never look.

        Raises:
            TaskNotFound, MessageIdTaken, RunEnded, TooManyMessages: as `answer`.
            MessageUnwanted: the run has never waited for a message.
        """
        ...
