"""A server of the older era over HTTP, which forgets its sessions when it starts anew.

``python sessions.py PORT [WORD …]``; the words: ``deny`` answers every request with 401, ``busy``
every call with 503, ``hang`` holds the DELETE with which a session ends.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
from typing import Any
from uuid import uuid4

from aiohttp import web

TOOLS = ("echo", "pid", "leave", "forget", "headers", "huge", "broken", "compressed")


class Sessions:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.known: set[str] = set()

    async def post(self, request: web.Request) -> web.StreamResponse:
        if "deny" in self.words:
            return web.Response(status=401)
        message = await request.json()
        method, identity = message.get("method"), message.get("id")
        if method == "initialize":
            session = uuid4().hex
            self.known.add(session)
            result = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "sessions", "version": "1"},
            }
            return _answer(identity, result, headers={"Mcp-Session-Id": session})
        if method == "server/discover":
            error = {"code": -32601, "message": "no such method"}
            return web.json_response({"jsonrpc": "2.0", "id": identity, "error": error})
        if request.headers.get("Mcp-Session-Id") not in self.known:
            return web.Response(status=404)
        if identity is None:
            return web.Response(status=202)
        match method:
            case "ping":
                return _answer(identity, {})
            case "tools/list":
                tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
                return _answer(identity, {"tools": tools})
            case "tools/call":
                return await self.call(request, identity, message["params"])
            case _:
                return web.Response(status=400)

    async def call(
        self, request: web.Request, identity: Any, params: dict[str, Any]
    ) -> web.StreamResponse:
        if "busy" in self.words:
            return web.Response(status=503)
        match params["name"]:
            case "echo":
                text = str(params["arguments"].get("text", ""))
            case "pid":
                text = str(os.getpid())
            case "leave":
                os._exit(7)
            case "forget":
                self.known.clear()
                text = "forgotten"
            case "headers":
                text = request.headers.get("Authorization", "") + " " + request.headers["Host"]
            case "compressed":
                body = gzip.compress(b" " * int(params["arguments"]["bytes"]))
                coding = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
                return web.Response(body=body, headers=coding)
            case "huge":
                text = "x" * int(params["arguments"]["bytes"])
            case _:
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                await response.write(b"event: message\ndata: {")
                return response
        return _answer(identity, {"content": [{"type": "text", "text": text}]})

    async def delete(self, _: web.Request) -> web.Response:
        if "hang" in self.words:
            await asyncio.sleep(600)
        return web.Response(status=200)

    async def get(self, _: web.Request) -> web.Response:
        return web.Response(status=405)


def _answer(identity: Any, result: Any, headers: dict[str, str] | None = None) -> web.Response:
    message = {"jsonrpc": "2.0", "id": identity, "result": result}
    return web.json_response(message, headers=headers)


def make(words: list[str]) -> web.Application:
    sessions = Sessions(words)
    application = web.Application(client_max_size=32 << 20)
    application.router.add_post("/mcp", sessions.post)
    application.router.add_delete("/mcp", sessions.delete)
    application.router.add_get("/mcp", sessions.get)
    return application


if __name__ == "__main__":
    web.run_app(make(sys.argv[2:]), host="127.0.0.1", port=int(sys.argv[1]), print=None)
