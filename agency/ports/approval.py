"""Where approvals and the rules for them are kept.

An approval is opened with its wait: see `agency.ports.store.Writes.waits`. In the same commit the
rules are looked through, and the oldest that fits decides it at once. An approval whose wait ends
otherwise is not pending any more from the same commit on: it is expired when the wait's moment has
come, answered when an input was given by resuming its run, and cancelled when its branch has lost
or its run has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from agency.core.records import dataclass
from agency.domain.approval import (
    Approval,
    ApprovalKind,
    ApprovalStatus,
    InboxItem,
    NewRule,
    Risk,
    Rule,
)

if TYPE_CHECKING:
    from agency.ports.store import Wake


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalFilter:
    """Which approvals to list; None and empty mean any."""

    statuses: frozenset[ApprovalStatus] = frozenset()
    kinds: frozenset[ApprovalKind] = frozenset()
    risks: frozenset[Risk] = frozenset()
    workflow: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDecision:
    """What somebody has decided.

    Attributes:
        status: APPROVED, DENIED, or of an input ANSWERED.
        value: JSON value that was given, when ``has_value``.
        by: Principal who decides.
        always: A rule that is made of it in the same commit, or None.
    """

    status: ApprovalStatus
    by: str
    value: Any = None
    has_value: bool = False
    comment: str = ""
    always: NewRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An approval that was decided, the number of the rule made of it, and who is to be told."""

    approval: Approval
    rule: int | None
    wakes: Sequence[Wake]


class ApprovalStore(Protocol):
    """Questions to people, each decided once."""

    async def get(self, approval_id: str) -> Approval:
        """Read one approval.

        Raises:
            ApprovalNotFound: there is none.
        """
        ...

    async def list(
        self, which: ApprovalFilter, *, before: int | None, limit: int
    ) -> Sequence[Approval]:
        """Read approvals, newest first; ``before`` is the number after which to go on (paging)."""
        ...

    async def decide(self, approval_id: str, decision: NewDecision, *, now: datetime) -> Decided:
        """Decide a pending approval: its wait is answered and its run woken, in one commit.

        Of many who decide at once one succeeds.

        Raises:
            ApprovalNotFound: there is none.
            ApprovalDecided: it is not pending any more; nothing was kept, no rule either.
            TooManyRules: there is no room for the rule; nothing was kept.
        """
        ...

    async def inbox(self, *, before: int | None, limit: int) -> Sequence[InboxItem]:
        """Read the open waits that people have to answer, newest first.

        Those are of kind APPROVAL, INPUT, DECISION and VERSION. ``before`` is the number after
        which to go on (paging).
        """
        ...

    async def add_rule(self, new: NewRule, *, now: datetime) -> Rule:
        """Make a rule; it is for approvals that are opened from now on.

        Raises:
            TooManyRules: there is no room for it.
        """
        ...

    async def rules(self, *, before: int | None, limit: int) -> Sequence[Rule]:
        """Read the rules, newest first; those that have expired are among them."""
        ...

    async def delete_rule(self, number: int) -> None:
        """Delete a rule; what it has decided stays decided.

        Raises:
            RuleNotFound: there is none.
        """
        ...
