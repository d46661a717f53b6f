"""Agents of other systems, called by a person without a daemon.

The person types the address, on their own machine, and may call what the machine may call. What the
agent's card leads to is judged as for the daemon, answers are bounded, and redirects are not
followed. Nothing is durable here: for that an agent has a name in the settings, and is called by a
run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agency.core.clock import SystemClock
from agency.domain.content import Content, Part
from agency.domain.remote import RemoteCard, RemoteMessage, RemoteTask
from agency.errors import RemoteAgentUnreachable
from agency.tools.a2a.agents import A2aAgents

HOPS = 1
"""A person's call is the first."""

PAUSE_S = 0.5
PAUSE_S_MAX = 10.0


def open_agents(token: str, allowed: list[str]) -> A2aAgents:
    """Make what speaks with agents by their address.

    Args:
        token: Shown to them; empty for none.
        allowed: Hosts to which a card may lead beside its own, as ``[a2a] allowed_agents``.

    Raises:
        ValueError: an entry of ``allowed`` is no host.
    """
    return A2aAgents({}, allowed, clock=SystemClock(), is_personal=True, token=token)


async def read_card(agents: A2aAgents, url: str) -> RemoteCard:
    """Read a card; see `agency.ports.remote.RemoteAgents.card`."""
    return await agents.card(url, is_fresh=True)


async def read_task(agents: A2aAgents, url: str, task_id: str) -> RemoteTask:
    """Read a task; see `agency.ports.remote.RemoteAgents.get`."""
    return await agents.get(url, task_id, hops=HOPS)


async def cancel_task(agents: A2aAgents, url: str, task_id: str) -> RemoteTask:
    """Have a task ended; see `agency.ports.remote.RemoteAgents.cancel`."""
    return await agents.cancel(url, task_id, hops=HOPS)


async def send(
    agents: A2aAgents,
    url: str,
    message: RemoteMessage,
    *,
    waits: bool,
    timeout_s: float | None,
    on_change: Callable[[RemoteTask], None],
) -> RemoteTask:
    """Hand over a message, and follow what becomes of it until it is settled.

    Args:
        waits: Else what the agent answers at once is handed back.
        timeout_s: Longest wait, in seconds; then the task as it is then is handed back.
        on_change: Called with each change that is told on the way.

    Raises:
        as `agency.ports.remote.RemoteAgents.send`.
    """
    task = await agents.send(url, message)
    if not waits or task.state.is_settled:
        return task
    on_change(task)
    try:
        async with asyncio.timeout(timeout_s):
            return await _settled(agents, url, task.id, on_change)
    except TimeoutError:
        return await agents.get(url, task.id, hops=HOPS)


async def _settled(
    agents: A2aAgents, url: str, task_id: str, on_change: Callable[[RemoteTask], None]
) -> RemoteTask:
    """Follow a task; a stream that breaks is opened anew, more and more slowly."""
    pause_s = PAUSE_S
    while True:
        try:
            async for seen in agents.watch(url, task_id, hops=HOPS):
                on_change(seen)
                pause_s = PAUSE_S
            task = await agents.get(url, task_id, hops=HOPS)
        except RemoteAgentUnreachable:
            if pause_s >= PAUSE_S_MAX:
                raise
        else:
            if task.state.is_settled:
                return task
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


def make_message(
    message_id: str, parts: list[Part], *, context_id: str, task_id: str
) -> RemoteMessage:
    """Make what is sent."""
    return RemoteMessage(
        id=message_id,
        content=Content(parts=parts),
        context_id=context_id,
        task_id=task_id,
        hops=HOPS,
    )
