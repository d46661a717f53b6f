"""The verbs for runs as tools: start, look, wait, cancel, answer and approve.

Runs of others are not there for their caller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from mcp_types import CallToolRequestParams, CallToolResult, Tool, ToolAnnotations
from pydantic import Field, ValidationError

from agency.core import json
from agency.core.ids import is_id
from agency.core.limits import (
    CANCEL_WAIT_S,
    COMMENT_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    PAGE_ROWS_MAX,
)
from agency.core.records import dataclass
from agency.domain.approval import ApprovalKind
from agency.domain.run import ENDED, RunStatus
from agency.domain.wait import Wait, WaitKind
from agency.engine.approvals import Choice, DecideRequest
from agency.errors import (
    AgencyError,
    InvalidInput,
    RunNotFound,
    RunNotSuspended,
    WaitAmbiguous,
    WaitNotFound,
)
from agency.mcp.caller import Caller
from agency.mcp.means import Means
from agency.mcp.offerings import Context, Offerings, ToolAnswer, caller_of
from agency.mcp.published_tools import key_of, make_request, start
from agency.mcp.results import json_result, refusal_of, result_of
from agency.mcp.run_shape import OF_PEOPLE, open_waits, row_json, status_json
from agency.mcp.verb_names import ANSWER, APPROVE, CANCEL, LIST, RESULT, START, STATUS
from agency.mcp.waiting import wait_for
from agency.ports.store import RunDetail, RunFilter
from agency.web.bodies import Body
from agency.web.faults import invalid_input
from agency.web.paging import cut_page, parse_number_cursor

_Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
_RunId = Annotated[str, Field(max_length=64, description="Id of the run.")]
_Comment = Annotated[str, Field(max_length=COMMENT_CHARACTERS_MAX)]


class StartArguments(Body):
    """What is to be started."""

    workflow: _Name = Field(description="Name of a published workflow or agent.")
    input: Any = Field(default=None, description="Its input, as the schema of its tool says.")
    idempotency_key: _Name | None = Field(
        default=None, description="The same key and input again is the same run."
    )


class RunArguments(Body):
    """A run."""

    run_id: _RunId


class ResultArguments(Body):
    """A run, and how long to wait for it."""

    run_id: _RunId
    wait_s: Annotated[float, Field(ge=0, le=3600, strict=False)] | None = Field(
        default=None, description="Seconds to wait at most; by default as long as a tool waits."
    )


class CancelArguments(Body):
    """A run, and why it is not wanted any more."""

    run_id: _RunId
    reason: _Comment = Field(default="", description="It is recorded and shown.")


class AnswerArguments(Body):
    """An answer to what a run waits for."""

    run_id: _RunId
    value: Any = Field(description="The answer, as the schema of the wait says.")
    wait: _Name | None = Field(
        default=None, description="Key of the wait; needed only when there are several."
    )
    comment: _Comment = Field(default="", description="Kept with the answer.")


class ApproveArguments(Body):
    """A decision about what a run may do."""

    run_id: _RunId
    decision: Literal["approve", "deny"]
    wait: _Name | None = Field(
        default=None, description="Key of the wait; needed only when there are several."
    )
    comment: _Comment = Field(default="", description="Kept with the decision.")


class ListArguments(Body):
    """Which runs to list."""

    status: Annotated[RunStatus, Field(strict=False)] | None = None
    workflow: _Name | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = 20
    cursor: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="next_cursor of the page before."
    )


_Arguments = TypeVar("_Arguments", bound=Body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A verb as a tool.

    Attributes:
        hints: What it does to the world.
    """

    name: str
    title: str
    description: str
    arguments: type[Body]
    hints: Mapping[str, bool]
    answer: Callable[[Context, Any], Awaitable[ToolAnswer]]

    def tool(self) -> Tool:
        """Make the tool."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        schema.pop("description", None)
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=schema,
            annotations=ToolAnnotations(title=self.title, open_world_hint=False, **self.hints),
        )


_READS = {"read_only_hint": True}
_ENDS = {"read_only_hint": False, "destructive_hint": True, "idempotent_hint": True}
_STEERS = {"read_only_hint": False, "destructive_hint": False, "idempotent_hint": False}


_ANSWERABLE = OF_PEOPLE - {WaitKind.APPROVAL} | {WaitKind.EVENT}
"""Waits that an answer ends; timers and children end by themselves."""


class RunVerbs:
    """The verbs as tools."""

    def __init__(self, means: Means, offerings: Offerings) -> None:
        """Take what they work with."""
        self._means = means
        self._offerings = offerings
        self._verbs = {verb.name: verb for verb in self._all()}

    def _all(self) -> Sequence[Verb]:
        return (
            Verb(
                name=START,
                title="Start a run",
                description="Start a run of a published workflow or agent, and do not wait for it. "
                "Gives its run_id at once; the work is durable then.",
                arguments=StartArguments,
                hints={},
                answer=self._start,
            ),
            Verb(
                name=STATUS,
                title="See how a run is",
                description="See how a run is: status, progress, and what it waits for.",
                arguments=RunArguments,
                hints=_READS,
                answer=self._status,
            ),
            Verb(
                name=RESULT,
                title="Wait for a run's result",
                description="Wait until a run has ended or needs somebody, and give its result.",
                arguments=ResultArguments,
                hints=_READS,
                answer=self._result,
            ),
            Verb(
                name=CANCEL,
                title="Cancel a run",
                description="Cancel a run and all that it has started.",
                arguments=CancelArguments,
                hints=_ENDS,
                answer=self._cancel,
            ),
            Verb(
                name=ANSWER,
                title="Answer a run",
                description="Answer the question, or give the event, that a run waits for. Ask the "
                "user first: the answer is recorded as theirs.",
                arguments=AnswerArguments,
                hints=_STEERS,
                answer=self._answer,
            ),
            Verb(
                name=APPROVE,
                title="Decide an approval",
                description="Approve or deny what a run wants to do. Ask the user first: the "
                "decision is recorded as theirs.",
                arguments=ApproveArguments,
                hints=_STEERS,
                answer=self._approve,
            ),
            Verb(
                name=LIST,
                title="List runs",
                description="List your runs, newest first.",
                arguments=ListArguments,
                hints=_READS,
                answer=self._list,
            ),
        )

    async def tools(self, caller: Caller) -> Sequence[Tool]:
        """List them."""
        return [verb.tool() for verb in self._verbs.values()]

    async def call(self, ctx: Context, params: CallToolRequestParams) -> ToolAnswer | None:
        """Do what is asked."""
        verb = self._verbs.get(params.name)
        if verb is None:
            return None
        try:
            return await verb.answer(ctx, _read(verb.arguments, params.arguments or {}))
        except AgencyError as error:
            return refusal_of(error)
        except json.NotJson as error:
            return refusal_of(InvalidInput(f"The arguments are not JSON: {error}."))

    async def _start(self, ctx: Context, asked: StartArguments) -> ToolAnswer:
        published = self._means.publication.get(asked.workflow)
        request = make_request(
            caller_of(ctx), published, asked.input, key=asked.idempotency_key or key_of(ctx.meta)
        )
        started = await start(self._means, request)
        detail = await self._means.services.runs.get(started.run.id)
        return json_result(status_json(detail))

    async def _status(self, ctx: Context, asked: RunArguments) -> ToolAnswer:
        return json_result(status_json(await own_run(self._means, caller_of(ctx), asked.run_id)))

    async def _result(self, ctx: Context, asked: ResultArguments) -> ToolAnswer:
        detail = await own_run(self._means, caller_of(ctx), asked.run_id)
        bound = self._means.services.settings.mcp.call_wait_s
        timeout_s = bound if asked.wait_s is None else min(asked.wait_s, bound)
        waited: RunDetail | ToolAnswer = detail
        if detail.run.status not in ENDED:
            waited = await wait_for(
                self._means, self._offerings, ctx, detail.run.id, timeout_s=timeout_s
            )
        if not isinstance(waited, RunDetail):
            return waited
        return await result_of(self._means, waited, None)

    async def _cancel(self, ctx: Context, asked: CancelArguments) -> ToolAnswer:
        detail = await own_run(self._means, caller_of(ctx), asked.run_id)
        runs = self._means.services.runs
        if detail.run.status not in ENDED:
            detail = await runs.cancel(detail.run.id, reason=asked.reason)
        if detail.run.status not in ENDED:
            detail = await self._means.patience.wait_for(
                runs, detail.run.id, timeout_s=CANCEL_WAIT_S
            )
        return json_result(status_json(detail))

    async def _answer(self, ctx: Context, asked: AnswerArguments) -> ToolAnswer:
        caller = caller_of(ctx)
        detail = await own_run(self._means, caller, asked.run_id)
        wait = _choose(detail, asked.wait, lambda one: one.kind in _ANSWERABLE)
        approval_id = _approval_id(wait)
        if wait.kind is WaitKind.INPUT and approval_id is not None:
            await self._decide(caller, approval_id, "answer", asked.comment, asked.value)
        elif wait.kind is WaitKind.EVENT and wait.target == "":
            await self._means.services.runs.send(detail.run.id, name=wait.name, payload=asked.value)
        elif detail.snapshot_id is None:
            raise RunNotSuspended(detail.run.id, detail.run.status)
        else:
            await self._means.services.runs.resume(
                detail.snapshot_id,
                wait=wait.key,
                input=asked.value,
                has_input=True,
                principal=caller.principal,
            )
        return await self._now(detail)

    async def _approve(self, ctx: Context, asked: ApproveArguments) -> ToolAnswer:
        caller = caller_of(ctx)
        detail = await own_run(self._means, caller, asked.run_id)
        wait = _choose(detail, asked.wait, lambda one: one.kind is WaitKind.APPROVAL)
        approval_id = _approval_id(wait)
        if approval_id is None:
            raise WaitNotFound(detail.run.id, wait.key, [])
        await self._decide(caller, approval_id, asked.decision, asked.comment)
        return await self._now(detail)

    async def _decide(
        self,
        caller: Caller,
        approval_id: str,
        decision: Choice,
        comment: str,
        value: Any = None,  # noqa: ANN401  JSON value
    ) -> None:
        approvals = self._means.services.approvals
        asked = await approvals.get(approval_id)
        await approvals.decide(
            approval_id,
            DecideRequest(
                decision=decision,
                by=caller.principal,
                comment=comment,
                value=value,
                has_value=asked.kind is ApprovalKind.INPUT,
            ),
        )

    async def _now(self, detail: RunDetail) -> CallToolResult:
        return json_result(status_json(await self._means.services.runs.get(detail.run.id)))

    async def _list(self, ctx: Context, asked: ListArguments) -> ToolAnswer:
        which = RunFilter(
            principal=caller_of(ctx).principal,
            statuses=frozenset({asked.status} if asked.status else ()),
            workflow=asked.workflow,
        )
        before = parse_number_cursor("runs", asked.cursor) if asked.cursor is not None else None
        rows = await self._means.services.runs.list(which, before=before, limit=asked.limit + 1)
        page, cursor = cut_page("runs", rows, asked.limit, lambda run: run.number)
        return json_result({"runs": [row_json(run) for run in page], "next_cursor": cursor})


async def own_run(means: Means, caller: Caller, run_id: str) -> RunDetail:
    """Read a run of the caller. That of another is not there.

    Raises:
        RunNotFound: there is none that the caller may see.
    """
    if not is_id(run_id):
        raise RunNotFound(run_id)
    detail = await means.services.runs.get(run_id)
    if detail.run.principal != caller.principal:
        raise RunNotFound(run_id)
    return detail


def _choose(detail: RunDetail, named: str | None, fits: Callable[[Wait], bool]) -> Wait:
    """Find the wait that is meant.

    Raises:
        WaitNotFound: none of the open waits is it.
        WaitAmbiguous: none is named, and there are several.
    """
    waits = open_waits(detail)
    fitting = [wait for wait in waits if fits(wait) and named in {None, wait.key, wait.name}]
    if len(fitting) == 1:
        return fitting[0]
    keys = [wait.key for wait in waits]
    if not fitting:
        raise WaitNotFound(detail.run.id, named or "any", keys)
    raise WaitAmbiguous(detail.run.id, keys)


def _approval_id(wait: Wait) -> str | None:
    found = wait.show.get("approval_id") if isinstance(wait.show, dict) else None
    return found if isinstance(found, str) else None


def _read(model: type[_Arguments], arguments: Mapping[str, Any]) -> _Arguments:
    """Check the arguments of a verb.

    Raises:
        InvalidInput: they do not fit; all faults are named.
    """
    try:
        return model.model_validate(dict(arguments))
    except ValidationError as error:
        found = invalid_input(error, model, "input")
        # Its own hint names a member that only answers of REST have; here each fault is told.
        hint = found.faults[0].hint
        raise InvalidInput(found.message, faults=found.faults, hint=hint) from error
