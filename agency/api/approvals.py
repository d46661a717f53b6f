"""``/api/v1/approvals`` and ``/api/v1/inbox``: what people are asked, and what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.approval_shape import approval_json, inbox_json, rule_json
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Moment, Name
from agency.core.ids import is_id
from agency.core.limits import (
    COMMENT_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    PATTERN_CHARACTERS_MAX,
)
from agency.domain.approval import ApprovalKind, ApprovalStatus, Risk
from agency.engine.approvals import DecideRequest, RuleRequest
from agency.errors import ApprovalNotFound, RuleNotFound
from agency.ports.approval import ApprovalFilter
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "approvals"
PATH = "/api/v1/approvals"

_Pattern = Annotated[str, Field(min_length=1, max_length=PATTERN_CHARACTERS_MAX)]
_Comment = Annotated[str, Field(max_length=COMMENT_CHARACTERS_MAX)]
_Risk = Annotated[Risk, Field(strict=False)]


class RuleBody(Body):
    """A rule that allows what fits it. What is left out is taken from where the rule is made.

    One that is made by itself says at least one of workflow, name, question and where.
    """

    workflow: Name | None = Field(
        default=None,
        description="Workflow whose approvals it is for, `*` for all; by default that of the "
        "approval, or all.",
    )
    name: _Pattern | None = Field(
        default=None,
        description="Pattern for the approval's name; `*`, `?` and `[…]` stand for others. By "
        "default the approval's own name, or any.",
    )
    question: _Pattern | None = Field(default=None, description="Pattern for the question.")
    where: dict[str, Any] | None = Field(
        default=None, description='Filter on what is shown: `{"total": {"le": 100}}`.'
    )
    risk_max: _Risk | None = Field(
        default=None,
        description="It never allows what is riskier; by default the approval's risk, or low.",
    )
    expires_at: Moment | None = Field(default=None, description="Not used from then on.")
    note: _Comment = Field(default="", description="Why; shown as the comment of its decisions.")


class DecideBody(Body):
    """A decision."""

    decision: Literal["approve", "deny", "answer"] = Field(
        description="`answer` is for inputs, the others for approvals."
    )
    comment: _Comment = Field(default="", description="Kept with the decision.")
    value: Any = Field(
        default=None,
        description="The answer to an input; of an approval that has a schema the edited value.",
    )
    always: RuleBody | None = Field(
        default=None, description="Make a rule of it, so that the like is not asked again."
    )


class ApprovalQuery(Query):
    status: list[ApprovalStatus] = Field(default=[], description="Repeat it to name several.")
    kind: list[ApprovalKind] = Field(default=[], description="Repeat it to name several.")
    risk: list[Risk] = Field(default=[], description="Repeat it to name several.")
    workflow: Name | None = None
    run_id: Name | None = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class PageQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def list_approvals(request: web.Request) -> web.Response:
    """List approvals, newest first."""
    query = read_query(request, ApprovalQuery)
    which = ApprovalFilter(
        statuses=frozenset(query.status),
        kinds=frozenset(query.kind),
        risks=frozenset(query.risk),
        workflow=query.workflow,
        run_id=query.run_id,
    )
    before = parse_number_cursor("approvals", query.cursor) if query.cursor is not None else None
    approvals = request.app[SERVICES].approvals
    rows = await approvals.list(which, before=before, limit=query.limit + 1)
    page, cursor = cut_page("approvals", rows, query.limit, lambda one: one.number)
    return json_answer({"approvals": [approval_json(one) for one in page], "next_cursor": cursor})


async def show_approval(request: web.Request) -> web.Response:
    """Read one approval."""
    approvals = request.app[SERVICES].approvals
    return json_answer(approval_json(await approvals.get(_approval_id(request))))


async def decide_approval(request: web.Request) -> web.Response:
    """Decide an approval; the caller is who has decided."""
    approval_id = _approval_id(request)
    body = await read_body(request, DecideBody)
    decided = await request.app[SERVICES].approvals.decide(
        approval_id,
        DecideRequest(
            decision=body.decision,
            by=principal_of(request).name,
            comment=body.comment,
            value=body.value,
            has_value="value" in body.model_fields_set,
            always=None if body.always is None else _rule(body.always),
        ),
    )
    return json_answer({**approval_json(decided.approval), "made_rule_id": decided.rule})


async def list_rules(request: web.Request) -> web.Response:
    """List the rules, newest first."""
    query = read_query(request, PageQuery)
    before = parse_number_cursor("rules", query.cursor) if query.cursor is not None else None
    approvals = request.app[SERVICES].approvals
    rows = await approvals.rules(before=before, limit=query.limit + 1)
    page, cursor = cut_page("rules", rows, query.limit, lambda rule: rule.number)
    return json_answer({"rules": [rule_json(rule) for rule in page], "next_cursor": cursor})


async def make_rule(request: web.Request) -> web.Response:
    """Make a rule."""
    body = await read_body(request, RuleBody)
    rule = await request.app[SERVICES].approvals.add_rule(
        _rule(body), by=principal_of(request).name
    )
    headers = {"Location": f"{PATH}/rules/{rule.number}"}
    return json_answer(rule_json(rule), status=201, headers=headers)


async def delete_rule(request: web.Request) -> web.Response:
    """Delete a rule."""
    text = request.match_info["rule_id"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise RuleNotFound(text[:NAME_CHARACTERS_MAX])
    number = int(text)
    await request.app[SERVICES].approvals.delete_rule(number, by=principal_of(request).name)
    return json_answer({"rule_id": number, "deleted": True})


async def show_inbox(request: web.Request) -> web.Response:
    """List everything that waits for a person."""
    query = read_query(request, PageQuery)
    before = parse_number_cursor("inbox", query.cursor) if query.cursor is not None else None
    approvals = request.app[SERVICES].approvals
    rows = await approvals.inbox(before=before, limit=query.limit + 1)
    page, cursor = cut_page("inbox", rows, query.limit, lambda item: item.number)
    return json_answer({"inbox": [inbox_json(item) for item in page], "next_cursor": cursor})


def _approval_id(request: web.Request) -> str:
    text = request.match_info["approval_id"]
    if not is_id(text):
        raise ApprovalNotFound(text[:NAME_CHARACTERS_MAX])
    return text.lower()


def _rule(body: RuleBody) -> RuleRequest:
    return RuleRequest(
        workflow=body.workflow,
        name=body.name,
        question=body.question,
        where=body.where,
        risk_max=body.risk_max,
        expires_at=body.expires_at,
        note=body.note,
    )


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path="/api/v1/inbox",
            answer=show_inbox,
            operation="show_inbox",
            summary="List everything that waits for a person, newest first",
            description="Approvals, inputs, once-steps in doubt, and runs whose code has changed.",
            tag=TAG,
            query=PageQuery,
            answers={200: "InboxPageAnswer"},
        ),
        Route(
            method="GET",
            path=PATH,
            answer=list_approvals,
            operation="list_approvals",
            summary="List approvals and inputs, newest first",
            tag=TAG,
            query=ApprovalQuery,
            answers={200: "ApprovalPageAnswer"},
        ),
        Route(
            method="GET",
            path=f"{PATH}/rules",
            answer=list_rules,
            operation="list_approval_rules",
            summary="List the rules that allow approvals, newest first",
            tag=TAG,
            query=PageQuery,
            answers={200: "RulePageAnswer"},
        ),
        Route(
            method="POST",
            path=f"{PATH}/rules",
            answer=make_rule,
            operation="make_approval_rule",
            summary="Make a rule that allows approvals",
            description="It is for approvals that are opened from now on.",
            tag=TAG,
            body=RuleBody,
            answers={201: "RuleAnswer"},
            problems=(errors.TooManyRules,),
            examples={"small orders": {"workflow": "order", "where": {"total": {"le": 100}}}},
        ),
        Route(
            method="DELETE",
            path=f"{PATH}/rules/{{rule_id}}",
            answer=delete_rule,
            operation="delete_approval_rule",
            summary="Delete a rule",
            description="What it has decided stays decided.",
            tag=TAG,
            answers={200: "DeletedRuleAnswer"},
            problems=(errors.RuleNotFound,),
        ),
        Route(
            method="GET",
            path=f"{PATH}/{{approval_id}}",
            answer=show_approval,
            operation="show_approval",
            summary="Read an approval",
            tag=TAG,
            answers={200: "ApprovalAnswer"},
            problems=(errors.ApprovalNotFound,),
        ),
        Route(
            method="POST",
            path=f"{PATH}/{{approval_id}}/decide",
            answer=decide_approval,
            operation="decide_approval",
            summary="Decide an approval, once",
            description="A second decision is answered with 409, and told who was faster.",
            tag=TAG,
            body=DecideBody,
            answers={200: "DecidedAnswer"},
            problems=(
                errors.ApprovalNotFound,
                errors.ApprovalDecided,
                errors.TooManyRules,
                errors.ValueTooLarge,
            ),
            examples={"approve": {"decision": "approve", "comment": "Looks good."}},
        ),
    )
