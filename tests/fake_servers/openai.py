"""A server that speaks ``/v1/chat/completions``, as OpenAI, llama.cpp and vLLM do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from tests.fake_servers.wire import FakeServer, Handler, Said, event

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class FakeOpenAi(FakeServer):
    """Strict as the strictest of them.

    Attributes:
        models: Entries of ``data`` in ``GET /v1/models``.
        more_models: Entries of ``models`` there, as llama.cpp has them.
        unknown: Fields that are refused as unknown.
        loads: It is loading its model, as llama.cpp says it.
    """

    def __init__(self, says: Sequence[Said] = (), *, key: str = "") -> None:
        super().__init__(says, key=key)
        self.models: list[dict[str, Any]] = [{"id": "m1", "object": "model", "owned_by": "me"}]
        self.more_models: list[dict[str, Any]] = []
        self.unknown: set[str] = set()
        self.loads = False

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def chats(self) -> list[Any]:
        return self.bodies("/v1/chat/completions")

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        return {
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/embeddings"): self._embeddings,
        }

    def refuse_key(self, request: web.Request) -> web.Response | None:
        sent = request.headers.get("Authorization", "")
        if not self.key or sent == f"Bearer {self.key}":
            return None
        # The real one repeats a part of the key; some repeat all of it.
        said = f"Incorrect API key provided: {sent.removeprefix('Bearer ')}."
        return _error(401, said, kind="invalid_request_error", code="invalid_api_key")

    async def _models(self, request: web.Request, body: Any) -> web.StreamResponse:
        if self.loads:
            return _loading()
        found: dict[str, Any] = {"object": "list", "data": self.models}
        if self.more_models:
            found["models"] = self.more_models
        return web.json_response(found)

    async def _embeddings(self, request: web.Request, body: Any) -> web.StreamResponse:
        rows = [
            {"object": "embedding", "index": i, "embedding": _vector(text)}
            for i, text in enumerate(body["input"])
        ]
        # Nobody promises their order.
        return web.json_response({"object": "list", "data": rows[::-1], "model": body["model"]})

    async def _chat(self, request: web.Request, body: Any) -> web.StreamResponse:
        if self.loads:
            return _loading()
        refused = self._refused(body)
        if refused is not None:
            return refused
        said = self.says.pop(0) if self.says else Said(text=["You said: ", _last(body)])
        answer = await self.before(said)
        if answer is not None:
            return answer
        if said.whole:
            return web.json_response(_whole(said, body))
        events, end = _events(said, body)
        return await self.stream(request, said, events, end)

    def _refused(self, body: Any) -> web.Response | None:
        for name in self.unknown & set(body):
            more = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            text = f"Unsupported parameter: '{name}' is not supported with this model.{more}"
            return _error(400, text, code="unsupported_parameter")
        if body["model"] not in {one["id"] for one in self.models}:
            text = f"The model `{body['model']}` does not exist."
            return _error(404, text, kind="NotFoundError", code=404)
        for tool in body.get("tools", ()):
            if not _TOOL_NAME.fullmatch(tool["function"]["name"]):
                return _error(400, "Invalid 'tools[0].function.name'")
        return _refused_messages(body["messages"])


def _refused_messages(messages: Sequence[Any]) -> web.Response | None:
    """Refuse calls without results, results without calls, and arguments that are no text."""
    open_ids: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_ids:
                text = "messages with role 'tool' must be a response to a preceding message"
                return _error(400, text)
            open_ids.remove(message["tool_call_id"])
            continue
        if open_ids:
            return _error(400, "An assistant message with 'tool_calls' must be followed by tool")
        for call in message.get("tool_calls", ()):
            if not isinstance(call["function"]["arguments"], str) or not call["id"]:
                return _error(400, "invalid tool call")
            json.loads(call["function"]["arguments"])
            open_ids.append(call["id"])
    return _error(400, "An assistant message with 'tool_calls' …") if open_ids else None


def _events(said: Said, body: Any) -> tuple[list[bytes], list[bytes]]:
    def chunk(delta: Any, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event({"id": "c", "model": "m1-2026", "choices": [choice]}, said)

    events = [event(": keep-alive", said)[6:], chunk({"role": "assistant", "content": ""})]
    events += [chunk({"reasoning_content": piece}) for piece in said.thinking]
    events += [chunk({"content": piece}) for piece in said.text]
    for index, (call_id, name, arguments) in enumerate(said.calls):
        function = {"name": name, "arguments": ""}
        head = {"index": index, "id": call_id, "type": "function", "function": function}
        events.append(chunk({"tool_calls": [head]}))
        for i in range(0, len(arguments), 5):
            piece = {"index": index, "function": {"arguments": arguments[i : i + 5]}}
            events.append(chunk({"tool_calls": [piece]}))
    if said.error is not None:
        return [*events, event(said.error, said)], []
    usual = "tool_calls" if said.calls else "stop"
    if said.ends not in {"early", "torn"}:
        events.append(chunk({}, said.reason or usual))
    end: list[bytes] = []
    if said.counts and "stream_options" in body:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        end.append(event({"id": "c", "choices": [], "usage": usage}, said))
    return events, [*end, event("[DONE]", said)]


def _whole(said: Said, body: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said.text)}
    if said.calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, name, arguments in said.calls
        ]
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    choice = {"index": 0, "message": message, "finish_reason": said.reason or "stop"}
    return {"id": "c", "model": body["model"], "choices": [choice], "usage": usage}


def _error(
    status: int, text: str, *, kind: str = "invalid_request_error", code: Any = None
) -> web.Response:
    error = {"message": text, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


def _loading() -> web.Response:
    error = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    return web.json_response({"error": error}, status=503)


def _last(body: Any) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else json.dumps(content)


def _vector(text: str) -> list[float]:
    return [byte / 255 + 0.01 for byte in hashlib.sha256(text.encode()).digest()[:8]]
