"""Approvals on SQLite; the promises are those of `agency.ports.approval.ApprovalStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import from_micros, to_micros, to_text
from agency.core.json import decode, encode
from agency.core.limits import RULES_ROWS_MAX
from agency.core.records import dataclass
from agency.domain.approval import (
    Approval,
    ApprovalKind,
    ApprovalStatus,
    InboxItem,
    NewRule,
    OnExpiry,
    Risk,
    Rule,
)
from agency.domain.wait import WaitOutcome
from agency.errors import ApprovalDecided, ApprovalNotFound, RuleNotFound, TooManyRules
from agency.ports.approval import ApprovalFilter, Decided, NewDecision
from agency.ports.store import Wake
from agency.storage.sqlite import questions, waits
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_NUMBER_MAX = (1 << 63) - 1
_RISKS = {risk.level: risk for risk in Risk}
_PENDING = frozenset({ApprovalStatus.PENDING})


@dataclass(frozen=True, slots=True)
class _Decision:
    """A decision, encoded."""

    status: ApprovalStatus
    by: str
    value: bytes | None
    comment: str
    always: dict[str, Any] | None


class SqliteApprovals:
    """Approvals in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def get(self, approval_id: str) -> Approval:
        """Read one approval; see `ApprovalStore.get`."""
        row = await self._readers.one("get_approval", (approval_id,))
        if row is None:
            raise ApprovalNotFound(approval_id)
        return _approval_of(row)

    async def list(
        self, which: ApprovalFilter, *, before: int | None, limit: int
    ) -> Sequence[Approval]:
        """Read approvals, newest first; see `ApprovalStore.list`."""
        parameters = {
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
            "run_id": which.run_id,
            "workflow": which.workflow,
            "statuses": _listed(which.statuses),
            "kinds": _listed(which.kinds),
            "risks": encode([risk.level for risk in which.risks]).decode() if which.risks else None,
        }
        found = await self._readers.all(_list_statement(which), parameters)
        return [_approval_of(row) for row in found]

    async def decide(self, approval_id: str, decision: NewDecision, *, now: datetime) -> Decided:
        """Decide a pending approval; see `ApprovalStore.decide`."""
        form = _Decision(
            decision.status,
            decision.by,
            encode(decision.value) if decision.has_value else None,
            decision.comment,
            None if decision.always is None else _rule_form(decision.always, approval_id),
        )
        row, rule, wakes = await self._writer.submit(
            partial(_decide, approval_id=approval_id, form=form, now=to_micros(now))
        )
        return Decided(approval=_approval_of(row), rule=rule, wakes=wakes)

    async def inbox(self, *, before: int | None, limit: int) -> Sequence[InboxItem]:
        """Read what people have to answer, newest first; see `ApprovalStore.inbox`."""
        parameters = {"before": _NUMBER_MAX if before is None else before, "limit": limit}
        return [_item_of(row) for row in await self._readers.all("list_inbox", parameters)]

    async def add_rule(self, new: NewRule, *, now: datetime) -> Rule:
        """Make a rule; see `ApprovalStore.add_rule`."""
        form = _rule_form(new, None)
        number = await self._writer.submit(partial(_add_rule, form=form, now=to_micros(now)))
        return Rule(
            number=number,
            workflow=new.workflow,
            name=new.name,
            question=new.question,
            where=new.where,
            risk_max=new.risk_max,
            expires_at=new.expires_at,
            made_by=new.made_by,
            note=new.note,
            made_at=now,
            approval_id=None,
            uses=0,
        )

    async def rules(self, *, before: int | None, limit: int) -> Sequence[Rule]:
        """Read the rules, newest first; see `ApprovalStore.rules`."""
        parameters = {"before": _NUMBER_MAX if before is None else before, "limit": limit}
        return [_rule_of(row) for row in await self._readers.all("list_rules", parameters)]

    async def delete_rule(self, number: int) -> None:
        """Delete a rule; see `ApprovalStore.delete_rule`."""
        await self._writer.submit(partial(_delete_rule, number=number))


def _list_statement(which: ApprovalFilter) -> str:
    """Choose the statement whose index leaves the least to look through."""
    if which.run_id is not None:
        return "list_approvals_of_run"
    if which.statuses == _PENDING:
        return "list_approvals_of_statuses"
    if which.workflow is not None:
        return "list_approvals_of_workflow"
    return "list_approvals_of_statuses" if which.statuses else "list_approvals"


def _listed(words: frozenset[ApprovalStatus] | frozenset[ApprovalKind]) -> str | None:
    return encode(sorted(words)).decode() if words else None


