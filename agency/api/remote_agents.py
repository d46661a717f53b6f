"""``/api/v1/remote-agents``: agents of other systems that may be called, and their tasks.

They are called by runs of the workflow ``call_agent``; what is here looks at them, with the tokens
that the daemon has for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import Cursor
from agency.api.remote_shape import card_json, task_json
from agency.domain.remote import RemoteCard
from agency.errors import AgencyError, RemoteAgentNotFound
from agency.ports.remote import RemoteAgents, RemoteSetup
from agency.web.addresses import remote_agent_path
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import NoBody
from agency.web.paging import cut_page, parse_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "a2a"
PATH = "/api/v1/remote-agents"

LISTED_MAX = 50
"""Agents of one page: each of them is asked for its card."""
LOOK_S = 3.0
"""Longest look at an agent for a list."""


class RemoteAgentQuery(Query):
    limit: Annotated[int, Field(ge=1, le=LISTED_MAX)] = LISTED_MAX
    cursor: Cursor = None


class CardQuery(Query):
    fresh: bool = Field(default=False, description="Ask the agent, whatever is kept.")


async def list_agents(request: web.Request) -> web.Response:
    """List the agents by name, each with what its card says."""
    query = read_query(request, RemoteAgentQuery)
    agents = request.app[SERVICES].remote_agents
    after = parse_cursor("remote_agents", query.cursor) if query.cursor is not None else ""
    setups = agents.setups() if agents is not None else ()
    rows = [one for one in setups if one.name > after]
    rows = rows[: query.limit + 1]
    page, cursor = cut_page("remote_agents", rows, query.limit, lambda row: row.name)
    shown = await asyncio.gather(*(_looked_at(agents, one) for one in page if agents is not None))
    return json_answer({"remote_agents": shown, "next_cursor": cursor})


async def _looked_at(agents: RemoteAgents, setup: RemoteSetup) -> dict[str, Any]:
    """Make the JSON of an agent, with why it cannot be reached if so it is."""
    reason = ""
    try:
        async with asyncio.timeout(LOOK_S):
            card: RemoteCard | None = await agents.card(setup.name)
    except AgencyError as error:
        card, reason = agents.known_card(setup.name), error.message
    except TimeoutError:
        card, reason = agents.known_card(setup.name), f"No answer within {LOOK_S:g} s."
    if card is not None and card.is_stale:
        reason = reason or "It is away; its card is of an earlier time."
    return {
        "name": setup.name,
        "url": setup.url,
        "description": setup.description or (card.description if card is not None else ""),
        "permission": setup.permission.value,
        "reachable": not reason,
        "reason": reason,
        "protocol": "" if card is None else card.protocol,
        "binding": "" if card is None else card.binding,
        "skills": [] if card is None else [one.name for one in card.skills],
        "links": {"self": remote_agent_path(setup.name)},
    }


async def show_card(request: web.Request) -> web.Response:
    """Show what an agent says of itself."""
    query = read_query(request, CardQuery)
    agents, name = _named(request)
    return json_answer(card_json(name, await agents.card(name, is_fresh=query.fresh)))


async def show_task(request: web.Request) -> web.Response:
    """Show a task of an agent."""
    agents, name = _named(request)
    return json_answer(task_json(await agents.get(name, request.match_info["task_id"], hops=1)))


async def cancel_task(request: web.Request) -> web.Response:
    """Have a task of an agent ended."""
    agents, name = _named(request)
    return json_answer(task_json(await agents.cancel(name, request.match_info["task_id"], hops=1)))


def _named(request: web.Request) -> tuple[RemoteAgents, str]:
    """Find the agent that the path names: only such as the settings name.

    Raises:
        RemoteAgentNotFound: there is none of that name.
    """
    agents, name = request.app[SERVICES].remote_agents, request.match_info["name"]
    if agents is None or agents.find_setup(name) is None:
        known = [one.name for one in agents.setups()] if agents is not None else []
        raise RemoteAgentNotFound(name, known)
    return agents, name


def routes() -> Sequence[Route]:
    """List the routes of this resource."""
    one = f"{PATH}/{{name}}"
    problems = (
        errors.RemoteAgentNotFound,
        errors.RemoteAgentRefused,
        errors.RemoteAgentUnreachable,
        errors.RemoteAgentAway,
        errors.RemoteAgentUnfit,
        errors.RemoteAgentDenied,
    )
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_agents,
            operation="list_remote_agents",
            summary="List the agents of other systems that the settings name",
            tag=TAG,
            query=RemoteAgentQuery,
            answers={200: "RemoteAgentPageAnswer"},
        ),
        Route(
            method="GET",
            path=f"{one}/card",
            answer=show_card,
            operation="show_remote_agent_card",
            summary="Read the card of an agent of another system",
            description="A kept one, as long as it may be kept, and while the agent is away.",
            tag=TAG,
            query=CardQuery,
            answers={200: "RemoteCardAnswer"},
            problems=problems,
        ),
        Route(
            method="GET",
            path=f"{one}/tasks/{{task_id}}",
            answer=show_task,
            operation="show_remote_task",
            summary="Read a task of an agent of another system",
            tag=TAG,
            answers={200: "RemoteTaskAnswer"},
            problems=(*problems, errors.RemoteTaskNotFound),
        ),
        Route(
            method="POST",
            path=f"{one}/tasks/{{task_id}}/cancel",
            answer=cancel_task,
            operation="cancel_remote_task",
            summary="Have a task of an agent of another system ended",
            description="One that has ended stays as it is. A run that waits for it fails.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "RemoteTaskAnswer"},
            problems=(*problems, errors.RemoteTaskNotFound),
        ),
    )
