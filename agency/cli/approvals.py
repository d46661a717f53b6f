"""``agency approvals``: the inbox of people, and the rules that spare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import read_json
from agency.cli.runs import collect, id_of, tell_more
from agency.cli.tree import Noun, Verb
from agency.client import Page
from agency.documents import ApprovalDocument, DecidedDocument, RuleDocument

STATUSES = ("pending", "approved", "denied", "answered", "expired", "cancelled")
RISKS = ("low", "medium", "high")


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.approvals:ls",
        "inbox": "agency.cli.approvals:inbox",
        "show": "agency.cli.approvals:show",
        "approve": "agency.cli.approvals:approve",
        "deny": "agency.cli.approvals:deny",
        "answer": "agency.cli.approvals:answer",
        "rules": "agency.cli.approvals:rules",
    },
    examples=(
        "agency approvals ls",
        "agency approvals show APPROVAL",
        "agency approvals approve APPROVAL --comment 'Looks good.'",
        "agency approvals deny APPROVAL --comment 'Too dear.'",
        "agency approvals rules ls",
    ),
)
@daemon_options
def approvals() -> None:
    """See what people are asked, and decide it."""


@click.command(
    cls=Verb,
    examples=(
        "agency approvals ls",
        "agency approvals ls --workflow order --risk high",
        "agency approvals ls --all --json | jq '.approvals[].decided_by'",
    ),
)
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES),
    help="Only these; may be repeated. By default pending ones.",
)
@click.option("--all", "is_all", is_flag=True, help="Those that are decided, too.")
@click.option("--workflow", help="Only of runs of this workflow.")
@click.option("--risk", multiple=True, type=click.Choice(RISKS), help="Only these; repeatable.")
@click.option("--run", "run", metavar="RUN", help="Only of this run.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(
    invocation: Invocation,
    status: tuple[str, ...],
    workflow: str | None,
    risk: tuple[str, ...],
    run: str | None,
    limit: int,
    *,
    is_all: bool,
) -> ExitCode:
    """List approvals and inputs, newest first; without options those that wait."""
    if is_all and status:
        raise click.UsageError("--all and --status do not go together.")
    client, output = invocation.client(), invocation.output
    statuses = () if is_all else status or ("pending",)
    run_id = None if run is None else id_of(client, run)

    def read(cursor: str | None, rows: int) -> Page[ApprovalDocument]:
        return client.approvals(
            status=statuses,
            workflow=workflow,
            risk=risk,
            run_id=run_id,
            limit=rows,
            cursor=cursor,
        )

    found, cursor = collect(read, limit)
    if output.is_json:
        output.document({"approvals": found, "next_cursor": cursor})
    elif output.is_quiet:
        for one in found:
            output.text(one["approval_id"])
    else:
        output.table(
            ("approval", "workflow", "kind", "risk", "status", "opened", "question"),
            [
                (
                    one["approval_id"],
                    one["workflow"],
                    one["kind"],
                    one["risk"],
                    one["status"],
                    one["opened_at"],
                    one["question"],
                )
                for one in found
            ],
        )
        tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency approvals inbox", "agency approvals inbox --json | jq '.inbox[]'")
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def inbox(invocation: Invocation, limit: int) -> ExitCode:
    """List everything that waits for a person: approvals, inputs, doubts, changed code."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.inbox(limit=rows, cursor=cursor), limit)
    if output.is_json:
        output.document({"inbox": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("kind", "answer", "workflow", "opened", "question"),
        [
            (
                item["kind"],
                item["approval_id"] or item["snapshot_id"] or item["run_id"],
                item["workflow"],
                item["opened_at"],
                _prompt(item["show"]) or item["name"],
            )
            for item in found
        ],
    )
    tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb, examples=("agency approvals show APPROVAL", "agency approvals show ID --json")
)
@click.argument("approval_id", metavar="APPROVAL")
@daemon_options
@pass_invocation
def show(invocation: Invocation, approval_id: str) -> ExitCode:
    """Show one approval: who asks what, until when, and what was decided."""
    output = invocation.output
    approval = invocation.client().approval(approval_id)
    if output.is_json:
        output.document(approval)
    else:
        _describe(output, approval)
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency approvals approve APPROVAL --comment 'Looks good.'",
        "agency approvals approve APPROVAL --value '{\"amount\": 10}'",
        "agency approvals approve APPROVAL --always",
        'agency approvals approve APPROVAL --where \'{"total": {"le": 100}}\'',
    ),
)
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--comment", help="Kept with the decision.")
@click.option("--value", "value_text", help="The edited value: JSON, @FILE, or - for stdin.")
@click.option(
    "--always", is_flag=True, help="Allow the like from now on: same workflow, name and risk."
)
@click.option("--where", "where_text", help="The same, if what is shown fits this filter (JSON).")
@click.option("--question", help="The same, if the question fits this pattern.")
@daemon_options
@pass_invocation
def approve(
    invocation: Invocation,
    approval_id: str,
    comment: str | None,
    value_text: str | None,
    where_text: str | None,
    question: str | None,
    *,
    always: bool,
) -> ExitCode:
    """Approve. The first decision counts; a second one is refused."""
    rule: dict[str, Any] | None = None
    if always or where_text is not None or question is not None:
        rule = {}
        if where_text is not None:
            rule["where"] = read_json(where_text, "--where")
        if question is not None:
            rule["question"] = question
    value = None if value_text is None else read_json(value_text, "--value")
    decided = invocation.client().decide(
        approval_id,
        "approve",
        comment=comment,
        value=value,
        has_value=value_text is not None,
        always=rule,
    )
    return _tell(invocation.output, decided)


