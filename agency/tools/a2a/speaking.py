"""Requests to agents elsewhere, through the SDK's client.

This module loads the SDK; see `agency.tools.a2a.agents` for when.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from a2a.client.client import Client, ClientCallContext, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import TaskNotCancelableError, UnsupportedOperationError

from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.domain.content import Content
from agency.domain.remote import (
    HOPS_HEADER,
    RemoteCard,
    RemoteMessage,
    RemoteState,
    RemoteTask,
)
from agency.errors import RemoteAgentAway, RemoteAgentUnreachable, RemoteTaskNotFound
from agency.ports.vault import Vault
from agency.tools.a2a import wire
from agency.tools.a2a.cards import BINDINGS, Cards
from agency.tools.a2a.http import make_client
from agency.tools.a2a.places import Place, port_of, shown_headers
from agency.tools.a2a.refusals import RAISED, told

T = TypeVar("T")

SILENCE_S = 120.0
"""Longest silence of a stream; servers give a sign of life every 15 s or so."""


@dataclass(frozen=True, slots=True)
class _Line:
    """How one agent is spoken with."""

    client: Client
    context: ClientCallContext


class Speaker:
    """Speaks with agents; nothing is kept but their cards."""

    def __init__(self, clock: Clock, vault: Vault | None) -> None:
        self._cards = Cards(clock, vault)
        self._vault = vault

    def known_card(self, agent: str) -> RemoteCard | None:
        """Give the card that was read last."""
        return self._cards.known(agent)

    async def card(self, place: Place, *, is_fresh: bool) -> RemoteCard:
        """Read a card; see `agency.ports.remote.RemoteAgents.card`."""
        return (await self._cards.get(place, is_fresh=is_fresh)).card

    async def send(self, place: Place, message: RemoteMessage) -> RemoteTask:
        """Hand over a message; see `agency.ports.remote.RemoteAgents.send`."""
        request = wire.request_of(message)
        try:
            await self._cards.get(place)
        except RemoteAgentUnreachable as error:
            raise RemoteAgentAway(
                place.agent,
                f"its card cannot be read: {error.reason}",
                retry_after_s=error.retry_after_s,
            ) from error

        async def send(line: _Line) -> RemoteTask:
            async with aclosing(_stream(line.client.send_message, request, line)) as answers:
                async for answer in answers:
                    if answer.HasField("message"):
                        return self._clean(wire.answer_of(answer.message))
                    return self._clean(_same(wire.task_of(answer.task), message.task_id))
            raise ValueError("it answers with nothing")

        return await self._asked(place, send, hops=message.hops, task_id=message.task_id)

    async def get(self, place: Place, task_id: str, *, hops: int) -> RemoteTask:
        """Read a task; see `agency.ports.remote.RemoteAgents.get`."""

        async def get(line: _Line) -> RemoteTask:
            request = pb.GetTaskRequest(id=task_id, history_length=0)
            task = await line.client.get_task(request, context=line.context)
            return self._clean(_same(wire.task_of(task), task_id))

        return await self._asked(place, get, hops=hops, task_id=task_id)

    async def cancel(self, place: Place, task_id: str, *, hops: int) -> RemoteTask:
        """Have a task ended; see `agency.ports.remote.RemoteAgents.cancel`."""

        async def cancel(line: _Line) -> RemoteTask:
            try:
                request = pb.CancelTaskRequest(id=task_id)
                task = await line.client.cancel_task(request, context=line.context)
            except (TaskNotCancelableError, A2AClientError) as error:
                # Some only say that the request was bad, of a task that has ended.
                found = pb.GetTaskRequest(id=task_id, history_length=0)
                task = await line.client.get_task(found, context=line.context)
                if not wire.state_of(task.status.state).is_final:
                    raise error from None
            return self._clean(_same(wire.task_of(task), task_id))

        return await self._asked(place, cancel, hops=hops, task_id=task_id)

    async def watch(
        self, place: Place, task_id: str, *, hops: int
    ) -> AsyncGenerator[RemoteTask, None]:
        """Follow a task; see `agency.ports.remote.RemoteAgents.watch`."""
        _check_task(place, task_id)
        card = await self.card(place, is_fresh=False)
        if not card.streams:
            yield await self.get(place, task_id, hops=hops)
            return
        seen: RemoteTask | None = None
        try:
            async with self._line(place, hops=hops, is_stream=True) as line:
                request = pb.SubscribeToTaskRequest(id=task_id)
                async with aclosing(_stream(line.client.subscribe, request, line)) as events:
                    async for event in events:
                        seen = _after(seen, event, task_id)
                        yield self._clean(seen)
                        if seen.state.is_settled:
                            return
        except UnsupportedOperationError:
            # So it is for a task that has ended, and where there are no streams after all.
            yield await self.get(place, task_id, hops=hops)
        except RAISED as error:
            raise told(place.agent, error, task_id=task_id) from error

    def _clean(self, task: RemoteTask) -> RemoteTask:
        """Take secrets out of what an agent says: it was shown one.

        Raises:
            ValueError: one is in what must stay as it is.
        """
        if self._vault is not None:
            for one in (task.id, task.context_id):
                if self._vault.redact(one) != one:
                    raise ValueError("a secret is in the ids of its task, which would be recorded")
        return replace(
            task,
            said=self._clean_content(task.said),
            artifacts=[self._clean_content(one) for one in task.artifacts],
        )

    def _clean_content(self, content: Content) -> Content:
        if self._vault is None:
            return content
        redact, redact_json = self._vault.redact, self._vault.redact_json
        parts = [
            replace(
                part,
                text=redact(part.text),
                data=redact_json(part.data),
                url=redact(part.url),
                name=redact(part.name),
                metadata=redact_json(dict(part.metadata)),
            )
            for part in content.parts
        ]
        return replace(content, parts=parts, name=redact(content.name))

    async def _asked(
        self, place: Place, ask: Callable[[_Line], Awaitable[T]], *, hops: int, task_id: str
    ) -> T:
        """Make one request, within its time."""
        _check_task(place, task_id)
        try:
            async with asyncio.timeout(place.timeout_s), self._line(place, hops=hops) as line:
                return await ask(line)
        except RAISED as error:
            raise told(place.agent, error, task_id=task_id, timeout_s=place.timeout_s) from error

    @asynccontextmanager
    async def _line(
        self, place: Place, *, hops: int, is_stream: bool = False
    ) -> AsyncIterator[_Line]:
        kept = await self._cards.get(place)
        parts = urlsplit(kept.card.url)
        headers = {HOPS_HEADER: str(hops)}
        if place.is_shown_secrets(parts.hostname or "", port_of(kept.card.url)):
            headers |= await shown_headers(place, self._vault)
        async with make_client(place) as http:
            if is_stream:
                http.timeout = httpx.Timeout(http.timeout.connect, read=SILENCE_S)
            factory = ClientFactory(
                ClientConfig(
                    httpx_client=http,
                    streaming=is_stream,
                    polling=True,
                    supported_protocol_bindings=list(BINDINGS),
                )
            )
            client = factory.create(kept.chosen)
            yield _Line(client, ClientCallContext(service_parameters=headers))


async def _stream(
    call: Callable[..., AsyncIterator[pb.StreamResponse]],
    request: pb.SendMessageRequest | pb.SubscribeToTaskRequest,
    line: _Line,
) -> AsyncGenerator[pb.StreamResponse, None]:
    """Give what the SDK's iterators give, which are not all told to close."""
    events = call(request, context=line.context)
    try:
        async for event in events:
            yield event
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def _check_task(place: Place, task_id: str) -> None:
    """Refuse what cannot be the id of a task: it would lead to another path than a task's.

    Raises:
        RemoteTaskNotFound: there can be none.
    """
    if task_id and not wire.is_id(task_id):
        raise RemoteTaskNotFound(place.agent, task_id[:100])


