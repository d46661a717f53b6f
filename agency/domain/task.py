"""A task: what A2A sees of a run, and what is kept of it beside the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.domain.content import Content
from agency.domain.run import Run, RunStatus
from agency.domain.wait import Wait, WaitKind

TASK_MESSAGES_MAX = 1_000
"""Messages of one task: each is part of every answer that shows the whole task."""

TASK_MESSAGES_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of all of them: they are read together, whenever the task is."""

TASK_NAME_CHARACTERS_MAX = 256
"""Longest id of a message or a context; callers choose them."""

REJECTED = "rejected"
"""Code of the error of a run that its author has refused to do."""

MESSAGE_EVENT = "message"
"""Name of the event as which a message reaches a workflow that goes on, or waits for it."""

AUTHORIZATION = "authorization"
"""Member of what a wait shows by which it is one for an authorization."""


class TaskState(StrEnum):
    """What a task is doing, in the words of A2A but for their spelling.

    Source: A2A 1.0, section 4.1.3.
    """

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    AUTH_REQUIRED = "auth_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


INTERRUPTED = frozenset({TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED})
"""It is the caller's turn."""

TERMINAL = frozenset(
    {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.REJECTED}
)
"""Nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTaskMessage:
    """A message of the caller, to be stored with what it does.

    Attributes:
        id: Chosen by the caller.
        content: What it says.
        digest: Hash of all of it: a message with the same id is the same one if this is equal.
        is_repeatable: The id may come again for another message; else it counts once.
        more: Members that it has beside its parts, as the protocol's JSON has them; handed back
            unread.
    """

    id: str
    content: Content
    digest: str
    is_repeatable: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What makes a run a task, stored in the transaction that starts it.

    Its caller is the run's principal.

    Attributes:
        target: Name of the published agent or workflow that was spoken to.
        context_id: Conversation that it belongs to.
        message: The one that has started it.
    """

    target: str
    context_id: str
    message: NewTaskMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMessage:
    """A message of the caller, as it is kept.

    Attributes:
        place: Newest number of the journal when it came.
        more: As of `NewTaskMessage`.
    """

    id: str
    content: Content
    at: datetime
    place: int
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that a task asks its caller, or has asked.

    Attributes:
        place: Number of its entry in the journal.
    """

    wait: Wait
    place: int

    def was_open(self, at: datetime) -> bool:
        """Tell whether it was asked and not yet answered at a moment."""
        resolved_at = self.wait.resolved_at
        return self.wait.opened_at <= at and (
            self.wait.outcome is None or (resolved_at is not None and resolved_at > at)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run as a task, as it was at one moment.

    Attributes:
        id: Of the run that it began with; a run may hand it on to its successor.
        owner: Principal who has started it.
        changed_at: When its state last changed.
        seen: Newest number of the journal at that moment: all that comes later is told by updates
            above it.
        told: Number of the update that has told the run's status.
        messages: Those of the caller, in their order.
        questions: What it has asked and asks its caller, in their order.
        waits: What the run waits for now.
        has_contents: It has handed out content.
    """

    id: str
    run: Run
    target: str
    context_id: str
    owner: str
    changed_at: datetime
    seen: int
    told: int
    messages: Sequence[TaskMessage]
    questions: Sequence[Question]
    waits: Sequence[Wait]
    has_contents: bool

    @property
    def state(self) -> TaskState:
        """What it is doing."""
        if self.run.id != self.id and self.run.status is RunStatus.PENDING:
            return TaskState.WORKING  # it goes on as another run
        return state_of(self.run, [one.wait for one in self.open_questions()])

    def open_questions(self) -> Sequence[Question]:
        """List what is to be answered, the oldest first."""
        return [one for one in self.questions if one.wait.outcome is None]


def is_question(wait: Wait) -> bool:
    """Tell whether the caller of a task can answer a wait."""
    match wait.kind:
        case WaitKind.INPUT | WaitKind.APPROVAL:
            return True
        case WaitKind.EVENT:
            return wait.name == MESSAGE_EVENT and not wait.target
        case _:
            return False


def is_authorization(wait: Wait) -> bool:
    """Tell whether somebody is to authorize something elsewhere."""
    return isinstance(wait.show, dict) and AUTHORIZATION in wait.show


_ENDS = {
    RunStatus.COMPLETED: TaskState.COMPLETED,
    # What there is is not what was asked for, and a caller would take it for that.
    RunStatus.LIMIT_REACHED: TaskState.FAILED,
    RunStatus.FAILED: TaskState.FAILED,
    RunStatus.DEAD_LETTER: TaskState.FAILED,
    RunStatus.CANCELLED: TaskState.CANCELLED,
    RunStatus.TIMED_OUT: TaskState.FAILED,
    RunStatus.COMPENSATED: TaskState.FAILED,
    RunStatus.COMPENSATION_FAILED: TaskState.FAILED,
}


def state_of(run: Run, asking: Sequence[Wait]) -> TaskState:
    """Tell what a run is doing as a task; the store's trigger ``task_state`` says the same.

    Args:
        run: The run.
        asking: Its open waits that the caller can answer, the oldest first.
    """
    match run.status:
        case RunStatus.PENDING:
            return TaskState.SUBMITTED if run.started_at is None else TaskState.WORKING
        case RunStatus.RUNNING:
            return TaskState.WORKING
        case RunStatus.SUSPENDED:
            return asked_state(asking)
        case RunStatus.FAILED if run.error is not None and run.error.code == REJECTED:
            return TaskState.REJECTED
        case _:
            return _ENDS[run.status]


def asked_state(asking: Sequence[Wait]) -> TaskState:
    """Tell the state of a suspended run by what it asks for; timers and the like go on."""
    if not asking:
        return TaskState.WORKING
    return TaskState.AUTH_REQUIRED if is_authorization(asking[0]) else TaskState.INPUT_REQUIRED
