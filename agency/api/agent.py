"""``POST /api/v1/agent/process``: one message in, the agent's answer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.failed_runs import problem_of_run
from agency.api.fields import Name
from agency.api.lineage import BudgetsBody
from agency.api.run_shape import SUCCEEDED, accepted_json, location, steps_of
from agency.api.starting import replayed, start
from agency.core.ids import new_id
from agency.domain.run import ENDED
from agency.engine.runs import StartRequest
from agency.ports.store import RunDetail
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, read_body
from agency.web.patience import PATIENCE
from agency.web.preferences import preference_of
from agency.web.problems import problem_answer
from agency.web.routes import Route
from agency.workflows.agent.records import FILES_MAX, PATTERNS_MAX, PROMPT_CHARACTERS_MAX

WORKFLOW = "agent"
"""Name of the agent's workflow."""

Steps = Annotated[int, Field(ge=1, le=10_000, description="Model turns at most.")]


class FileBody(Body):
    """A file that is not text."""

    base64: str


class ProcessBody(Body):
    """A message for the agent. Without ``session_id`` a new conversation begins."""

    message: Annotated[str, Field(min_length=1, description="What the agent is told.")]
    max_steps: Steps | None = None
    session_id: Name | None = Field(
        default=None, description="Conversation to go on with; a new one without it."
    )
    model: Name | None = Field(default=None, description="Model to ask, if not the default.")
    agent: Name | None = Field(default=None, description="Agent of `[agents.NAME]`.")
    tools: Annotated[list[Name], Field(max_length=PATTERNS_MAX)] | None = Field(
        default=None,
        description="Tools that may be used, of those that the agent may: names, toolsets, "
        "patterns. Without it all, empty none.",
    )
    budgets: BudgetsBody | None = Field(default=None, description="What the run may use.")
    answer_schema: dict[str, Any] | None = Field(
        default=None, alias="schema", description="JSON Schema that the answer must obey."
    )
    files: Annotated[dict[str, str | FileBody], Field(max_length=FILES_MAX)] | None = Field(
        default=None, description="What is in its workspace: path to text or base64."
    )
    system_prompt: Annotated[str, Field(max_length=PROMPT_CHARACTERS_MAX)] | None = Field(
        default=None, description="Is added to the agent's own."
    )
    return_files: Annotated[list[Name], Field(max_length=FILES_MAX)] | None = Field(
        default=None, description="Patterns of files that the answer holds."
    )


def agent_input(
    message: str, *, max_steps: int | None = None, model: str | None = None
) -> dict[str, Any]:
    """Make the input of the agent's workflow; what is not given is the workflow's choice."""
    wanted: dict[str, Any] = {"message": message}
    if max_steps is not None:
        wanted["max_steps"] = max_steps
    if model is not None:
        wanted["model"] = model
    return wanted


def _input_of(body: ProcessBody) -> dict[str, Any]:
    given: dict[str, Any] = body.model_dump(
        exclude={"session_id"}, exclude_none=True, by_alias=True
    )
    return given


async def process(request: web.Request) -> web.Response:
    """Give the agent a message, and wait for its answer as long as a request may last."""
    body = await read_body(request, ProcessBody)
    services = request.app[SERVICES]
    preference = preference_of(request, default_s=services.settings.server.sync_wait_s)
    wanted = StartRequest(
        workflow=WORKFLOW,
        input=_input_of(body),
        session_id=body.session_id or new_id(),
    )
    # The members of the body have the names of those of the input.
    started = await start(request, body, wanted, where_of=str)
    detail = await request.app[PATIENCE].wait_for(
        services.runs, started.run.id, timeout_s=preference.wait_s
    )
    run = detail.run
    headers = {**preference.applied, **replayed(started)}
    if run.status not in ENDED:
        headers.update(location(run))
        return json_answer(accepted_json(detail), status=202, headers=headers)
    if run.status not in SUCCEEDED:
        return problem_answer(problem_of_run(run), request)
    return json_answer(_processed_json(detail), headers=headers)


def _processed_json(detail: RunDetail) -> dict[str, Any]:
    run = detail.run
    output: Mapping[str, Any] = run.output if isinstance(run.output, dict) else {}
    asked: Mapping[str, Any] = run.input if isinstance(run.input, dict) else {}
    made: dict[str, Any] = {
        "response": output.get("response", ""),
        "steps_executed": steps_of(detail),
        "completed": bool(output.get("completed", False)) and run.status == "completed",
        "run_id": run.id,
        "session_id": run.session_id,
        "model": output.get("model", ""),
        "rehearsal": bool(output.get("rehearsal", False)),
    }
    if asked.get("schema") is not None:
        made["answer"] = output.get("answer")
    if asked.get("return_files"):
        made["returned"] = output.get("returned", {})
        made["left_out"] = output.get("left_out", [])
    if output.get("limit") is not None:
        made["limit"] = output["limit"]
    return made


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="POST",
            path="/api/v1/agent/process",
            answer=process,
            operation="process_message",
            summary="Give the agent a message",
            description="Answered with the agent's answer, or with 202 and the run's address when "
            "that takes longer than `[server] sync_wait_s`, or `Prefer: wait=N`. The run goes on "
            "even when the caller hangs up.",
            tag="agent",
            body=ProcessBody,
            answers={200: "ProcessedAnswer", 202: "AcceptedAnswer"},
            problems=(
                errors.WorkflowNotFound,
                errors.WorkflowDisabled,
                errors.QueueFull,
                errors.SessionBusy,
                errors.IdempotencyMismatch,
                errors.ValueTooLarge,
                errors.ModelNotFound,
                errors.ContextTooLong,
                errors.ModelCrashed,
                errors.ModelRefused,
                errors.ModelReplyBroken,
                errors.StepFailed,
                errors.ModelTimedOut,
                errors.AgentStopped,
                errors.ModelAnswerUnfit,
            ),
            examples={
                "question": {"message": "What is Rust?", "max_steps": 10},
                "task": {
                    "message": "Sum up notes.txt in summary.txt.",
                    "tools": ["files"],
                    "budgets": {"turns": 20},
                    "files": {"notes.txt": "Rust is a language."},
                    "return_files": ["summary.txt"],
                },
            },
            waits=True,
            is_idempotent=True,
        ),
    )
