"""A receiver of push notifications on a real socket, which does what a test wants."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GUARD_S = 15.0


@dataclass(frozen=True)
class Got:
    """A notification that came."""

    path: str
    headers: dict[str, str]
    body: Any
    status: int

    @property
    def id(self) -> str:
        return self.headers["X-A2A-Notification-Id"]

    @property
    def said(self) -> str:
        """What it tells, in a word."""
        if "statusUpdate" in self.body:
            return str(self.body["statusUpdate"]["status"]["state"]).removeprefix("TASK_STATE_")
        if "artifactUpdate" in self.body:
            return "artifact " + str(self.body["artifactUpdate"]["artifact"]["artifactId"])
        return f"task {self.body['status']['state']}"


@dataclass
class Receiver:
    """Takes what comes, unless a test has said what to answer next.

    Attributes:
        url: Where it is told.
        answers: Statuses and headers of the next answers; 0 breaks the connection off.
        holds: While it is set, answers wait.
    """

    url: str = ""
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    got: list[Got] = field(default_factory=list)
    holds: asyncio.Event | None = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def answer(self, *statuses: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.extend((status, named) for status in statuses)

    @property
    def taken(self) -> list[str]:
        """What was taken, in its order."""
        return [one.said for one in self.got if one.status == 200]

    async def until(self, is_enough: Callable[[Sequence[Got]], bool]) -> list[Got]:
        """Wait until enough has come."""
        async with asyncio.timeout(GUARD_S), self._changed:
            await self._changed.wait_for(lambda: is_enough(self.got))
        return self.got

    async def count(self, number: int) -> list[Got]:
        return await self.until(lambda got: len(got) >= number)

    async def end(self) -> list[Got]:
        """Wait until an end was taken."""
        return await self.until(lambda got: any(_is_end(one) for one in got))

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        status, headers = self.answers.popleft() if self.answers else (200, {})
        async with self._changed:
            self.got.append(Got(request.path_qs, dict(request.headers), body, status))
            self._changed.notify_all()
        if self.holds is not None:
            await self.holds.wait()
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 500, headers=headers, text="x" * 100_000)


def _is_end(one: Got) -> bool:
    return one.status == 200 and one.said.split()[-1].lower() in {
        "completed",
        "failed",
        "canceled",
        "rejected",
    }


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?a=1"
        yield receiver
    finally:
        await runner.cleanup()
