"""What clients with a session can have sent again when a stream has broken off.

It is kept in memory only and for all sessions together up to a size: sessions end with the daemon,
and what a call has become is a run that is durable by itself. Each session sees its own events.
Source: MCP 2025-11-25, transports, section "Resumability and Redelivery".
"""

from __future__ import annotations

import itertools
import math
import secrets
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.streamable_http import (
    EventCallback,
    EventId,
    EventMessage,
    EventStore,
    StreamableHTTPServerTransport,
    StreamId,
)
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

EVENTS_MAX = 10_000
EVENTS_BYTES_MAX = 32 * 1024 * 1024
"""Of all sessions together; the oldest are forgotten."""

RETRY_MS = 1000
"""After so long a client may come back to a stream that was closed on purpose."""


@dataclass(frozen=True, slots=True)
class _Event:
    """An event.

    Attributes:
        message: As JSON: what it is made of takes ten times as much memory. Empty: it was none.
    """

    session: str
    stream: StreamId
    message: bytes


class Replays:
    """The events of all sessions, the newest of them."""

    def __init__(self, *, bytes_max: int = EVENTS_BYTES_MAX, events_max: int = EVENTS_MAX) -> None:
        """Begin without any.

        Args:
            bytes_max: Size up to which they are kept.
            events_max: Number up to which they are kept.
        """
        self._bytes_max = bytes_max
        self._events_max = events_max
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._events: OrderedDict[EventId, _Event] = OrderedDict()

    def session(self) -> EventStore:
        """Make the view of one new session."""
        return _SessionEvents(self, secrets.token_hex(8))

    def add(self, session: str, stream: StreamId, message: JSONRPCMessage | None) -> EventId:
        written = b""
        if message is not None:
            written = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        key = f"{session}-{next(self._numbers)}"
        self._events[key] = _Event(session, stream, written)
        self._bytes += len(written)
        while self._bytes > self._bytes_max or len(self._events) > self._events_max:
            _, forgotten = self._events.popitem(last=False)
            self._bytes -= len(forgotten.message)
        return key

    def after(
        self, session: str, last: EventId
    ) -> tuple[StreamId, list[tuple[EventId, JSONRPCMessage]]] | None:
        known = self._events.get(last)
        if known is None or known.session != session:
            return None
        later = itertools.dropwhile(lambda item: item[0] != last, self._events.items())
        return known.stream, [
            (key, jsonrpc_message_adapter.validate_json(event.message, by_name=False))
            for key, event in itertools.islice(later, 1, None)
            if event.session == session and event.stream == known.stream and event.message
        ]


class _SessionEvents(EventStore):
    """The events of one session."""

    def __init__(self, replays: Replays, session: str) -> None:
        self._replays = replays
        self._session = session

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        return self._replays.add(self._session, stream_id, message)

    async def replay_events_after(
        self, last_event_id: EventId, send_callback: EventCallback
    ) -> StreamId | None:
        found = self._replays.after(self._session, last_event_id)
        if found is None:
            return None
        stream, events = found
        for key, message in events:
            await send_callback(EventMessage(message, key))
        return stream


class ReplayingManager(StreamableHTTPSessionManager):
    """A manager whose sessions have events of their own.

    The SDK hands one store to all sessions and names streams by the ids of requests, which are
    unique in a session only: with a shared store one session could be sent what is another's.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  those of the SDK's manager
        """Take the options of the SDK's manager, but those for events."""
        self._replays = Replays()
        super().__init__(**options, retry_interval=RETRY_MS)

    def _admit_session(
        self, requestor: AuthorizationContext | None
    ) -> StreamableHTTPServerTransport | None:
        """Begin a session; where there are too many, one that nobody uses ends for it.

        Many clients never end theirs. It is the one that was idle longest of whoever has the most;
        its client is told that it is gone, and begins another. None when all are in use.
        """
        if self.max_sessions is not None and len(self._server_instances) >= self.max_sessions:
            self._end_one()
        return super()._admit_session(requestor)

    def _end_one(self) -> None:
        owners = {session: str(owner) for session, owner in self._session_owners.items()}
        counts = Counter(owners.values())
        idle = [
            (-counts[owners[session_id]], scope.deadline, session_id)
            for session_id, transport in self._server_instances.items()
            # Without end while a request is being served, or a stream is open.
            if (scope := transport.idle_scope) is not None and scope.deadline < math.inf
        ]
        if not idle:
            return
        *_, session_id = min(idle)
        del self._session_owners[session_id]
        scope = self._server_instances.pop(session_id).idle_scope
        assert scope is not None
        scope.cancel()

    @property
    def event_store(self) -> EventStore | None:
        """Make the events of a session; asked for once when a session begins."""
        return self._replays.session()

    @event_store.setter
    def event_store(self, _: EventStore | None) -> None:
        """The SDK's manager would keep one here for all."""