@click.command(cls=Verb, examples=("agency approvals deny APPROVAL --comment 'Too dear.'",))
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--comment", help="Kept with the decision.")
@daemon_options
@pass_invocation
def deny(invocation: Invocation, approval_id: str, comment: str | None) -> ExitCode:
    """Deny. The first decision counts; a second one is refused."""
    decided = invocation.client().decide(approval_id, "deny", comment=comment)
    return _tell(invocation.output, decided)


@click.command(
    cls=Verb,
    examples=(
        "agency approvals answer APPROVAL --value '\"Main Street 1\"'",
        "agency approvals answer APPROVAL --value @address.json",
    ),
)
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--value", "value_text", required=True, help="JSON, @FILE, or - for stdin.")
@click.option("--comment", help="Kept with the answer.")
@daemon_options
@pass_invocation
def answer(
    invocation: Invocation, approval_id: str, value_text: str, comment: str | None
) -> ExitCode:
    """Answer an input."""
    value = read_json(value_text, "--value")
    decided = invocation.client().decide(
        approval_id, "answer", comment=comment, value=value, has_value=True
    )
    return _tell(invocation.output, decided)


# --- rules ---------------------------------------------------------------------------------


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.approvals:rules_ls",
        "add": "agency.cli.approvals:rules_add",
        "rm": "agency.cli.approvals:rules_rm",
    },
    examples=(
        "agency approvals rules ls",
        'agency approvals rules add --workflow order --where \'{"total": {"le": 100}}\'',
        "agency approvals rules rm 3",
    ),
)
@daemon_options
def rules() -> None:
    """See, make and delete rules that allow approvals without asking."""


