"""Agents of other systems, as workflows and doors see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from agency.core.records import dataclass
from agency.domain.remote import RemoteCard, RemoteMessage, RemoteTask
from agency.domain.tool import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSetup:
    """An agent elsewhere that the settings name.

    Attributes:
        description: What it is for; empty leaves that to its card.
        permission: What becomes of a call that an agent of ours wants, when no rule says otherwise.
        is_repeatable: A message that may not have arrived is sent again under its id; else somebody
            is asked.
        timeout_s: Longest request, in seconds; a task of the agent may take any time.
    """

    name: str
    url: str
    description: str
    permission: Permission
    is_repeatable: bool
    timeout_s: float


class RemoteAgents(Protocol):
    """All that may be called; safe to use from many runs at once.

    ``agent`` is a name of the settings, or an address that they allow. In each method:

    Raises:
        RemoteAgentNotFound: the settings have none of that name.
        RemoteAgentRefused: the settings do not allow the address, or it is a private one.
        RemoteAgentUnreachable: nobody answered, or not now. Nothing was done, except that a message
            may have arrived.
        RemoteAgentUnfit: what answers speaks no A2A that is understood here, or wrongly.
        RemoteAgentDenied: it wants to be shown another token.
    """

    def setups(self) -> Sequence[RemoteSetup]:
        """List the agents of the settings that are switched on, by name."""
        ...

    def find_setup(self, agent: str) -> RemoteSetup | None:
        """Find one by its name; None for an address, and for what is not there."""
        ...

    def known_card(self, agent: str) -> RemoteCard | None:
        """Give the card that was read last, without asking anybody; None if none was."""
        ...

    async def card(self, agent: str, *, is_fresh: bool = False) -> RemoteCard:
        """Read an agent's card; kept as long as it may be, and longer while the agent is away.

        Args:
            is_fresh: Ask the agent, whatever is kept.
        """
        ...

    async def send(self, agent: str, message: RemoteMessage) -> RemoteTask:
        """Hand over a message, and give back the task as soon as the agent tells it.

        The same message may be sent again: an agent that honours message ids answers with the same
        task.

        Raises:
            RemoteTaskNotFound: the task that it answers is not there.
            RemoteAgentUnfit: also when the agent refuses the message.
        """
        ...

    def watch(self, agent: str, task_id: str, *, hops: int) -> AsyncGenerator[RemoteTask, None]:
        """Follow a task: first as it is, then whenever that changes, until it is settled.

        It may end earlier, without an error, when the agent ends the stream, or does not stream.
        Of artifacts each change has only what it has brought: ask `get` for the whole.

        Raises:
            RemoteTaskNotFound: there is no such task.
        """
        ...

    async def get(self, agent: str, task_id: str, *, hops: int) -> RemoteTask:
        """Read a task with all that it has handed out.

        Raises:
            RemoteTaskNotFound: there is no such task.
        """
        ...

    async def cancel(self, agent: str, task_id: str, *, hops: int) -> RemoteTask:
        """Have a task ended, and read it; one that has ended stays as it is.

        Raises:
            RemoteTaskNotFound: there is no such task.
        """
        ...
