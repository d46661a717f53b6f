"""Changes that clients are told of: of lists, and of resources that they have subscribed to.

There are two ways. Clients with a session are told in it. Those of the protocol 2026-07-28 listen
on a stream of their own (``subscriptions/listen``), which the SDK serves from a bus.
Whoever misses a word misses nothing: it only says that something is to be read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Literal

from mcp.server.connection import Connection
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    NotificationParams,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from agency.domain.update import Update, UpdateFilter, UpdateType
from agency.engine.channel import Dialect, Subscription
from agency.errors import AgencyError, ShuttingDown
from agency.mcp.means import Means
from agency.mcp.offerings import Context, Offerings, caller_of
from agency.mcp.run_shape import RUNS, run_uri

log = logging.getLogger(__name__)

WATCHED_MAX = 256
"""Resources that one client may watch."""

SETTLE_S = 0.05
"""Several changes in so short a time are told once."""

BACKLOG_MAX = 1024
"""Changes that wait for a client that does not read; beyond them its stream ends."""

HEARD_S = 5.0
"""Longest wait of a subscription until changes of runs are heard of."""

AGAIN_S = 0.5
"""After so long changes are listened to again, when the store could not be read."""

Listed = Literal["tools", "prompts", "resources"]

_EVENTS: dict[Listed, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


@dataclass(slots=True, eq=False)
class _Session:
    """A client with a session.

    Attributes:
        uris: Resources that it has subscribed to.
        untold: What it is still to be told, each thing once: never more than it watches.
        telling: Tells it; None when all is told.
    """

    connection: Connection
    uris: set[str] = field(default_factory=set)
    untold: dict[ServerEvent, None] = field(default_factory=dict)
    telling: asyncio.Task[None] | None = None

    def note(self, event: ServerEvent) -> None:
        """Tell it a change, as soon as it takes it. Nobody else waits for that."""
        if isinstance(event, ResourceUpdated) and event.uri not in self.uris:
            return
        self.untold[event] = None
        if self.telling is None:
            self.telling = asyncio.create_task(self._tell(), name="mcp-session-changes")

    def end(self) -> None:
        """Tell it nothing more. May be called twice."""
        if self.telling is not None:
            self.telling.cancel()

    async def _tell(self) -> None:
        try:
            while self.untold:
                event = next(iter(self.untold))
                del self.untold[event]
                await self._send(event)
        finally:
            self.telling = None

    async def _send(self, event: ServerEvent) -> None:
        match event:
            case ToolsListChanged():
                await self.connection.send_tool_list_changed()
            case PromptsListChanged():
                await self.connection.send_prompt_list_changed()
            case ResourcesListChanged():
                await self.connection.send_resource_list_changed()
            case ResourceUpdated(uri=uri):
                await self.connection.send_resource_updated(uri)


class Changes:
    """Tells clients of changes. `opened` must be entered."""

    def __init__(self, means: Means, offerings: Offerings) -> None:
        """Take what is watched."""
        self._means = means
        self._offerings = offerings
        self._sessions: dict[int, _Session] = {}
        self._bus = InMemorySubscriptionBus()
        self._listening = ListenHandler(
            self._bus,
            max_subscriptions=means.services.settings.mcp.serve_streams_max,
            max_buffered_events=BACKLOG_MAX,
        )
        self._watched: Counter[str] = Counter()
        self._of_run: dict[str, set[str]] = {}
        self._changed: set[ServerEvent] = set()
        self._wake = asyncio.Event()
        self._wants = asyncio.Event()
        self._hears = asyncio.Event()

    # --- what changes ---------------------------------------------------------------------

    def tell_listed(self, what: Listed) -> None:
        """Tell that a list is another."""
        self._changed.add(_EVENTS[what])
        self._wake.set()

    def tell_updated(self, uri: str) -> None:
        """Tell that a resource is another, if anybody watches it."""
        if uri in self._watched:
            self._changed.add(ResourceUpdated(uri))
            self._wake.set()

    def end_streams(self) -> None:
        """End all streams that listen; called when the daemon stops."""
        self._listening.close()

    async def serve(self) -> None:
        """Tell what changes, until cancelled."""
        watching = asyncio.ensure_future(self._watch_runs())
        leave = self._means.publication.listen(self._tell_published)
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(SETTLE_S)
                self._wake.clear()
                changed, self._changed = self._changed, set()
                for event in changed:
                    await self._bus.publish(event)
                    for session in self._sessions.values():
                        session.note(event)
        finally:
            leave()
            watching.cancel()
            for session in self._sessions.values():
                session.end()
            await asyncio.wait([watching])

    def _tell_published(self) -> None:
        self.tell_listed("tools")
        self.tell_listed("prompts")

    # --- runs -----------------------------------------------------------------------------

    async def _watch_runs(self) -> None:
        """Hear of changes of runs, while any of them is watched."""
        while True:
            await self._wants.wait()
            try:
                subscription = await self._means.services.updates.subscribe(
                    _WANTED, Dialect(update=self._on_update), after=None
                )
                self._hears.set()
                try:
                    await self._follow(subscription)
                finally:
                    self._hears.clear()
                    subscription.close()
            except ShuttingDown:
                return
            except AgencyError as error:
                log.warning("changes of runs are not heard of", extra={"why": str(error)})
                await asyncio.sleep(AGAIN_S)

    async def _follow(self, subscription: Subscription) -> None:
        while self._wants.is_set() and not subscription.is_ended:
            async for _ in subscription.missed():
                pass  # each was heard when it was written
            if subscription.attach(_taken):
                idle = asyncio.ensure_future(subscription.detached())
                await asyncio.wait([idle], timeout=_LOOK_S)
                idle.cancel()
                await asyncio.wait([idle])

    def _on_update(self, update: Update) -> bytes:
        for watched in self._of_run.get(run_uri(update.run_id), ()):
            self.tell_updated(watched)
        return b""

    async def _until_heard(self) -> None:
        """Wait until no change is missed: who watches looks once, and then relies on it."""
        if self._of_run:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARD_S):
                    await self._hears.wait()

    def _watch(self, uri: str) -> None:
        self._watched[uri] += 1
        if uri.startswith(RUNS):
            self._of_run.setdefault(_run_of(uri), set()).add(uri)
            self._wants.set()

    def _unwatch(self, uri: str) -> None:
        self._watched[uri] -= 1
        if self._watched[uri] > 0:
            return
        del self._watched[uri]
        watched = self._of_run.get(_run_of(uri), set())
        watched.discard(uri)
        if not watched:
            self._of_run.pop(_run_of(uri), None)
        if not self._of_run:
            self._wants.clear()

    # --- who is told ----------------------------------------------------------------------

    async def initialized(self, ctx: Context, _: NotificationParams | None) -> None:
        """Know a client with a session, until it ends."""
        self._session_of(ctx)

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Let a client with a session watch a resource."""
        uri = str(params.uri)
        if not await self._offerings.has_resource(caller_of(ctx), uri):
            raise MCPError(NOT_FOUND, f"There is no resource {uri!r}.", {"uri": uri})
        session = self._session_of(ctx)
        if len(session.uris) >= WATCHED_MAX:
            raise MCPError(INVALID_PARAMS, f"At most {WATCHED_MAX} resources can be watched.")
        if uri not in session.uris:
            session.uris.add(uri)
            self._watch(uri)
        await self._until_heard()
        return EmptyResult()

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Let a client watch a resource no more."""
        session, uri = self._session_of(ctx), str(params.uri)
        if uri in session.uris:
            session.uris.discard(uri)
            self._unwatch(uri)
        return EmptyResult()

    async def listen(
        self, ctx: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve a stream of changes; of resources only those that the caller may read."""
        wanted = params.notifications
        uris = list(dict.fromkeys(str(uri) for uri in wanted.resource_subscriptions or ()))
        if len(uris) > WATCHED_MAX:
            raise MCPError(INVALID_PARAMS, f"At most {WATCHED_MAX} resources can be watched.")
        caller = caller_of(ctx)
        own = [uri for uri in uris if await self._offerings.has_resource(caller, uri)]
        honoured = SubscriptionFilter(
            tools_list_changed=wanted.tools_list_changed,
            prompts_list_changed=wanted.prompts_list_changed,
            resources_list_changed=wanted.resources_list_changed,
            resource_subscriptions=own or None,
        )
        for uri in own:
            self._watch(uri)
        try:
            await self._until_heard()
            return await self._listening(ctx, params.model_copy(update={"notifications": honoured}))
        finally:
            for uri in own:
                self._unwatch(uri)

    def _session_of(self, ctx: Context) -> _Session:
        # The SDK hands out the connection to none of its handlers, although its life is what a
        # subscription lasts for; what is used of it, `exit_stack` and `send_…`, is public.
        connection: Connection = ctx.session._connection
        key = id(connection)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(connection)
            stack: AsyncExitStack = connection.exit_stack
            stack.callback(self._forget, key)
        return session

    def _forget(self, key: int) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.end()
            for uri in session.uris:
                self._unwatch(uri)


NOT_FOUND = -32002
"""Source: MCP 2025-11-25, resources, section "Error Handling"."""

_LOOK_S = 5.0
_WANTED = UpdateFilter(types=frozenset({UpdateType.STATUS, UpdateType.PROGRESS}))


def _run_of(uri: str) -> str:
    """Cut off what stands behind the run in an address."""
    return RUNS + uri.removeprefix(RUNS).partition("/")[0]


def _taken(_: bytes) -> bool:
    return True
