"""What both fakes share: listening, scripts, and streams of events that are cut anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the fake got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One scripted answer.

    Attributes:
        text, thinking: Pieces, one event each.
        calls: Tool calls: id, name and arguments as a text, which need not be JSON.
        reason: How the model ended; empty for the usual word.
        counts: Whether counts of tokens come.
        status, body, headers: A refusal before the first event; a text goes out as it is.
        error: An error object in the middle of the stream, after the pieces.
        ends: ``done``; ``open`` keeps the connection open after the last event; ``silent`` ends
            the body where the model has ended, without what the protocol says then; ``early``
            ends it before; ``torn`` tears the connection there.
        cut_bytes: Cut the stream into pieces of so many bytes; 0 for one event each.
        newline: How lines end.
        raw: The stream word for word, in place of all that is made from the above.
        whole: Answer with one JSON object although a stream was asked for.
        hold: Wait before the headers until the fake's gate is opened.
    """

    text: Sequence[str] = ()
    thinking: Sequence[str] = ()
    calls: Sequence[tuple[str, str, str]] = ()
    reason: str = ""
    counts: bool = True
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Any = None
    ends: str = "done"
    cut_bytes: int = 0
    newline: str = "\n"
    raw: bytes | None = None
    whole: bool = False
    hold: bool = False


Handler = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


class FakeServer:
    """Root of the fakes: ``async with`` starts and stops it."""

    def __init__(self, says: Sequence[Said] = (), *, key: str = "") -> None:
        """Take the script, and the key that requests must carry; empty for none."""
        self.says = list(says)
        self.key = key
        self.asked: list[Asked] = []
        self.gate = asyncio.Event()
        self.holding = asyncio.Event()
        self.left = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{rest:.*}", self._dispatch)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def bodies(self, path: str) -> list[Any]:
        """Bodies of all requests to ``path``."""
        return [one.body for one in self.asked if one.path == path]

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        raise NotImplementedError

    def refuse_key(self, request: web.Request) -> web.Response | None:
        raise NotImplementedError

    def not_found(self) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append(Asked(request.method, request.path, dict(request.headers), body))
        refused = self.refuse_key(request)
        if refused is not None:
            return refused
        handler = self.handlers().get((request.method, request.path))
        try:
            return await handler(request, body) if handler is not None else self.not_found()
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise

    async def before(self, said: Said) -> web.Response | None:
        """Hold, or refuse, as the script says."""
        if said.hold:
            self.holding.set()
            await self.gate.wait()
        if said.status == 200 and said.body is None:
            return None
        if isinstance(said.body, str):
            return web.Response(
                status=said.status, text=said.body, content_type="text/html", headers=said.headers
            )
        return web.json_response(said.body, status=said.status, headers=said.headers)

    async def stream(
        self, request: web.Request, said: Said, events: Sequence[bytes], end: Sequence[bytes]
    ) -> web.StreamResponse:
        """Send events; ``end`` is what the protocol says after the model has ended."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", **said.headers}
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        sent = list(events) if said.raw is None else [said.raw]
        if said.ends in {"done", "open"} and said.raw is None:
            sent += end
        whole = b"".join(sent)
        if said.cut_bytes:
            step = said.cut_bytes
            sent = [whole[i : i + step] for i in range(0, len(whole), step)]
        for piece in sent:
            await response.write(piece)
            await asyncio.sleep(0)
        if said.ends == "torn":
            assert request.transport is not None
            request.transport.abort()
            return response
        if said.ends == "open":
            await asyncio.Event().wait()
        await response.write_eof()
        return response


def event(data: Any, said: Said, *, name: str = "") -> bytes:
    """Write one event as it goes over the wire."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    head = f"event: {name}{said.newline}" if name else ""
    return f"{head}data: {text}{said.newline}{said.newline}".encode()