def _same(task: RemoteTask, wanted: str) -> RemoteTask:
    """Refuse a task that was not asked about.

    Raises:
        ValueError: it is another one.
    """
    if wanted and task.id != wanted:
        raise ValueError(f"it was asked about the task {wanted!r} and tells of {task.id!r}")
    return task


def _after(seen: RemoteTask | None, event: pb.StreamResponse, task_id: str) -> RemoteTask:
    """Bring what was known of a task up to date.

    Raises:
        ValueError: the event is about another task, or makes no sense.
    """
    match event.WhichOneof("payload"):
        case "task":
            return _same(wire.task_of(event.task), task_id)
        case "status_update":
            update = event.status_update
            _check_about(update.task_id, task_id)
            return replace(
                seen or _unknown(task_id, update.context_id),
                state=wire.state_of(update.status.state),
                said=wire.content_of(update.status.message.parts),
                artifacts=(),
            )
        case "artifact_update":
            piece = event.artifact_update
            _check_about(piece.task_id, task_id)
            known = seen or _unknown(task_id, piece.context_id)
            content = replace(wire.artifact_of(piece.artifact), append=piece.append)
            return replace(known, artifacts=[content])
        case _:
            raise ValueError("it sends a message in the stream of a task")


def _check_about(found: str, wanted: str) -> None:
    if found != wanted:
        raise ValueError(f"it was asked about the task {wanted!r} and tells of {found[:100]!r}")


def _unknown(task_id: str, context_id: str) -> RemoteTask:
    context_id = wire.context_of(context_id)
    return RemoteTask(id=task_id, context_id=context_id, state=RemoteState.WORKING)
