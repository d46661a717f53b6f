"""All agents of other systems that may be called; the promises are those of `agency.ports.remote`.

The SDK is loaded when somebody is called for the first time, in a thread: it takes half a second,
and most daemons never need it.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from agency.config.schema import RemoteAgent
from agency.core.clock import Clock
from agency.domain.remote import RemoteCard, RemoteMessage, RemoteTask
from agency.errors import AgencyError, RemoteAgentUnreachable
from agency.ports.remote import RemoteSetup
from agency.ports.vault import Vault
from agency.tools.a2a.places import Places

if TYPE_CHECKING:
    from agency.tools.a2a.speaking import Speaker

_SPEAKING = "agency.tools.a2a.speaking"


class A2aAgents:
    """Speaks with agents over A2A, of version 1.0 and 0.3, by JSON-RPC and HTTP+JSON."""

    def __init__(
        self,
        agents: Mapping[str, RemoteAgent],
        allowed: Sequence[str] = (),
        *,
        clock: Clock,
        vault: Vault | None = None,
        is_personal: bool = False,
        token: str = "",
    ) -> None:
        """Take the settings.

        Args:
            agents: ``[a2a.agents.NAME]`` by name.
            allowed: ``[a2a] allowed_agents``.
            vault: Where their tokens are; None where there is none.
            is_personal: A person types the addresses, on their own machine: any may be called.
            token: Shown to agents that are called by their address; a person types it.

        Raises:
            ValueError: an entry of ``allowed`` is no host.
        """
        self._places = Places(agents, allowed, is_personal=is_personal, token=token)
        self._clock = clock
        self._vault = vault
        self._speaker: Speaker | None = None
        self._loading = asyncio.Lock()

    def setups(self) -> Sequence[RemoteSetup]:
        """List the agents of the settings; see `RemoteAgents.setups`."""
        return self._places.setups()

    def find_setup(self, agent: str) -> RemoteSetup | None:
        """Find one by its name; see `RemoteAgents.find_setup`."""
        return self._places.find_setup(agent)

    def known_card(self, agent: str) -> RemoteCard | None:
        """Give the card that was read last; see `RemoteAgents.known_card`."""
        return None if self._speaker is None else self._speaker.known_card(agent)

    async def card(self, agent: str, *, is_fresh: bool = False) -> RemoteCard:
        """Read a card; see `RemoteAgents.card`."""
        place = self._places.find(agent)
        speaker = await self._loaded()
        with self._discreet():
            return await speaker.card(place, is_fresh=is_fresh)

    async def send(self, agent: str, message: RemoteMessage) -> RemoteTask:
        """Hand over a message; see `RemoteAgents.send`."""
        place = self._places.find(agent)
        speaker = await self._loaded()
        with self._discreet():
            return await speaker.send(place, message)

    async def watch(
        self, agent: str, task_id: str, *, hops: int
    ) -> AsyncGenerator[RemoteTask, None]:
        """Follow a task; see `RemoteAgents.watch`."""
        place = self._places.find(agent)
        speaker = await self._loaded()
        async with aclosing(speaker.watch(place, task_id, hops=hops)) as changes:
            with self._discreet():
                async for task in changes:
                    yield task

    async def get(self, agent: str, task_id: str, *, hops: int) -> RemoteTask:
        """Read a task; see `RemoteAgents.get`."""
        place = self._places.find(agent)
        speaker = await self._loaded()
        with self._discreet():
            return await speaker.get(place, task_id, hops=hops)

    async def cancel(self, agent: str, task_id: str, *, hops: int) -> RemoteTask:
        """Have a task ended; see `RemoteAgents.cancel`."""
        place = self._places.find(agent)
        speaker = await self._loaded()
        with self._discreet():
            return await speaker.cancel(place, task_id, hops=hops)

    @contextmanager
    def _discreet(self) -> Iterator[None]:
        """Take secrets out of what an agent says of its errors: it was shown one."""
        try:
            yield
        except AgencyError as error:
            if self._vault is not None:
                error.message = self._vault.redact(error.message)
                error.args = (error.message,)
                if isinstance(error, RemoteAgentUnreachable):
                    error.reason = self._vault.redact(error.reason)
            raise

    async def _loaded(self) -> Speaker:
        if self._speaker is None:
            async with self._loading:
                if self._speaker is None:
                    module = await asyncio.to_thread(importlib.import_module, _SPEAKING)
                    self._speaker = module.Speaker(self._clock, self._vault)
        return self._speaker
