"""Requests of the protocol 2026-07-28 as they are on the wire, for what no client library sends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from tests.processes import get

REVISION = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
_NUMBERS = itertools.count(1)
_NAMES = {"tools/call": "name", "tasks/get": "taskId", "tasks/update": "taskId"}


def ask(
    url: str,
    method: str,
    params: Mapping[str, Any],
    *,
    can: Mapping[str, Any] | None = None,
    token: str = "",
    name: str | None = None,
) -> dict[str, Any]:
    """Send a request, and give what is answered: ``{"result": …}`` or ``{"error": …}``.

    Args:
        url: Address of the daemon.
        method: Of the protocol.
        params: Without ``_meta``.
        can: The client's capabilities; by default it is shown forms and follows tasks.
        token: Of the caller.
        name: What the routing header says instead of what it should say.
    """
    body = request(method, params, can=can)
    named = params.get(_NAMES.get(method, "taskId"), "")
    _, answer = get(
        f"{url}/mcp",
        token=token,
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": method,
            "Mcp-Name": named if name is None else name,
        },
    )
    found: dict[str, Any] = answer
    return found


def request(
    method: str, params: Mapping[str, Any], *, can: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write a request; see `ask`."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": (
            {"elicitation": {}, "extensions": {TASKS: {}}} if can is None else can
        ),
    }
    return {
        "jsonrpc": "2.0",
        "id": next(_NUMBERS),
        "method": method,
        "params": {**params, "_meta": meta},
    }


def call(
    url: str, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Call a tool, and give its result; ``again`` is what a call that is sent again has with it."""
    again = more.pop("again", {})
    answer = ask(
        url, "tools/call", {"name": tool, "arguments": dict(arguments or {}), **again}, **more
    )
    result: dict[str, Any] = answer["result"]
    return result


def task(url: str, task_id: str, **more: Any) -> dict[str, Any]:
    """Look at a task."""
    result: dict[str, Any] = ask(url, "tasks/get", {"taskId": task_id}, **more)["result"]
    return result


def answer(url: str, task_id: str, responses: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Answer what a task asks."""
    return ask(url, "tasks/update", {"taskId": task_id, "inputResponses": dict(responses)}, **more)


def accepted(**content: Any) -> dict[str, Any]:
    """A form that is filled in."""
    return {"action": "accept", "content": content}