@click.command("ls", cls=Verb, examples=("agency approvals rules ls",))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def rules_ls(invocation: Invocation, limit: int) -> ExitCode:
    """List the rules, newest first."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.rules(limit=rows, cursor=cursor), limit)
    if output.is_json:
        output.document({"rules": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("rule", "workflow", "name", "question", "risk up to", "uses", "made by", "note"),
        [
            (
                str(rule["rule_id"]),
                rule["workflow"] or "*",
                rule["name"],
                rule["question"],
                rule["risk_max"],
                str(rule["uses"]),
                rule["made_by"],
                rule["note"],
            )
            for rule in found
        ],
    )
    tell_more(output, len(found), cursor)
    return ExitCode.OK


@click.command(
    "add",
    cls=Verb,
    examples=(
        "agency approvals rules add --workflow order --risk medium",
        "agency approvals rules add --name 'deploy-*' --where '{\"stage\": \"test\"}'",
    ),
)
@click.option("--workflow", help="Only for approvals of this workflow; '*' for all.")
@click.option("--name", help="Pattern for the approval's name.")
@click.option("--question", help="Pattern for the question.")
@click.option("--where", "where_text", help="Filter on what is shown, as JSON.")
@click.option("--risk", type=click.Choice(RISKS), help="Highest risk that it allows; else low.")
@click.option("--expires-at", help="Not used from this moment on (RFC 3339).")
@click.option("--note", help="Why; shown as the comment of its decisions.")
@daemon_options
@pass_invocation
def rules_add(
    invocation: Invocation,
    workflow: str | None,
    name: str | None,
    question: str | None,
    where_text: str | None,
    risk: str | None,
    expires_at: str | None,
    note: str | None,
) -> ExitCode:
    """Make a rule. It is for approvals that are asked from now on."""
    members: Mapping[str, Any] = {
        "workflow": workflow,
        "name": name,
        "question": question,
        "where": None if where_text is None else read_json(where_text, "--where"),
        "risk_max": risk,
        "expires_at": expires_at,
        "note": note,
    }
    made: RuleDocument = invocation.client().make_rule(
        {member: value for member, value in members.items() if value is not None}
    )
    if invocation.output.is_json:
        invocation.output.document(made)
    else:
        invocation.output.text(str(made["rule_id"]))
    return ExitCode.OK


@click.command("rm", cls=Verb, examples=("agency approvals rules rm 3",))
@click.argument("rule_id", metavar="RULE", type=click.IntRange(min=1))
@daemon_options
@pass_invocation
def rules_rm(invocation: Invocation, rule_id: int) -> ExitCode:
    """Delete a rule. What it has decided stays decided."""
    invocation.client().delete_rule(rule_id)
    if invocation.output.is_json:
        invocation.output.document({"rule_id": rule_id, "deleted": True})
    else:
        invocation.output.note(f"The rule {rule_id} is deleted.")
    return ExitCode.OK


# --- what is shown -------------------------------------------------------------------------


def _prompt(show: Any) -> str:  # noqa: ANN401  JSON value
    prompt = show.get("prompt") if isinstance(show, dict) else None
    return prompt if isinstance(prompt, str) else ""


def _tell(output: Output, decided: DecidedDocument) -> ExitCode:
    if output.is_json:
        output.document(decided)
        return ExitCode.OK
    output.note(f"The approval {decided['approval_id']} is {decided['status']}.")
    if decided["made_rule_id"] is not None:
        output.note(
            f"The like is allowed from now on by rule {decided['made_rule_id']}; "
            f"delete it with `agency approvals rules rm {decided['made_rule_id']}`."
        )
    return ExitCode.OK


def _describe(output: Output, approval: ApprovalDocument) -> None:
    name = f" ({approval['run_name']})" if approval["run_name"] else ""
    expiry = approval["expires_at"]
    rows: Mapping[str, object] = {
        "approval": approval["approval_id"],
        "question": approval["question"],
        "kind": approval["kind"],
        "risk": approval["risk"],
        "status": approval["status"],
        "workflow": approval["workflow"],
        "run": f"{approval['run_id']}{name}",
        "asked by": approval["asked_by"],
        "opened": approval["opened_at"],
        "expires": f"{expiry}, then: {approval['on_expiry']}" if expiry else None,
        "shown": _json(approval["show"]),
        "value": _json(approval["schema"] if approval["status"] == "pending" else None),
        "decided": approval["decided_at"],
        "by": approval["decided_by"],
        "comment": approval["comment"] or None,
        "edited": _json(approval["value"]),
    }
    for label, value in rows.items():
        if value is not None:
            output.text(f"{label + ':':<10} {value}")
    if approval["status"] == "pending":
        verb = "answer" if approval["kind"] == "input" else "approve"
        more = " --value JSON" if verb == "answer" else ""
        output.text(f"{'':<10} agency approvals {verb} {approval['approval_id']}{more}")


def _json(value: object) -> str | None:
    import orjson

    return None if value is None else orjson.dumps(value).decode()
