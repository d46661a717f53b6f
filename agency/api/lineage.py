"""``/api/v1/runs/{id}/retry|resume|rerun|fork|lineage``: runs that go on, or begin again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import Name, WorkflowId, run_id_of
from agency.api.lineage_shape import family_json, preview_json
from agency.api.starting import (
    REPLAYED,
    below_input,
    idempotency_key_of,
    moved,
    request_hash_of,
)
from agency.core.context import CORRELATION_ID
from agency.core.limits import ATTEMPTS_MAX, NAME_CHARACTERS_MAX, PAGE_ROWS_MAX
from agency.engine.lineage import AnewWish, Preview, RetryWish
from agency.errors import Fault, InvalidInput, ShuttingDown
from agency.web.addresses import run_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "runs"

Attempts = Annotated[int, Field(ge=1, le=ATTEMPTS_MAX)]
Point = (
    Annotated[int, Field(ge=1, lt=1 << 63)]
    | Annotated[str, Field(min_length=1, max_length=8 * NAME_CHARACTERS_MAX)]
)


class DryBody(Body):
    """What every verb takes."""

    dry_run: bool = Field(default=False, description="Only tell what would be done.")


class RetryBody(DryBody):
    """How the run goes on; what is not given stays as it was."""

    provider: Name | None = Field(default=None, description="Who serves its models from now on.")
    max_attempts: Attempts | None = Field(default=None, description="Tries of the run as a whole.")


class BudgetsBody(Body):
    """What an agent's run may use in all; what is not given stays as it was."""

    turns: Annotated[int, Field(ge=1, le=10_000, description="Replies of the model.")] | None = None
    tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="Of prompts and replies."
    )
    seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = Field(
        default=None, description="Of calls to models and tools."
    )
    tool_calls: Annotated[int, Field(ge=0, le=100_000)] | None = None


class GoOnBody(RetryBody):
    """How a run goes on that has failed, or has reached a limit."""

    budgets: BudgetsBody | None = Field(
        default=None,
        description="Of an agent's run. Without it one that has used up a budget may use as much "
        "once more.",
    )


class RunResumeBody(DryBody):
    """An answer to what the run waits for."""

    wait: Name | None = Field(default=None, description="Key of the wait that is answered.")
    input: Any = Field(default=None, description="The answer; null is one, too.")


class RerunBody(RetryBody):
    """A new run; what is not given is that of the old one."""

    input: Any = Field(default=None, description="Another input; null is one, too.")
    name: WorkflowId | None = Field(default=None, description="Name of the new run.")


class ForkBody(RerunBody):
    """A new run that begins in the middle of the old one."""

    at: Point | None = Field(
        default=None,
        description="The first entry that is not kept: its number or key, or the id of a snapshot. "
        "Everything is kept without it.",
    )


class LineageQuery(Query):
    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX, description="Further runs at most.")] = 100


async def retry_run(request: web.Request) -> web.Response:
    """Let an ended run go on from what has failed."""
    run_id = _run_id(request)
    body = await read_body(request, GoOnBody, may_be_empty=True)
    wish = retry_wish_of(request, body)
    if body.budgets is not None:
        wish = replace(wish, budgets=body.budgets.model_dump(exclude_none=True))
    done = await request.app[SERVICES].lineage.retry(run_id, wish, dry_run=body.dry_run)
    return answer_with(done, run_id, "retry", dry_run=body.dry_run)


async def rerun_run(request: web.Request) -> web.Response:
    """Start a new run with the same input, or another."""
    body = await read_body(request, RerunBody, may_be_empty=True)
    return await _begin(request, body, request.app[SERVICES].lineage.rerun, "rerun", None)


async def fork_run(request: web.Request) -> web.Response:
    """Start a new run from a point of this one."""
    body = await read_body(request, ForkBody, may_be_empty=True)
    return await _begin(request, body, request.app[SERVICES].lineage.fork, "fork", body.at)


async def resume_run(request: web.Request) -> web.Response:
    """Answer what a suspended run waits for."""
    run_id = _run_id(request)
    body = await read_body(request, RunResumeBody, may_be_empty=True)
    done = await request.app[SERVICES].lineage.resume(
        run_id,
        wait=body.wait,
        input=body.input,
        has_input="input" in body.model_fields_set,
        principal=principal_of(request).name,
        dry_run=body.dry_run,
    )
    return answer_with(done, run_id, "resume", dry_run=body.dry_run)


async def show_lineage(request: web.Request) -> web.Response:
    """Read what a run comes from, and what has come from it."""
    run_id = _run_id(request)
    query = read_query(request, LineageQuery)
    family = await request.app[SERVICES].lineage.family(run_id, limit=query.limit)
    return json_answer(family_json(run_id, family))


def retry_wish_of(request: web.Request, body: RetryBody) -> RetryWish:
    """Make the wish of a request to retry.

    Raises:
        InvalidInput: the provider is not one that this daemon has.
    """
    _check_provider(request, body.provider)
    return RetryWish(
        provider=body.provider,
        max_attempts=body.max_attempts,
        principal=principal_of(request).name,
    )


def answer_with(done: Preview, asked: str, verb: str, *, dry_run: bool) -> web.Response:
    """Answer with what a verb has done, or would do."""
    made = preview_json(done, asked, verb, dry_run=dry_run)
    if dry_run:
        return json_answer(made)
    headers = {"Location": run_path(done.run.id)}
    if not done.is_new:
        headers[REPLAYED] = "true"
    return json_answer(made, status=202, headers=headers)


