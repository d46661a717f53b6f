"""Who is told of changes, and what a client that does not listen costs the others: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

from mcp_types import SubscribeRequestParams

from agency.domain.update import UpdateFilter
from agency.engine.channel import Dialect
from agency.errors import ReadTooLong
from agency.mcp.caller import CALLER, Caller
from agency.mcp.changes import Changes
from agency.mcp.offerings import Offerings

GUARD_S = 5
RUN = "agency://runs/01234567-89ab-7def-8123-456789abcdef"


class Client:
    """A client with a session; it takes nothing until it listens."""

    def __init__(self, *, listens: bool = True) -> None:
        self.exit_stack = AsyncExitStack()
        self.listens = asyncio.Event()
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        if listens:
            self.listens.set()

    @property
    def ctx(self) -> Any:
        caller = Caller(principal="local", has_token=False)
        return SimpleNamespace(
            session=SimpleNamespace(_connection=self),
            request=SimpleNamespace(scope={CALLER: caller}),
        )

    async def send_tool_list_changed(self) -> None:
        await self.listens.wait()
        self.heard.put_nowait("tools")

    async def send_prompt_list_changed(self) -> None:
        await self.listens.wait()
        self.heard.put_nowait("prompts")

    async def next(self) -> str:
        async with asyncio.timeout(GUARD_S):
            return await self.heard.get()


class Hub:
    """Changes of runs, that may be late, or cannot be read at first."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.is_ready = asyncio.Event()
        self.asked = asyncio.Event()

    async def subscribe(self, _: UpdateFilter, __: Dialect, *, after: int | None) -> Any:
        self.asked.set()
        if self.failures:
            self.failures -= 1
            raise ReadTooLong(1.0)
        await self.is_ready.wait()
        return Following()


class Following:
    is_ended = False

    async def missed(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for piece in nothing:
            yield piece

    def attach(self, _: Callable[[bytes], bool]) -> bool:
        return True

    async def detached(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None:
        self.is_ended = True


class AnyRun:
    async def has(self, caller: Caller, uri: str) -> bool:
        return uri == RUN


@asynccontextmanager
async def telling(hub: Hub | None = None) -> AsyncIterator[Changes]:
    means: Any = SimpleNamespace(
        services=SimpleNamespace(
            settings=SimpleNamespace(mcp=SimpleNamespace(serve_streams_max=10)),
            updates=hub or Hub(),
        ),
        publication=SimpleNamespace(listen=lambda changed: lambda: None),
    )
    sources: Any = [AnyRun()]
    changes = Changes(means, Offerings(resources=sources))
    serving = asyncio.create_task(changes.serve())
    try:
        yield changes
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def test_client_that_does_not_listen_holds_up_nobody_and_is_told_each_thing_once() -> None:
    deaf, awake = Client(listens=False), Client()
    async with telling() as changes:
        for client in (deaf, awake):
            await changes.initialized(client.ctx, None)
        heard = []
        for _ in range(3):
            changes.tell_listed("tools")
            heard.append(await awake.next())
        changes.tell_listed("prompts")
        heard.append(await awake.next())

        deaf.listens.set()
        late = [await deaf.next() for _ in range(3)]

        assert heard == ["tools", "tools", "tools", "prompts"]
        # The one that it was in the middle of, and what has come meanwhile.
        assert late == ["tools", "tools", "prompts"]
        assert deaf.heard.empty()


async def test_client_that_is_gone_is_told_nothing_more() -> None:
    gone = Client(listens=False)
    async with telling() as changes:
        await changes.initialized(gone.ctx, None)
        changes.tell_listed("tools")
        other = Client()
        await changes.initialized(other.ctx, None)
        changes.tell_listed("tools")
        await other.next()
        (session,) = (one for one in changes._sessions.values() if one.telling is not None)
        task = session.telling

        await gone.exit_stack.aclose()
        assert task is not None
        async with asyncio.timeout(GUARD_S):
            await asyncio.wait([task])

    assert task.cancelled()


async def test_subscription_is_answered_when_no_change_can_be_missed_any_more() -> None:
    hub = Hub()
    client = Client()
    async with telling(hub) as changes:
        asking = asyncio.create_task(changes.subscribe(client.ctx, SubscribeRequestParams(uri=RUN)))
        async with asyncio.timeout(GUARD_S):
            await hub.asked.wait()
        was_answered = asking.done()
        hub.is_ready.set()
        async with asyncio.timeout(GUARD_S):
            await asking

    assert not was_answered


async def test_changes_are_listened_to_again_when_they_could_not_be_read() -> None:
    hub = Hub(failures=1)
    hub.is_ready.set()
    client = Client()
    async with telling(hub) as changes:
        async with asyncio.timeout(GUARD_S):
            await changes.subscribe(client.ctx, SubscribeRequestParams(uri=RUN))

        assert changes._hears.is_set()
