"""Records in their stored form.

Everything is encoded on the caller's side, so that the writer's thread only binds and steps, and so
that a value that is changed after the call is stored as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from agency.core.clock import to_micros
from agency.core.json import encode
from agency.core.records import dataclass
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import NewRun, RunError
from agency.domain.task import NewTaskMessage
from agency.domain.wait import NewWait
from agency.ports.store import Claim, Writes

MORE = "more"
"""Member of a message's stored content that holds what it has beside its parts."""


@dataclass(frozen=True, slots=True)
class TaskMessageForm:
    """A message of a task's caller.

    Attributes:
        once: What it is known by if it counts once, else None.
    """

    new: NewTaskMessage
    once: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class StartForm:
    """A run to be started.

    Attributes:
        columns: Parameters of ``insert_runs`` but for the last, the input; in their order.
        input: JSON in UTF-8.
        message: Of a task the message that asks for it.
        is_plain: It wants nothing that one live run at a time may have.
    """

    new: NewRun
    columns: dict[str, Any]
    input: bytes
    message: TaskMessageForm | None = None

    @property
    def is_plain(self) -> bool:
        new = self.new
        return new.name is None and new.session_id is None and new.concurrency_key is None


@dataclass(frozen=True, slots=True)
class WaitForm:
    """A wait to be opened."""

    new: NewWait
    due_at: int | None
    show: bytes | None


@dataclass(frozen=True, slots=True)
class MessageForm:
    """A message to be appended."""

    session_id: str
    role: str
    content: bytes


@dataclass(frozen=True, slots=True)
class WritesForm:
    """What a claimed run records, encoded."""

    entries: Sequence[Entry]
    waits: Sequence[WaitForm]
    closed_waits: Sequence[str]
    children: Sequence[StartForm]
    messages: Sequence[MessageForm]
    superseded: Sequence[str]
    progress: bytes | None
    has_progress: bool
    steps: int
    has_at_end: bool
    is_empty: bool
    phase: str | None
    cause: bytes | None


_NOTHING = WritesForm(
    entries=(),
    waits=(),
    closed_waits=(),
    children=(),
    messages=(),
    superseded=(),
    progress=None,
    has_progress=False,
    steps=0,
    has_at_end=False,
    is_empty=True,
    phase=None,
    cause=None,
)


def start_form(new: NewRun) -> StartForm:
    """Encode a new run.

    Raises:
        NotJson: its input is not JSON.
    """
    created_at = to_micros(new.created_at)
    available_at = created_at if new.available_at is None else to_micros(new.available_at)
    columns = {
        "id": new.id,
        "name": new.name,
        "workflow": new.workflow,
        "version": new.version,
        "kind": new.kind.value,
        "priority": new.priority,
        "available_at": available_at,
        "not_before": available_at if available_at > created_at else None,
        "max_attempts": new.max_attempts,
        "created_at": created_at,
        "deadline_at": None if new.deadline_at is None else to_micros(new.deadline_at),
        "session_id": new.session_id,
        "blocked": 0,
        "queue": new.queue,
        "parent_id": None,
        "forked_from": new.forked_from,
        "idempotency_key": new.idempotency_key,
        "request_hash": new.request_hash,
        "correlation_id": new.correlation_id,
        "principal": new.principal,
        "provider": new.provider,
        "seed": str(new.seed),
        "tags": encode(dict(new.tags)) if new.tags else None,
        "concurrency_key": new.concurrency_key,
        "rerun_of": new.rerun_of,
        "forked_at": new.forked_at,
        "schedule": new.schedule,
    }
    task = new.task
    message = None
    if task is not None:
        message = task_message_form(task.message, owner=new.principal, target=task.target)
    return StartForm(new, columns, encode(new.input), message)


def task_message_form(new: NewTaskMessage, *, owner: str, target: str) -> TaskMessageForm:
    """Encode a message of a task's caller.

    Raises:
        NotJson: its content is not JSON.
    """
    once = None
    if not new.is_repeatable:
        once = hashlib.sha256(encode([owner, target, new.id])).hexdigest()
    body = new.content.to_json()
    if new.more:
        body[MORE] = dict(new.more)
    return TaskMessageForm(new, once, encode(body))


def wait_form(new: NewWait) -> WaitForm:
    """Encode a wait.

    Raises:
        NotJson: what it shows is not JSON.
    """
    return WaitForm(
        new,
        None if new.due_at is None else to_micros(new.due_at),
        None if new.show is None else encode(new.show),
    )


def writes_form(writes: Writes) -> WritesForm:
    """Encode what a claimed run records.

    Raises:
        NotJson: a value is not JSON.
    """
    if writes.is_empty:
        return _NOTHING
    kinds = [entry.kind for entry in writes.entries]
    return WritesForm(
        entries=writes.entries,
        waits=[wait_form(wait) for wait in writes.waits],
        closed_waits=writes.closed_waits,
        children=[start_form(child) for child in writes.children],
        messages=[
            MessageForm(message.session_id, message.role, encode(message.content))
            for message in writes.messages
        ],
        superseded=writes.superseded,
        progress=encode(writes.progress) if writes.has_progress else None,
        has_progress=writes.has_progress,
        steps=kinds.count(EntryKind.STEP),
        has_at_end=EntryKind.AT_END in kinds,
        is_empty=False,
        phase=None if writes.phase is None else writes.phase.value,
        cause=error_form(writes.cause),
    )


def entry_values(claim: Claim, entry: Entry, body: bytes | str) -> tuple[Any, ...]:
    """Give the parameters of ``insert_entry``, which are those of a row of ``record_entries``."""
    return (
        claim.number,
        claim.epoch,
        int(entry.kind),
        to_micros(entry.at),
        entry.key,
        entry.meta,
        body,
    )


def error_form(error: RunError | None) -> bytes | None:
    """Encode why a run has failed."""
    return None if error is None else encode(error)
