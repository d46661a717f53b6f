"""What a suspended run waits for."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass
from agency.domain.approval import NewApproval


class WaitKind(StrEnum):
    TIMER = "timer"
    EVENT = "event"
    INPUT = "input"
    APPROVAL = "approval"
    CHILD = "child"
    RESOURCE = "resource"
    OPERATOR = "operator"
    DECISION = "decision"
    VERSION = "version"


class WaitOutcome(StrEnum):
    """How a wait ended."""

    ANSWERED = "answered"
    """With a payload: the event's, the input's, the child's end, the decision."""
    FIRED = "fired"
    """A timer came due, or was ended by hand."""
    TIMED_OUT = "timed_out"
    """Its own time limit came first."""
    CANCELLED = "cancelled"
    """The branch that waited has lost, or the run has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWait:
    """A wait to be opened, in the commit that it is handed to.

    Attributes:
        key: Key in the run's journal; unique in the run.
        name: What people call it: the event's name, the question, the resource.
        due_at: Timer: when it fires. Others: when it times out, or None for never.
        show: JSON value for whoever answers: prompt, schema, difference; of an event that is not
            taken by its name alone ``{"where": filter}``; or None.
        target: Of a child its run id; of a resource its name; of an event its topic, if it is not
            one that is sent to the run itself; else empty.
        approval: Of an approval or an input the record that is opened with it.
    """

    key: str
    kind: WaitKind
    name: str
    due_at: datetime | None = None
    show: Any = None
    target: str = ""
    approval: NewApproval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A wait as the store has it. ``outcome`` is None while it is open."""

    key: str
    kind: WaitKind
    name: str
    due_at: datetime | None
    show: Any
    target: str
    opened_at: datetime
    outcome: WaitOutcome | None
    payload: Any
    resolved_at: datetime | None
    resolved_number: int
    """Rises with each resolution in the database: the order in which waits were resolved."""
