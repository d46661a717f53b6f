"""The extension ``io.modelcontextprotocol/tasks``: what a client asks about a task, and tells it.

Source: SEP-2663. There is no list of tasks, and a result comes with the task that is completed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from pydantic import Field

from agency.errors import RunEnded, RunNotFound
from agency.mcp.asking import Asking
from agency.mcp.means import Means
from agency.mcp.offerings import Context, Method
from agency.mcp.questions import TASKS, has_extension, is_modern, missing_capability
from agency.mcp.task_shape import detailed_task
from agency.ports.store import RunDetail

TASK_ID_CHARACTERS_MAX = 256


class TaskParams(types.RequestParams):
    """Names a task."""

    task_id: str = Field(max_length=TASK_ID_CHARACTERS_MAX)


class UpdateParams(TaskParams):
    """What a client answers, by the keys of the questions."""

    input_responses: dict[str, Any]


class Tasks:
    """Answers requests about tasks."""

    def __init__(self, means: Means, asking: Asking) -> None:
        """Take what they work with."""
        self._means = means
        self._asking = asking

    def methods(self) -> list[Method]:
        """List the requests that the extension has."""
        return [
            Method(name="tasks/get", params=TaskParams, answer=self.get),
            Method(name="tasks/update", params=UpdateParams, answer=self.update),
            Method(name="tasks/cancel", params=TaskParams, answer=self.cancel),
        ]

    async def get(self, ctx: Context, params: TaskParams) -> dict[str, Any]:
        """Show a task as it is now."""
        detail = await self._read(ctx, params)
        return await detailed_task(self._means, ctx, detail)

    async def update(self, ctx: Context, params: UpdateParams) -> dict[str, Any]:
        """Take answers to what a task asks; what is not asked, or not any more, is not looked at.

        Raises:
            MCPError: one of them does not fit; the others are taken.
        """
        detail = await self._read(ctx, params)
        taken = await self._asking.take(ctx, detail, params.input_responses)
        if taken.unfit:
            raise MCPError(
                types.INVALID_PARAMS,
                next(iter(taken.unfit.values())),
                data={"inputResponses": taken.unfit},
            )
        return dict(_DONE)

    async def cancel(self, ctx: Context, params: TaskParams) -> dict[str, Any]:
        """Cancel a task; one that has ended stays as it is."""
        detail = await self._read(ctx, params)
        try:
            await self._means.services.runs.cancel(detail.run.id, reason="its client asked for it")
        except RunEnded:
            return dict(_DONE)
        return dict(_DONE)

    async def _read(self, ctx: Context, params: TaskParams) -> RunDetail:
        """Read a task of the caller's.

        Raises:
            MCPError: the client may not ask, or there is no such task of its.
        """
        _check(ctx, params.task_id)
        try:
            return await self._asking.own(ctx, params.task_id)
        except RunNotFound:
            raise MCPError(
                types.INVALID_PARAMS, "There is no such task.", data={"taskId": params.task_id}
            ) from None


_DONE: Mapping[str, Any] = {"resultType": "complete"}


def _check(ctx: Context, task_id: str) -> None:
    """Check what the extension asks of a request.

    Source: SEP-2575 for the capability, SEP-2243 and SEP-2663, "Routing Headers", for the header.

    Raises:
        MCPError: it is of a protocol without the extension, the client has not declared it, or
            the header names another task.
    """
    if not is_modern(ctx):
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", data=ctx.method)
    if not has_extension(ctx, TASKS):
        raise missing_capability({"extensions": {TASKS: {}}})
    assert ctx.request is not None
    if decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(
            types.HEADER_MISMATCH,
            f"The header {MCP_NAME_HEADER} does not match the request body's 'taskId' parameter",
        )
