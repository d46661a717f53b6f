"""Approvals, the rules for them and the inbox as JSON."""

from __future__ import annotations

from typing import Any

from agency.core.clock import to_text
from agency.domain.approval import Approval, ApprovalStatus, InboxItem, Rule
from agency.web.addresses import approval_path, run_path, snapshot_path

RESUME = "/api/v1/workflows/resume"


def approval_json(approval: Approval) -> dict[str, Any]:
    """Make the JSON of an approval."""
    links = {"self": approval_path(approval.id), "run": run_path(approval.run_id)}
    if approval.status is ApprovalStatus.PENDING:
        links["decide"] = f"{links['self']}/decide"
    return {
        "id": approval.id,
        "approval_id": approval.id,
        "kind": approval.kind,
        "status": approval.status,
        "risk": approval.risk,
        "run_id": approval.run_id,
        "run_name": approval.run_name,
        "workflow": approval.workflow,
        "asked_by": approval.asked_by,
        "wait": approval.wait,
        "name": approval.name,
        "question": approval.question,
        "show": approval.subject,
        "schema": approval.schema,
        "opened_at": to_text(approval.opened_at),
        "expires_at": None if approval.expires_at is None else to_text(approval.expires_at),
        "on_expiry": approval.on_expiry,
        "decided_at": None if approval.decided_at is None else to_text(approval.decided_at),
        "decided_by": approval.decided_by,
        "rule_id": approval.rule,
        "comment": approval.comment,
        "value": approval.value,
        "links": links,
    }


def rule_json(rule: Rule) -> dict[str, Any]:
    """Make the JSON of a rule."""
    return {
        "rule_id": rule.number,
        "workflow": rule.workflow,
        "name": rule.name,
        "question": rule.question,
        "where": rule.where,
        "risk_max": rule.risk_max,
        "expires_at": None if rule.expires_at is None else to_text(rule.expires_at),
        "made_by": rule.made_by,
        "made_at": to_text(rule.made_at),
        "note": rule.note,
        "approval_id": rule.approval_id,
        "uses": rule.uses,
    }


def inbox_json(item: InboxItem) -> dict[str, Any]:
    """Make the JSON of something that waits for a person, with where it is answered."""
    links = {"run": run_path(item.run_id)}
    if item.approval_id is not None:
        links["approval"] = approval_path(item.approval_id)
        links["decide"] = f"{links['approval']}/decide"
    elif item.snapshot_id is not None:
        links["snapshot"] = snapshot_path(item.snapshot_id)
        links["resume"] = RESUME
    return {
        "kind": item.kind,
        "run_id": item.run_id,
        "run_name": item.run_name,
        "workflow": item.workflow,
        "wait": item.wait,
        "name": item.name,
        "show": item.show,
        "opened_at": to_text(item.opened_at),
        "due_at": None if item.due_at is None else to_text(item.due_at),
        "approval_id": item.approval_id,
        "risk": item.risk,
        "snapshot_id": item.snapshot_id,
        "links": links,
    }
