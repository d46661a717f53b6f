"""One life of a connection, from its opening to its loss.

`Session.hold` is the owner: one task enters the SDK's client, stays in it, and leaves it. The
scopes in there belong to the task that opened them (python-sdk#79, #922), and a transport that
fails cancels that task (python-sdk#3560). So calls are tasks of their own beside it: what becomes
of the client reaches them as an error of theirs, and never as a cancellation of whoever has called.

This module and those that it imports load the SDK; see `agency.tools.mcp.owner` for when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import mcp_types as types
from mcp.client.client import Client
from mcp.client.subscriptions import ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from agency.core.clock import monotonic_s
from agency.tools.mcp.lines import Log
from agency.tools.mcp.live import CANCEL_S, Calls, Hooks, is_answer, is_gone
from agency.tools.mcp.refusals import Refusals
from agency.tools.mcp.results import TOOLS_MAX
from agency.tools.mcp.sent import Sent
from agency.tools.mcp.tasks import FollowsTasks
from agency.version import VERSION

log = logging.getLogger(__name__)

PING_S = 60.0
"""A server that has said nothing for so long is asked whether it is there."""

PING_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 30.0
PAGES_MAX = 64
"""Pages of a list of tools; a server that has more does not end."""

RELIST_PAUSE_S = 0.5
"""Shortest time between two readings of the list, for servers that change it all the time."""

LISTEN_RETRY_S = 30.0
LOG_CHARACTERS_MAX = 2000


class Session:
    """A client of one server, once opened.

    Attributes:
        ready: Resolved when the server has answered and its tools are known.
        lost: Set when there is nothing more to be expected of it; `reason` says why.
    """

    def __init__(
        self,
        streams: AbstractAsyncContextManager[tuple[Any, Any]],
        *,
        mode: str,
        hooks: Hooks,
        server_log: Log,
        sent: Sent,
        refusals: Refusals,
    ) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self.reason = ""
        self.protocol = ""
        self.server = ""
        self._streams = streams
        self._mode = mode
        self._hooks = hooks
        self._log = server_log
        self._refusals = refusals
        self._client: Client | None = None
        self.calls = Calls(self, hooks=hooks, sent=sent, refusals=refusals)
        self._relist = asyncio.Event()
        self._probe = asyncio.Event()
        self._heard_s = monotonic_s()
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- the owner --------------------------------------------------------------------------

    async def hold(self) -> None:
        """Open the client, keep it until the session is lost or ended, and close it.

        Whatever the SDK raises comes out of here, for whoever awaits the task.
        """
        try:
            async with self._make_client() as client:
                self._client = client
                self.protocol = client.protocol_version
                info = client.server_info
                told = "" if info is None else f"{info.name} {info.version}"
                self.server = self._hooks.redact(told)[:200]
                try:
                    await self.read_tools()
                    self._attend()
                    if not self.ready.done():
                        self.ready.set_result(None)
                    await self._until_lost()
                finally:
                    await self._end_tasks()
        finally:
            self.lose("it was closed")

    def _make_client(self) -> Client:
        hooks = self._hooks
        return Client(
            self._streams,
            mode=self._mode,
            client_info=types.Implementation(name="agency", version=VERSION),
            elicitation_callback=self.calls.on_elicit if hooks.elicitation else None,
            sampling_callback=self.calls.on_sample if hooks.sampling else None,
            list_roots_callback=self.calls.on_roots if hooks.roots else None,
            logging_callback=self._on_log,
            message_handler=self._on_message,
            extensions=[FollowsTasks()],
            cache=None,
        )

    def lose(self, reason: str) -> None:
        """Note that nothing more is to be expected; the owner leaves then."""
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()

    @property
    def client(self) -> Client:
        """The SDK's client, while it is open."""
        assert self._client is not None
        return self._client

    @property
    def is_lost(self) -> bool:
        return self.lost.is_set()

    @property
    def is_modern(self) -> bool:
        return self.protocol in MODERN_PROTOCOL_VERSIONS

    def probe(self) -> None:
        """Ask soon whether the server is there: something was not as it should be."""
        self._probe.set()

    def hear(self) -> None:
        """Note that the server is there."""
        self._heard_s = monotonic_s()

    def _attend(self) -> None:
        self.spawn(self._keep_list(), "mcp-list")
        tools = self.client.server_capabilities.tools
        if self.is_modern and tools is not None and tools.list_changed:
            self.spawn(self._listen(), "mcp-listen")

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end_tasks(self) -> None:
        self.calls.end()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_S)

    async def _until_lost(self) -> None:
        """Wait for the loss; ask now and then whether the server is there."""
        while not self.lost.is_set():
            waiting = [asyncio.ensure_future(one.wait()) for one in (self.lost, self._probe)]
            try:
                await asyncio.wait(waiting, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()
            is_silent = monotonic_s() - self._heard_s >= PING_S
            if not self.lost.is_set() and (self._probe.is_set() or is_silent):
                self._probe.clear()
                await self._ping()

    async def _ping(self) -> None:
        """Ask whether the server is there. Modern servers have no ping; they have this question."""
        session = self.client.session
        if self.is_modern:
            task = self.spawn(session.send_discover(self.protocol), "mcp-ping")
        else:
            task = self.spawn(session.send_ping(), "mcp-ping")
        done, _ = await asyncio.wait([task], timeout=PING_TIMEOUT_S)
        if not done:
            task.cancel()
            self.lose(f"it did not answer within {PING_TIMEOUT_S:g} s")
            return
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or (error is not None and not is_answer(error)):
            self.lose(self._refusals.reason or "it is not there any more")
        elif error is not None and is_gone(error):
            self.lose("it has forgotten the session")
        self._heard_s = monotonic_s()

    # --- its tools --------------------------------------------------------------------------

    async def read_tools(self) -> None:
        """Read the list of tools, page by page, up to the limits."""
        session = self.client.session
        found: list[types.Tool] = []
        cursor: str | None = None
        async with asyncio.timeout(LIST_TIMEOUT_S):
            for _ in range(PAGES_MAX):
                params = types.PaginatedRequestParams(cursor=cursor)
                try:
                    page = await session.list_tools(params=params)
                except MCPError as error:
                    if error.code == types.METHOD_NOT_FOUND and not found:
                        break
                    raise
                found += page.tools
                cursor = page.next_cursor
                if cursor is None or len(found) >= TOOLS_MAX:
                    break
        if cursor is not None or len(found) > TOOLS_MAX:
            self._log.say(f"it offers more than {TOOLS_MAX} tools; the others were left out")
        self._heard_s = monotonic_s()
        self._hooks.on_tools(found[:TOOLS_MAX])

    async def _keep_list(self) -> None:
        """Read the list again whenever the server says that it has changed."""
        while True:
            await self._relist.wait()
            self._relist.clear()
            try:
                await self.read_tools()
            except (MCPError, TimeoutError, ValueError) as error:
                self._log.say(f"the changed list of tools could not be read: {error}")
                self._probe.set()
            await asyncio.sleep(RELIST_PAUSE_S)

    async def _listen(self) -> None:
        """Hear of changes where the server tells them only to those who listen."""
        while True:
            try:
                async with self.client.listen(tools_list_changed=True) as changes:
                    # What has changed before this was not told.
                    self._relist.set()
                    async for change in changes:
                        if isinstance(change, ToolsListChanged):
                            self._relist.set()
            except (MCPError, RuntimeError, TimeoutError) as error:
                log.debug("a server is not listened to", extra={"reason": str(error)})
            await asyncio.sleep(LISTEN_RETRY_S)

    async def _on_message(self, message: object) -> None:
        self._heard_s = monotonic_s()
        if isinstance(message, types.ToolListChangedNotification):
            self._relist.set()

    async def _on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        text = params.data if isinstance(params.data, str) else repr(params.data)
        self._log.say(f"{params.level}: {text[:LOG_CHARACTERS_MAX]}")
