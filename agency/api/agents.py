"""``/api/v1/agents`` and ``/api/v1/tools``: who works here, and with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name
from agency.config.schema import Agent as AgentSettings
from agency.web.answers import SERVICES, json_answer
from agency.web.paging import cut_page, parse_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route
from agency.workflows.agent.allowance import BUDGETS
from agency.workflows.agent.catalogue import Catalogue, ToolLine

TAG = "agent"
NAMED_CHARACTERS_MAX = 4096
"""Length of the names that are asked about."""


class AgentQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class ToolQuery(AgentQuery):
    agent: Name | None = Field(default=None, description="For whom; the default agent without it.")
    named: str | None = Field(
        default=None,
        max_length=NAMED_CHARACTERS_MAX,
        description="Names with commas between them, of which `unknown` tells those that mean no "
        "tool; the agent's own settings without it.",
    )


async def list_agents(request: web.Request) -> web.Response:
    """List the agents by name."""
    query = read_query(request, AgentQuery)
    catalogue = _catalogue(request)
    after = parse_cursor("agents", query.cursor) if query.cursor is not None else ""
    rows = [(name, one) for name, one in catalogue.agents().items() if name > after]
    page, cursor = cut_page("agents", rows[: query.limit + 1], query.limit, lambda row: row[0])
    return json_answer(
        {
            "agents": [agent_json(name, one, catalogue.model_of(one)) for name, one in page],
            "next_cursor": cursor,
        }
    )


async def list_tools(request: web.Request) -> web.Response:
    """List the tools by name, with what one agent may do with them."""
    query = read_query(request, ToolQuery)
    named = None if query.named is None else _names_of(query.named)
    found = await _catalogue(request).tools(query.agent, named=named)
    after = parse_cursor("tools", query.cursor) if query.cursor is not None else ""
    rows = [line for line in found.tools if line.name > after]
    page, cursor = cut_page("tools", rows[: query.limit + 1], query.limit, lambda row: row.name)
    return json_answer(
        {
            "tools": [tool_json(line) for line in page],
            "away": list(found.away),
            "unknown": list(found.unknown),
            "next_cursor": cursor,
        }
    )


def _names_of(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def agent_json(name: str, agent: AgentSettings, model: str) -> dict[str, Any]:
    """Make the JSON of an agent. Budgets that are null do not limit."""
    budgets: Mapping[str, float | None] = {one: getattr(agent, one) or None for one in BUDGETS}
    return {
        "name": name,
        "description": agent.description,
        "model": model,
        "tools": list(agent.tools),
        "permissions": {
            "allow": list(agent.allow),
            "ask": list(agent.ask),
            "deny": list(agent.deny),
        },
        "budgets": budgets,
        "tools_per_turn": agent.tools_per_turn or None,
        "workflows": list(agent.workflows),
        "delegation_depth": agent.delegation_depth,
        "sandbox": list(agent.sandbox),
    }


def tool_json(line: ToolLine) -> dict[str, Any]:
    """Make the JSON of a tool."""
    return {
        "name": line.name,
        "toolset": line.toolset,
        "description": line.description,
        "parameters": dict(line.parameters),
        "effect": line.effect.value,
        "permission": line.permission.value,
        "timeout_s": line.timeout_s,
        "levels": {one.value: line.levels[one].value for one in line.needs},
    }


def _catalogue(request: web.Request) -> Catalogue:
    catalogue = request.app[SERVICES].agents
    assert catalogue is not None, "the roof makes it"
    return catalogue


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path="/api/v1/agents",
            answer=list_agents,
            operation="list_agents",
            summary="List the agents by name, with what they may use",
            tag=TAG,
            query=AgentQuery,
            answers={200: "AgentPageAnswer"},
        ),
        Route(
            method="GET",
            path="/api/v1/tools",
            answer=list_tools,
            operation="list_tools",
            summary="List the tools by name, with what an agent may do with them",
            description="`permission` is what becomes of a call that no pattern for arguments "
            "fits; `levels` what the sandbox enforces of what the tool needs; `away` names "
            "toolsets that cannot be asked now.",
            tag=TAG,
            query=ToolQuery,
            answers={200: "AgentToolPageAnswer"},
            problems=(errors.InvalidInput,),
        ),
    )
