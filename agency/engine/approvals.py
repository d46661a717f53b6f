"""Approvals: what people are asked, what they decide, and the rules that spare them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from agency.core import json
from agency.core.clock import Clock
from agency.core.limits import (
    COMMENT_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    PATTERN_CHARACTERS_MAX,
    VALUE_BYTES_MAX,
)
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
from agency.domain.filter import check_where
from agency.engine.answers import check_schema, checked
from agency.errors import Fault, InvalidInput, ValueTooLarge
from agency.ports.approval import ApprovalFilter, Decided, NewDecision
from agency.ports.store import Store, Wake

log = logging.getLogger(__name__)

Choice = Literal["approve", "deny", "answer"]
_STATUSES: Mapping[Choice, ApprovalStatus] = {
    "approve": ApprovalStatus.APPROVED,
    "deny": ApprovalStatus.DENIED,
    "answer": ApprovalStatus.ANSWERED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRequest:
    """A rule as somebody asks for it; what is None is taken from where it is made.

    Attributes:
        workflow: Name of a workflow, or ``*`` for all.
        name: Pattern for the approval's name.
        question: Pattern for the question.
        where: Filter on what is shown.
    """

    workflow: str | None = None
    name: str | None = None
    question: str | None = None
    where: Mapping[str, Any] | None = None
    risk_max: Risk | None = None
    expires_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRequest:
    """A decision as somebody hands it in."""

    decision: Choice
    by: str
    comment: str = ""
    value: Any = None
    has_value: bool = False
    always: RuleRequest | None = None


class Approvals:
    """Read approvals, decide them, and keep the rules that decide some at once."""

    def __init__(
        self, *, store: Store, clock: Clock, woken: Callable[[str, Sequence[Wake]], None]
    ) -> None:
        """Hold the store.

        Args:
            store: Where approvals are.
            clock: Dates decisions.
            woken: Hands on what a decision about a run has woken.
        """
        self._approvals = store.approvals
        self._clock = clock
        self._woken = woken

    async def get(self, approval_id: str) -> Approval:
        """Read one approval. Raises: ApprovalNotFound."""
        return await self._approvals.get(approval_id)

    async def list(
        self, which: ApprovalFilter, *, before: int | None, limit: int
    ) -> Sequence[Approval]:
        """Read approvals, newest first."""
        return await self._approvals.list(which, before=before, limit=limit)

    async def inbox(self, *, before: int | None, limit: int) -> Sequence[InboxItem]:
        """Read everything that waits for a person, newest first."""
        return await self._approvals.inbox(before=before, limit=limit)

    async def decide(self, approval_id: str, request: DecideRequest) -> Decided:
        """Decide an approval, or answer an input, once; its run goes on.

        Raises:
            ApprovalNotFound, ApprovalDecided, TooManyRules, ValueTooLarge.
            InvalidInput: the decision, its value or its rule does not fit what is asked.
        """
        approval = await self._approvals.get(approval_id)
        always = None
        if approval.status is ApprovalStatus.PENDING:  # else the store says who was faster
            await checked(request.value, partial(_check, approval, request))
            if request.always is not None:
                always = self._rule(request.always, by=request.by, approval=approval)
        decided = await self._approvals.decide(
            approval_id,
            NewDecision(
                status=_STATUSES[request.decision],
                by=request.by,
                value=request.value,
                has_value=request.has_value,
                comment=request.comment,
                always=always,
            ),
            now=self._clock.now(),
        )
        log.info(
            "approval decided",
            extra={
                "approval_id": approval_id,
                "run_id": approval.run_id,
                "status": decided.approval.status,
                "by": request.by,
                "rule": decided.rule,
            },
        )
        self._woken(approval.run_id, decided.wakes)
        return decided

    async def add_rule(self, request: RuleRequest, *, by: str) -> Rule:
        """Make a rule for approvals that are opened from now on.

        Raises:
            InvalidInput: it cannot be one, or does not say what it allows.
            TooManyRules: there is no room for it.
        """
        if (request.workflow, request.name, request.question, request.where or None) == (None,) * 4:
            what = "Say what it allows: workflow, name, question or where."
            hint = "`*` as the workflow allows approvals of all."
            raise InvalidInput(
                "The rule does not say which approvals it allows.",
                faults=[Fault("/workflow", what, hint)],
                hint=hint,
            )
        rule = await self._approvals.add_rule(
            self._rule(request, by=by, approval=None), now=self._clock.now()
        )
        log.info("rule for approvals made", extra={"rule": rule.number, "by": by})
        return rule

    async def rules(self, *, before: int | None, limit: int) -> Sequence[Rule]:
        """Read the rules, newest first."""
        return await self._approvals.rules(before=before, limit=limit)

    async def delete_rule(self, number: int, *, by: str) -> None:
        """Delete a rule. Raises: RuleNotFound."""
        await self._approvals.delete_rule(number)
        log.info("rule for approvals deleted", extra={"rule": number, "by": by})

    def _rule(self, request: RuleRequest, *, by: str, approval: Approval | None) -> NewRule:
        """Make a rule of what was asked for, by default as narrow as the approval it comes from.

        Raises:
            InvalidInput: it cannot be one; all faults are named.
        """
        at = "" if approval is None else "/always"
        workflow = request.workflow
        if workflow is None and approval is not None:
            workflow = approval.workflow
        name = request.name
        if name is None:
            name = "*" if approval is None else _literally(approval.name)
        question = "*" if request.question is None else request.question
        risk_max = request.risk_max
        if risk_max is None:
            risk_max = Risk.LOW if approval is None else approval.risk
        faults = [
            Fault(f"{at}/{member}", what)
            for member, what in (
                ("workflow", _fault_of(workflow, NAME_CHARACTERS_MAX)),
                ("name", _fault_of(name, PATTERN_CHARACTERS_MAX)),
                ("question", _fault_of(question, PATTERN_CHARACTERS_MAX)),
            )
            if what
        ]
        if len(request.note) > COMMENT_CHARACTERS_MAX:
            faults.append(Fault(f"{at}/note", f"At most {COMMENT_CHARACTERS_MAX} characters."))
        if request.expires_at is not None and request.expires_at <= self._clock.now():
            faults.append(Fault(f"{at}/expires_at", "This moment has passed."))
        where = check_where(request.where, at=f"{at}/where")
        if faults:
            raise InvalidInput(f"The rule cannot be used: {faults[0].what}", faults=faults)
        return NewRule(
            workflow=None if workflow in {None, "*"} else workflow,
            name=name,
            question=question,
            where=where,
            risk_max=risk_max,
            expires_at=request.expires_at,
            made_by=by,
            note=request.note,
        )


def _check(approval: Approval, request: DecideRequest) -> None:
    """Check that a decision fits what is asked.

    Raises:
        InvalidInput: it does not.
        ValueTooLarge: its value is larger than one may be.
    """
    is_input = approval.kind is ApprovalKind.INPUT
    if is_input != (request.decision == "answer"):
        words = "answer" if is_input else "approve or deny"
        raise InvalidInput(
            f"The approval {approval.id!r} is of kind {approval.kind}: "
            f"{request.decision!r} does not answer it.",
            faults=[Fault("/decision", f"{words} is needed.")],
        )
    if request.always is not None and request.decision != "approve":
        what = "A rule is made only when something is approved."
        raise InvalidInput(what, faults=[Fault("/always", what)])
    if len(request.comment) > COMMENT_CHARACTERS_MAX:
        what = f"At most {COMMENT_CHARACTERS_MAX} characters are kept."
        raise InvalidInput(what, faults=[Fault("/comment", what)])
    _check_value(approval, request)


def _check_value(approval: Approval, request: DecideRequest) -> None:
    if not request.has_value:
        if request.decision == "answer":
            what = f"The answer to {approval.question!r} is needed."
            raise InvalidInput(what, faults=[Fault("/value", what)])
        return
    if request.decision == "deny" or (request.decision == "approve" and not approval.schema):
        what = "No value is taken here."
        raise InvalidInput(
            f"The approval {approval.id!r} takes no value.", faults=[Fault("/value", what)]
        )
    size_bytes = len(json.encode(request.value))
    if size_bytes > VALUE_BYTES_MAX:
        raise ValueTooLarge("The value", size_bytes, VALUE_BYTES_MAX)
    check_schema(
        approval.schema,
        request.value,
        what=f"The value does not fit the approval {approval.id!r}",
        at="/value",
    )


def _literally(text: str) -> str:
    """Write a pattern that only this text fits."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)


def _fault_of(text: str | None, characters_max: int) -> str:
    if text is None:
        return ""
    if not text or len(text) > characters_max or not text.isprintable():
        return f"1 to {characters_max} printable characters are needed."
    return ""
