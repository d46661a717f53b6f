"""Approvals: recorded questions to people, and the rules by which some are answered at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from agency.core.records import dataclass


class ApprovalKind(StrEnum):
    """What is asked."""

    QUESTION = "question"
    """Whether something may be done, asked by a workflow (``ctx.approve``)."""
    INPUT = "input"
    """For a value (``ctx.input``)."""
    TOOL = "tool"
    """Whether an agent may call a tool; the name is the tool's, what is shown its arguments."""


class Risk(StrEnum):
    """How bad it would be if the answer were wrong."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def level(self) -> int:
        """Its place in the order, from 1."""
        return _LEVELS[self]


_LEVELS = {Risk.LOW: 1, Risk.MEDIUM: 2, Risk.HIGH: 3}


class OnExpiry(StrEnum):
    """What an approval that nobody has decided in time counts as."""

    DENY = "deny"
    APPROVE = "approve"
    FAIL = "fail"
    """The wait fails, as other waits do at their time limit."""


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    ANSWERED = "answered"
    """An input has its value."""
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    """Nobody waits for it any more: its branch has lost, or its run has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApproval:
    """An approval to be opened with its wait, in the same commit.

    Attributes:
        id: Chosen by the caller; the wait shows it.
        question: What is asked, one sentence.
        subject: What it is about, as it is shown: JSON value, for rules to look at.
        on_expiry: What it counts as when the wait's due moment has come.
    """

    id: str
    kind: ApprovalKind
    question: str
    subject: Any = None
    risk: Risk = Risk.MEDIUM
    on_expiry: OnExpiry = OnExpiry.DENY


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval as the store has it.

    Attributes:
        number: Rises with each one; the order in which they were opened.
        asked_by: Principal who has started the run.
        wait: Key of the wait in the run's journal.
        name: Name of the wait; of a tool the tool's.
        question: What is asked.
        subject: What is shown for it, JSON value or None.
        schema: JSON Schema of the value that may be given; None: an input takes any value, an
            approval none.
        decided_at: When it was decided, or expired, or nobody waited for it any more.
        decided_by: Principal who has decided, ``rule N``, or None: nobody has.
        rule: Number of the rule that has decided, or None.
        value: JSON value that was given: the edited one, the answer; or None.
    """

    number: int
    id: str
    kind: ApprovalKind
    status: ApprovalStatus
    risk: Risk
    on_expiry: OnExpiry
    run_id: str
    run_name: str | None
    workflow: str
    asked_by: str
    wait: str
    name: str
    question: str
    subject: Any
    schema: Any
    opened_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    rule: int | None
    comment: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    """A rule that allows what fits it without asking anybody.

    Attributes:
        workflow: Name of the workflow whose approvals it is for; None: of all.
        name: Pattern for the approval's name; ``*`` stands for any text, ``?`` for one character,
            ``[…]`` for one of several.
        question: Pattern for the question, of the same form.
        where: Filter on what is shown, or None; see `agency.domain.filter`.
        risk_max: It never allows what is riskier.
        expires_at: It is not used from then on; None: until it is deleted.
        made_by: Principal who has made it.
        note: Why.
    """

    workflow: str | None
    name: str
    question: str
    where: Mapping[str, Any] | None
    risk_max: Risk
    expires_at: datetime | None
    made_by: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(NewRule):
    """A rule as the store has it.

    Attributes:
        number: Names it; never used again for another.
        approval_id: The approval whose decision has made it, or None.
        uses: How many approvals it has decided.
    """

    number: int
    made_at: datetime
    approval_id: str | None
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecision:
    """What an approval came to, for the workflow that has asked. True when it was approved.

    Attributes:
        value: The edited value, typed by ``schema``; None when nobody has edited anything.
        decided_by: Who has decided, ``rule N``, or None when it has expired.
        expired: Nobody has decided in time; ``approved`` is what was asked for in that case.
    """

    approved: bool
    value: Any = None
    comment: str = ""
    decided_by: str | None = None
    decided_at: datetime | None = None
    expired: bool = False

    def __bool__(self) -> bool:
        return self.approved


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxItem:
    """Something that waits for a person.

    Attributes:
        number: Rises with each wait; the order in which they were opened.
        kind: Kind of the wait: approval, input, decision or version.
        wait: Key of the wait.
        approval_id: Of an approval and an input its record; else None.
        snapshot_id: From which it can be answered by resuming; None while the run goes on.
    """

    number: int
    kind: str
    run_id: str
    run_name: str | None
    workflow: str
    wait: str
    name: str
    show: Any
    opened_at: datetime
    due_at: datetime | None
    approval_id: str | None
    risk: Risk | None
    snapshot_id: str | None
