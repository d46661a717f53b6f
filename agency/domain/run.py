"""A run: one execution of a workflow, and the lawful changes of its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it names records of this file
    from agency.domain.task import NewTask

from agency.core.records import dataclass


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    LIMIT_REACHED = "limit_reached"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


class RunKind(StrEnum):
    FUNCTION = "function"
    GRAPH = "graph"
    AGENT = "agent"
    SKILL = "skill"
    SAGA = "saga"


class Phase(StrEnum):
    FORWARD = "forward"
    COMPENSATING = "compensating"


LIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED})
ENDED = frozenset(RunStatus) - LIVE
RETRYABLE = frozenset(
    {
        RunStatus.FAILED,
        RunStatus.DEAD_LETTER,
        RunStatus.TIMED_OUT,
        RunStatus.COMPENSATION_FAILED,
        RunStatus.LIMIT_REACHED,
    }
)
"""Ends from which a run can go on where it has stopped. One that has used up a budget gets the same
once more, or another one."""

ALLOWED: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset(
        {
            RunStatus.RUNNING,
            RunStatus.SUSPENDED,  # an operator's hold before the first claim
            RunStatus.CANCELLED,
            RunStatus.TIMED_OUT,
            RunStatus.DEAD_LETTER,  # quarantined after crashes
        }
    ),
    RunStatus.RUNNING: frozenset(RunStatus) - {RunStatus.RUNNING},
    RunStatus.SUSPENDED: frozenset({RunStatus.PENDING, RunStatus.CANCELLED, RunStatus.TIMED_OUT}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.LIMIT_REACHED: frozenset({RunStatus.PENDING}),  # continued with more
    RunStatus.FAILED: frozenset({RunStatus.PENDING}),  # retry
    RunStatus.DEAD_LETTER: frozenset({RunStatus.PENDING, RunStatus.CANCELLED}),  # requeue, discard
    RunStatus.CANCELLED: frozenset(),
    RunStatus.TIMED_OUT: frozenset({RunStatus.PENDING}),  # retry
    RunStatus.COMPENSATED: frozenset(),
    RunStatus.COMPENSATION_FAILED: frozenset({RunStatus.PENDING}),  # retry the compensation
}
assert set(ALLOWED) == set(RunStatus)


def may_become(current: RunStatus, wanted: RunStatus) -> bool:
    """Tell whether the change is lawful. The store refuses all others."""
    return wanted in ALLOWED[current]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a run did not succeed.

    Attributes:
        code: Stable, for programs: ``model_crashed``, ``step_failed``, ``crash`` …
        message: One sentence for people.
        error_class: Class name of the exception.
        hint: What to do, or empty.
        step: Key of the step that the failure came from, or empty.
        details: JSON value, or None.
        steps: Keys of the recorded failures that it came from, along its chain of causes: what a
            retry does again.
    """

    code: str
    message: str
    error_class: str = ""
    hint: str = ""
    step: str = ""
    details: Any = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a workflow, as the store has it.

    Attributes:
        number: Small integer that stands for the run in the journal's keys.
        name: The caller's own name for it; unique among live runs.
        version: Version of the workflow that it is pinned to.
        attempt: From 1; rises when a failure is recorded, never by waking or a crash.
        epoch: Fencing number; each claim raises it and each write carries it.
        owner: Boot id of the daemon that has claimed it, or None.
        available_at: Since when it could be claimed; if a later moment was asked for, that moment.
        ending: ``cancelled`` or ``timed_out`` once that was asked for and work is still to be
            ended properly; else None.
        hold: Reason of the operator who asked to suspend it, or None.
        crashes: Crashes in a row with nothing recorded since the claim.
        provider: Who serves its model calls, once that is decided.
        progress: ``{"done": 3, "total": 10, "note": ""}`` or None.
        concurrency_key: Of the live runs with the same key one at a time is worked on.
        rerun_of: Run that it repeats from the start, or None.
        forked_at: Number of the newest journal entry that it shares with ``forked_from``.
        schedule: Name of the schedule that has started it, or None.
        generation: How often failures of it were made void to be done again, by its own retries
            or by somebody's; from 0. The ids of children that are started derive from it.
        changed_at: When its status or progress last changed.
    """

    number: int
    id: str
    name: str | None
    workflow: str
    version: str
    kind: RunKind
    status: RunStatus
    phase: Phase
    input: Any
    output: Any
    error: RunError | None
    session_id: str | None
    parent_id: str | None
    forked_from: str | None
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    epoch: int
    owner: str | None
    available_at: datetime
    deadline_at: datetime | None
    seed: int
    idempotency_key: str | None
    correlation_id: str
    principal: str
    tags: Mapping[str, str]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ending: str | None
    hold: str | None
    crashes: int
    provider: str | None
    progress: Any
    concurrency_key: str | None = None
    rerun_of: str | None = None
    forked_at: int | None = None
    schedule: str | None = None
    generation: int = 0
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What is needed to start a run. Moments and ids are chosen by the caller of the store.

    Attributes:
        request_hash: Hash of the request, compared when the idempotency key is used again.
        parent: Parent's number, epoch and step key, when a run starts it as a child.
        available_at: Not claimed before, if that is later than ``created_at``.
        max_attempts: Tries of the whole run before it is a dead letter, 1 or more.
        task: It is started as a task of A2A, with the message that asks for it.
    """

    id: str
    workflow: str
    version: str
    kind: RunKind
    input: Any
    created_at: datetime
    seed: int
    name: str | None = None
    session_id: str | None = None
    forked_from: str | None = None
    queue: str = "default"
    priority: int = 0
    max_attempts: int = 1
    available_at: datetime | None = None
    deadline_at: datetime | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    correlation_id: str = ""
    principal: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    concurrency_key: str | None = None
    rerun_of: str | None = None
    forked_at: int | None = None
    schedule: str | None = None
    task: NewTask | None = None
