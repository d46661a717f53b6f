"""The JSON of connections, their tools and what calls of them answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agency.core.clock import to_text
from agency.domain.connection import ConnectionState, masked
from agency.domain.tool import Asks, ToolOutput
from agency.ports.connection import ConnectionView, Tested, ToolView
from agency.web.addresses import connection_path


def connection_json(view: ConnectionView) -> dict[str, Any]:
    """Make the JSON of a connection. Values that may be secrets are ``***``."""
    connection, status = view.connection, view.status
    path = connection_path(connection.name)
    return {
        "id": connection.id,
        "name": connection.name,
        "kind": connection.kind.value,
        "origin": connection.origin.value,
        "config": masked(connection.setup),
        "is_active": connection.is_active,
        "created_at": to_text(connection.created_at),
        "updated_at": to_text(connection.updated_at),
        "state": status.state.value,
        "reason": status.reason,
        "since": to_text(status.since),
        "retry_at": _text(status.retry_at),
        "protocol": status.protocol,
        "server": status.server,
        "pid": status.pid,
        "sandbox": status.sandbox,
        "opened": status.opened,
        "calls_running": status.calls_running,
        "tools": [tool.full_name for tool in connection.tools],
        "tools_at": _text(connection.tools_at),
        "last_error": connection.last_error,
        "last_error_at": _text(connection.last_error_at),
        "links": {
            "self": path,
            "test": f"{path}/test",
            "tools": f"{path}/tools",
            "call": f"{path}/call",
            "login": f"{path}/login",
        },
    }


def tool_json(view: ToolView) -> dict[str, Any]:
    """Make the JSON of a tool."""
    tool = view.tool
    return {
        "name": tool.full_name,
        "server_name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "effect": view.effect.value,
        "permission": view.permission.value,
        "timeout_s": view.timeout_s,
        "hints": {
            "read_only": tool.hints.read_only,
            "idempotent": tool.hints.idempotent,
            "destructive": tool.hints.destructive,
        },
    }


def tested_json(tested: Tested) -> dict[str, Any]:
    """Make the JSON of a try."""
    return {
        "works": tested.is_good,
        "reason": tested.reason,
        "elapsed_s": round(tested.elapsed_s, 3),
        "protocol": tested.protocol,
        "server": tested.server,
        "tools": [tool.full_name for tool in tested.tools],
        "log": tested.log,
    }


def outcome_json(outcome: ToolOutput | Asks) -> dict[str, Any]:
    """Make the JSON of what a call came to: an answer, or questions and the state to go on with."""
    if isinstance(outcome, Asks):
        questions = [
            {
                "key": one.key,
                "kind": one.kind,
                "prompt": one.prompt,
                "schema": one.schema,
                "messages": list(one.messages),
                "options": dict(one.options),
            }
            for one in outcome.questions
        ]
        status = "input_required" if questions else "working"
        return {"status": status, "questions": questions, "state": outcome.state}
    return {
        "status": "failed" if outcome.is_error else "completed",
        "content": outcome.content,
        "structured": outcome.structured,
    }


def summary_json(views: list[ConnectionView]) -> dict[str, Any]:
    """Make the JSON of all connections together: how many, and those that need somebody."""
    states = {state.value: 0 for state in ConnectionState}
    for view in views:
        states[view.status.state.value] += 1
    broken = [
        {"name": view.connection.name, "reason": view.status.reason}
        for view in views
        if view.status.state in {ConnectionState.BROKEN, ConnectionState.LOGIN}
    ]
    return {"states": states, "broken": broken}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)