def _decide(
    tx: Transaction, *, approval_id: str, form: _Decision, now: int
) -> tuple[Row, int | None, list[Wake]]:
    found = tx.one("find_approval", (approval_id,))
    if found is None:
        raise ApprovalNotFound(approval_id)
    number, run, wait = found
    value = None if form.value is None else tx.keep(form.value)
    decided = {
        "number": number,
        "status": form.status.value,
        "now": now,
        "by": form.by,
        "rule": None,
        "comment": form.comment,
        "value": value,
    }
    if not tx.change("decide_approval", decided):
        raise _decided_already(tx, approval_id)
    rule = None if form.always is None else _add_rule(tx, form=form.always, now=now)
    if form.status is ApprovalStatus.ANSWERED:
        payload = value
    else:
        edited = form.value or b"null"
        payload = tx.keep(
            questions.answer_body(
                status=form.status, value=edited, comment=form.comment, by=form.by
            )
        )
    waits.resolve(tx, wait, WaitOutcome.ANSWERED, payload, now=now)
    wakes = waits.wake_all(tx, [run], now=now)
    row = tx.one("get_approval", (approval_id,))
    assert row is not None, approval_id
    return row, rule, wakes


def _decided_already(tx: Transaction, approval_id: str) -> ApprovalDecided:
    row = tx.one("get_approval", (approval_id,))
    assert row is not None, approval_id
    approval = _approval_of(row)
    assert approval.decided_at is not None, approval_id
    return ApprovalDecided(
        approval_id, approval.status.value, approval.decided_by, to_text(approval.decided_at)
    )


def _add_rule(tx: Transaction, *, form: dict[str, Any], now: int) -> int:
    counted = tx.one("count_rules")
    assert counted is not None
    if counted[0] >= RULES_ROWS_MAX:
        raise TooManyRules(RULES_ROWS_MAX)
    return tx.insert("insert_rule", {**form, "now": now})


def _delete_rule(tx: Transaction, *, number: int) -> None:
    if not tx.change("delete_rule", (number,)):
        raise RuleNotFound(str(number))


def _rule_form(new: NewRule, approval_id: str | None) -> dict[str, Any]:
    return {
        "workflow": new.workflow or "",
        "name": new.name,
        "question": new.question,
        "filter": encode(dict(new.where)) if new.where else None,
        "risk_max": new.risk_max.level,
        "expires_at": None if new.expires_at is None else to_micros(new.expires_at),
        "made_by": new.made_by,
        "note": new.note,
        "approval_id": approval_id,
    }


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _approval_of(row: Row) -> Approval:
    """Read ``approval_columns``."""
    (
        number,
        approval_id,
        kind,
        status,
        risk,
        on_expiry,
        run_id,
        run_name,
        workflow,
        principal,
        key,
        name,
        show,
        opened_at,
        due_at,
        decided_at,
        decided_by,
        rule,
        comment,
        value,
    ) = row
    shown = None if show is None else decode(show)
    if not isinstance(shown, dict):
        shown = {}
    return Approval(
        number=number,
        id=approval_id,
        kind=ApprovalKind(kind),
        status=ApprovalStatus(status),
        risk=_RISKS[risk],
        on_expiry=OnExpiry(on_expiry),
        run_id=run_id,
        run_name=run_name,
        workflow=workflow,
        asked_by=principal,
        wait=key,
        name=name,
        question=shown.get("prompt") or name,
        subject=shown.get("show"),
        schema=shown.get("schema"),
        opened_at=from_micros(opened_at),
        expires_at=_moment(due_at),
        decided_at=_moment(decided_at),
        decided_by=decided_by,
        rule=rule,
        comment=comment,
        value=None if value is None else decode(value),
    )


def _rule_of(row: Row) -> Rule:
    """Read ``rule_columns``."""
    (
        number,
        workflow,
        name,
        question,
        where,
        risk_max,
        expires_at,
        made_by,
        note,
        made_at,
        approval_id,
        uses,
    ) = row
    return Rule(
        number=number,
        workflow=workflow or None,
        name=name,
        question=question,
        where=None if where is None else decode(where),
        risk_max=_RISKS[risk_max],
        expires_at=_moment(expires_at),
        made_by=made_by,
        note=note,
        made_at=from_micros(made_at),
        approval_id=approval_id,
        uses=uses,
    )


def _item_of(row: Row) -> InboxItem:
    """Read a row of ``list_inbox``."""
    (
        number,
        kind,
        run_id,
        run_name,
        workflow,
        wait,
        name,
        show,
        opened_at,
        due_at,
        approval_id,
        risk,
        snapshot_id,
    ) = row
    return InboxItem(
        number=number,
        kind=kind,
        run_id=run_id,
        run_name=run_name,
        workflow=workflow,
        wait=wait,
        name=name,
        show=None if show is None else decode(show),
        opened_at=from_micros(opened_at),
        due_at=_moment(due_at),
        approval_id=approval_id,
        risk=None if risk is None else _RISKS[risk],
        snapshot_id=snapshot_id,
    )
