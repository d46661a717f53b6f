"""A small HTTP client with kept connections, for requests that must be many and quick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

Item = TypeVar("Item")
Result = TypeVar("Result")


class KeepAlive:
    """So many connections to one server; a request takes one that is free."""

    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._port, self._authority = parts.hostname, parts.port, parts.netloc
        self._connections = connections
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def __aenter__(self) -> Self:
        for _ in range(self._connections):
            self._free.put_nowait(await asyncio.open_connection(self._host, self._port))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while not self._free.empty():
            _, writer = self._free.get_nowait()
            writer.close()
            await writer.wait_closed()

    async def ask(self, method: str, path: str, document: object = None, **headers: str) -> Any:
        """Send one request and give the JSON of its answer, which must be a success."""
        body = b"" if document is None else json.dumps(document).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._authority}"]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        reader, writer = await self._free.get()
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            answer = json.loads(await reader.readexactly(length))
        finally:
            self._free.put_nowait((reader, writer))
        assert head.startswith(b"HTTP/1.1 2"), answer
        return answer

    async def each(
        self, work: Callable[[Item], Awaitable[Result]], items: Iterable[Item]
    ) -> list[Result]:
        """Do ``work`` for all items, as many at once as there are connections; in their order."""
        waiting = list(enumerate(items))
        waiting.reverse()
        results: dict[int, Result] = {}

        async def take() -> None:
            while waiting:
                position, item = waiting.pop()
                results[position] = await work(item)

        await asyncio.gather(*(take() for _ in range(self._connections)))
        return [results[position] for position in sorted(results)]
