"""Reading server-sent events as a browser does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.integration.api.conftest import Daemon

GUARD_S = 15.0


@dataclass(frozen=True)
class Event:
    """One event as it came. ``id`` is None when it had none."""

    name: str
    data: Any
    id: int | None


@dataclass
class EventStream:
    """An open stream."""

    response: aiohttp.ClientResponse
    comments: list[str] = field(default_factory=list)
    retry: int | None = None

    async def read(self) -> Event | None:
        """Read the next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(GUARD_S):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                name, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments.append(line)
                elif name == "retry":
                    self.retry = int(value)
                elif line:
                    fields[name] = value
                elif fields:
                    number = int(fields["id"]) if "id" in fields else None
                    return Event(fields["event"], json.loads(fields["data"]), number)
        return None

    async def until(self, **wanted: Any) -> list[Event]:
        """Read up to the first event whose data has these members; it is the last one."""
        found = []
        while (event := await self.read()) is not None:
            found.append(event)
            if wanted.items() <= event.data.items():
                return found
        raise AssertionError(f"the stream has ended without {wanted}: {found}")

    async def rest(self) -> list[Event]:
        """Read to the end of the stream."""
        found = []
        while (event := await self.read()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def stream(
    daemon: Daemon, path: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[EventStream]:
    """Open a stream and read its first event."""
    # The session that all share has a limit on connections.
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector()) as session,
        session.get(daemon.url + path, headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        opened = EventStream(response)
        first = await opened.read()
        assert first is not None
        assert first.name == "connected"
        yield opened


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Types of updates, with the status of those that are one and else the key."""
    return [
        (
            event.data["type"],
            event.data["status"] if event.data["type"] == "status" else event.data["key"],
        )
        for event in events
    ]
