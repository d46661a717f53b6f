"""Calls that a server has made a task of: looked at until they have ended, by whichever process.

Since 2026-07-28 a server may answer a call with a handle instead of a result, to clients that say
that they follow it. The handle is the state of the call: it is recorded with the run before anybody
looks at the task, so that a restart goes on looking instead of calling again.

Source: SEP-2663, the extension ``io.modelcontextprotocol/tasks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import mcp_types as types
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim, UnexpectedClaimedResult
from pydantic import Field

from agency.tools.mcp.calls import Tasked

EXTENSION = "io.modelcontextprotocol/tasks"

PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 60.0
"""Pauses between two looks at a task; they grow, and are never shorter than the server wants."""

GROWTH = 1.5

TASK_ID_CHARACTERS_MAX = 256

QUESTIONS_MAX = 32
"""How many questions one task may ask."""

WORKING = "working"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
INPUT_REQUIRED = "input_required"


class TaskHandle(types.Result):
    """What a server answers a call with that has become a task."""

    result_type: Literal["task"] = "task"
    task_id: str = Field(min_length=1, max_length=TASK_ID_CHARACTERS_MAX)
    status: str = WORKING
    poll_interval_ms: float | None = None


class TaskDetail(types.Result):
    """How a task is: with its result, its error or its questions."""

    task_id: str
    status: str
    status_message: str | None = None
    poll_interval_ms: float | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


class TaskParams(types.RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any]


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    """Asks how a task is."""

    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams


class UpdateTask(types.Request[UpdateParams, Literal["tasks/update"]]):
    """Answers what a task asks."""

    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/update"] = "tasks/update"
    params: UpdateParams


class FollowsTasks(ClientExtension):
    """Tells servers that calls may become tasks here."""

    identifier = EXTENSION

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """Take handles for results of calls."""
        return (ResultClaim(result_type="task", model=TaskHandle, resolve=_never),)


async def _never(handle: TaskHandle, _: ClaimContext) -> types.CallToolResult:
    """Handles are taken where the call is made, and not resolved while it is open."""
    raise UnexpectedClaimedResult(handle)


def pause_s(tasked: Tasked, poll_interval_ms: float | None) -> float:
    """Give the seconds until a task is looked at again."""
    wanted_s = (poll_interval_ms or 0.0) / 1000
    grown_s = PAUSE_S_MIN * GROWTH ** min(tasked.looks, 20)
    return min(max(wanted_s, grown_s), PAUSE_S_MAX)


def requests_of(detail: TaskDetail) -> dict[str, Any]:
    """Read what a task asks, as the SDK's requests.

    Raises:
        ValueError: it is not what may be asked.
    """
    asked = types.InputRequiredResult.model_validate(
        {"resultType": "input_required", "inputRequests": detail.input_requests or {}},
        by_name=False,
    )
    return dict(asked.input_requests or {})


def error_text(detail: TaskDetail) -> str:
    """Say why a task has failed."""
    told = (detail.error or {}).get("message")
    return told if isinstance(told, str) and told else detail.status_message or "it does not say"
