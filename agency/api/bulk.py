"""``/api/v1/runs/bulk``: many requests for work in one, each of which stands for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, SkipValidation, ValidationError

from agency import errors
from agency.api.runs import TAG, StartBody, start_request
from agency.api.starting import below_input, hash_of, moved
from agency.core.clock import to_text
from agency.core.context import CORRELATION_ID
from agency.core.limits import BULK_RUNS_MAX
from agency.engine.runs import StartedRun, StartRequest
from agency.errors import AgencyError, InvalidInput, QueueFull, ShuttingDown
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.faults import invalid_input
from agency.web.problems import problem_document, problem_of
from agency.web.routes import Route

PATH = "/api/v1/runs/bulk"
_SINGLE = "/api/v1/runs"


class BulkItem(StartBody):
    """One of many requests for work."""

    idempotency_key: (
        Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")] | None
    ) = Field(
        default=None,
        description="The same key with the same request gives the run that it has started, "
        "also when that was started by itself.",
    )


class BulkBody(Body):
    """Requests for work; each is checked, and accepted or refused, by itself."""

    runs: Annotated[
        list[Annotated[BulkItem | Any, SkipValidation]],
        Field(min_length=1, max_length=BULK_RUNS_MAX),
    ]


async def start_runs(request: web.Request) -> web.Response:
    """Start many runs in one commit."""
    body = await read_body(request, BulkBody)
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    principal = principal_of(request).name
    items: Sequence[Any] = body.runs
    wanted = [_wanted(f"/runs/{i}", item, principal) for i, item in enumerate(items)]
    started = iter(
        await services.runs.start_many([one for one in wanted if isinstance(one, StartRequest)])
    )
    outcomes = [
        _placed(f"/runs/{i}", next(started)) if isinstance(one, StartRequest) else one
        for i, one in enumerate(wanted)
    ]
    timestamp = to_text(services.clock.now())
    full = [one.retry_after_s or 0 for one in outcomes if isinstance(one, QueueFull)]
    headers = {"Retry-After": str(max(1, round(max(full))))} if full else {}
    return json_answer({"runs": [_answer(one, timestamp) for one in outcomes]}, headers=headers)


def _wanted(place: str, item: Any, principal: str) -> StartRequest | AgencyError:  # noqa: ANN401
    try:
        body = BulkItem.model_validate(item)
    except ValidationError as error:
        invalid = invalid_input(error, BulkItem, "body")
        faults = [replace(fault, where=place + fault.where) for fault in invalid.faults]
        return InvalidInput(invalid.message, faults=faults, hint=invalid.hint)
    key = body.idempotency_key
    return replace(
        start_request(body),
        idempotency_key=key,
        request_hash=hash_of("POST", _SINGLE, body, {"idempotency_key"}) if key else None,
        correlation_id=CORRELATION_ID.get(),
        principal=principal,
    )


def _placed(place: str, outcome: StartedRun | AgencyError) -> StartedRun | AgencyError:
    """Say where in the body the faults of a workflow's input are."""
    if type(outcome) is InvalidInput and outcome.faults:
        return moved(outcome, lambda pointer: place + below_input(pointer))
    return outcome


def _answer(outcome: StartedRun | AgencyError, timestamp: str) -> dict[str, Any]:
    if isinstance(outcome, StartedRun):
        return {
            "status": 202 if outcome.is_new else 200,
            "run_id": outcome.run.id,
            "run_status": outcome.run.status,
            "problem": None,
        }
    problem = problem_of(outcome)
    document = problem_document(problem, instance=PATH, timestamp=timestamp)
    return {"status": problem.status, "run_id": None, "run_status": None, "problem": document}


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="POST",
            path=PATH,
            answer=start_runs,
            operation="start_runs",
            summary="Start many runs in one commit",
            description=f"Up to {BULK_RUNS_MAX:,}. Each stands for itself: its `status` is 202 "
            "when it was accepted, 200 when its key has been used for the same request before, "
            "else that of its `problem`. Once this is answered what was accepted is durable.",
            tag=TAG,
            body=BulkBody,
            answers={200: "BulkAnswer"},
            problems=(errors.QueueFull,),
            examples={
                "two": {
                    "runs": [
                        {"workflow": "agent", "input": {"message": "What is Rust?"}},
                        {"workflow": "agent", "input": {"message": "And Go?"}},
                    ]
                }
            },
        ),
    )