async def _begin(
    request: web.Request,
    body: RerunBody,
    begin: Callable[..., Awaitable[Preview]],
    verb: str,
    at: int | str | None,
) -> web.Response:
    if request.app[SERVICES].is_stopping():
        raise ShuttingDown
    run_id = _run_id(request)
    _check_provider(request, body.provider)
    key = idempotency_key_of(request)
    wish = AnewWish(
        at=at,
        input=body.input,
        has_input="input" in body.model_fields_set,
        name=body.name,
        provider=body.provider,
        max_attempts=body.max_attempts,
        idempotency_key=key,
        request_hash=request_hash_of(request, body) if key is not None else None,
        correlation_id=CORRELATION_ID.get(),
        principal=principal_of(request).name,
    )
    try:
        done = await begin(run_id, wish, dry_run=body.dry_run)
    except InvalidInput as error:
        if type(error) is not InvalidInput or not error.faults:
            raise
        raise moved(error, below_input) from error
    return answer_with(done, run_id, verb, dry_run=body.dry_run)


def _check_provider(request: web.Request, name: str | None) -> None:
    known = request.app[SERVICES].providers
    if name is not None and name not in known:
        names = ", ".join(repr(one) for one in sorted(known))
        fault = Fault("/provider", f"This daemon has {names}.")
        raise InvalidInput(f"There is no provider {name!r} here.", faults=[fault])


def _run_id(request: web.Request) -> str:
    return run_id_of(request.match_info["run_id"])


def routes() -> Sequence[Route]:
    """List what is served here."""
    path = "/api/v1/runs/{run_id}"
    dry = "With `dry_run` it is only told what would be done again, or why it is refused."
    return (
        Route(
            method="POST",
            path=f"{path}/retry",
            answer=retry_run,
            operation="retry_run",
            summary="Let an ended run go on from what has failed",
            description="For runs that are failed, dead_letter, timed_out or compensation_failed. "
            "Only the failures that the run's own error names are done again; its attempts count "
            f"anew. {dry}",
            tag=TAG,
            body=GoOnBody,
            body_may_be_empty=True,
            answers={200: "VerbAnswer", 202: "VerbAnswer"},
            problems=(
                errors.RunNotFound,
                errors.RunNotRetryable,
                errors.RunChanged,
                errors.RunHasParent,
                errors.NameTaken,
                errors.SessionBusy,
                errors.WorkflowNotFound,
            ),
            examples={"attempts": {"max_attempts": 5}},
        ),
        Route(
            method="POST",
            path=f"{path}/resume",
            answer=resume_run,
            operation="resume_run",
            summary="Answer what a suspended run waits for",
            description=f"The same as resuming its newest snapshot. {dry}",
            tag=TAG,
            body=RunResumeBody,
            body_may_be_empty=True,
            answers={200: "VerbAnswer", 202: "VerbAnswer"},
            problems=(
                errors.RunNotFound,
                errors.RunEnded,
                errors.RunNotSuspended,
                errors.SnapshotSpent,
                errors.SnapshotNotFound,
                errors.WaitNotFound,
                errors.WaitAmbiguous,
                errors.AnswerNeeded,
                errors.WaitNotAnswerable,
                errors.WaitTaken,
                errors.ValueTooLarge,
            ),
            examples={"answer": {"input": "Main Street 1"}},
        ),
        Route(
            method="POST",
            path=f"{path}/rerun",
            answer=rerun_run,
            operation="rerun_run",
            summary="Start a new run with the same input, or another",
            description=f"It runs the workflow as it is now, from its start. {dry}",
            tag=TAG,
            body=RerunBody,
            body_may_be_empty=True,
            answers={200: "VerbAnswer", 202: "VerbAnswer"},
            problems=(*_ANEW, errors.ValueTooLarge),
            examples={"edited": {"input": {"message": "What is Go?"}}},
            is_idempotent=True,
        ),
        Route(
            method="POST",
            path=f"{path}/fork",
            answer=fork_run,
            operation="fork_run",
            summary="Start a new run from a point of this one",
            description="It has in common what was recorded before the point, and the seed. Open "
            f"waits are opened anew, and the mailbox is not copied. {dry}",
            tag=TAG,
            body=ForkBody,
            body_may_be_empty=True,
            answers={200: "VerbAnswer", 202: "VerbAnswer"},
            problems=(
                *_ANEW,
                errors.ForkPointNotFound,
                errors.RunTakenBack,
                errors.RunChanged,
                errors.ValueTooLarge,
            ),
            examples={"step": {"at": "charge#1"}},
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path=f"{path}/lineage",
            answer=show_lineage,
            operation="show_lineage",
            summary="Read what a run comes from, and what has come from it",
            tag=TAG,
            query=LineageQuery,
            answers={200: "LineageAnswer"},
            problems=(errors.RunNotFound,),
        ),
    )


_ANEW = (
    errors.RunNotFound,
    errors.WorkflowNotFound,
    errors.WorkflowDisabled,
    errors.QueueNotFound,
    errors.QueueFull,
    errors.NameTaken,
    errors.SessionBusy,
    errors.IdempotencyMismatch,
    errors.ShuttingDown,
)
