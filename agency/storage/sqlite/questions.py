"""Opening approvals with their waits, and the rules that decide some at once."""

from __future__ import annotations

from agency.core.json import decode, encode
from agency.domain.approval import ApprovalKind, ApprovalStatus, NewApproval
from agency.domain.filter import fits
from agency.domain.wait import NewWait
from agency.storage.sqlite.transaction import Row, Transaction


def open_approval(
    tx: Transaction, run: int, wait: int, new: NewWait, *, now: int
) -> bytes | str | None:
    """Store the approval of a wait that is being opened, if it has one.

    Returns:
        What the wait is answered with when a rule has decided, in its stored form; else None.
    """
    approval = new.approval
    if approval is None:
        return None
    row = tx.one(
        "insert_approval",
        {
            "run": run,
            "wait": wait,
            "kind": approval.kind.value,
            "risk": approval.risk.level,
            "on_expiry": approval.on_expiry.value,
            "id": approval.id,
        },
    )
    assert row is not None, run
    number, workflow = row
    if approval.kind is ApprovalKind.INPUT:
        return None
    rule = _match(tx, workflow, new.name, approval, now=now)
    if rule is None:
        return None
    by = f"rule {rule[0]}"
    note: str = rule[2]
    tx.change(
        "decide_approval",
        {
            "number": number,
            "status": ApprovalStatus.APPROVED.value,
            "now": now,
            "by": by,
            "rule": rule[0],
            "comment": note,
            "value": None,
        },
    )
    tx.change("use_rule", (rule[0],))
    return answer_body(status=ApprovalStatus.APPROVED, value=b"null", comment=note, by=by)


def _match(
    tx: Transaction, workflow: str, name: str, approval: NewApproval, *, now: int
) -> Row | None:
    """Find the oldest rule that allows an approval."""
    asked = {
        "workflow": workflow,
        "risk": approval.risk.level,
        "now": now,
        "name": name,
        "question": approval.question,
    }
    for row in tx.all("match_rules", asked):
        where = row[1]
        if where is None or fits(decode(where), approval.subject):
            return row
    return None


def answer_body(*, status: ApprovalStatus, value: bytes, comment: str, by: str) -> bytes:
    """Write what the wait of an approval is answered with.

    Args:
        status: APPROVED or DENIED.
        value: JSON of the edited value, or ``null``.
        comment: What whoever has decided says about it.
        by: Who has decided.
    """
    # The value is JSON already; reading it to write it again would cost its whole length.
    return b'{"approved":%b,"comment":%b,"decided_by":%b,"value":%b}' % (
        b"true" if status is ApprovalStatus.APPROVED else b"false",
        encode(comment),
        encode(by),
        value,
    )
