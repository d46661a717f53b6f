"""A server that speaks Anthropic's ``/v1/messages``, as strict as the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from tests.fake_servers.wire import FakeServer, Handler, Said, event

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MODELS = ("claude-a", "claude-b")


class FakeAnthropic(FakeServer):
    """The API."""

    @property
    def chats(self) -> list[Any]:
        return self.bodies("/v1/messages")

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        return {("GET", "/v1/models"): self._models, ("POST", "/v1/messages"): self._chat}

    def not_found(self) -> web.Response:
        return _error(404, "not_found_error", "Not found")

    def refuse_key(self, request: web.Request) -> web.Response | None:
        if request.headers.get("anthropic-version") != "2023-06-01":
            return _error(400, "invalid_request_error", "anthropic-version: header is required")
        if self.key and request.headers.get("x-api-key") != self.key:
            return _error(401, "authentication_error", "invalid x-api-key")
        return None

    async def _models(self, request: web.Request, body: Any) -> web.StreamResponse:
        data = [{"type": "model", "id": name, "display_name": name.title()} for name in MODELS]
        return web.json_response({"data": data, "has_more": False})

    async def _chat(self, request: web.Request, body: Any) -> web.StreamResponse:
        refused = _refused(body)
        if refused is not None:
            return _error(400, "invalid_request_error", refused)
        if body["model"] not in MODELS:
            return _error(404, "not_found_error", f"model: {body['model']}")
        said = self.says.pop(0) if self.says else Said(text=["You said: ", _last(body)])
        answer = await self.before(said)
        if answer is not None:
            return answer
        if said.whole:
            return web.json_response(_whole(said, body))
        events, end = _events(said)
        return await self.stream(request, said, events, end)


def _refused(body: Any) -> str | None:
    """Say what the real one refuses, in its words."""
    if "max_tokens" not in body:
        return "max_tokens: Field required"
    thinking = body.get("thinking")
    if thinking:
        if thinking["budget_tokens"] < 1024:
            return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if thinking["budget_tokens"] >= body["max_tokens"]:
            return "`max_tokens` must be greater than `thinking.budget_tokens`"
        if "temperature" in body:
            return "`temperature` may only be set to 1 when thinking is enabled"
    if not 0 <= body.get("temperature", 0) <= 1:
        return "temperature: range: 0..1"
    for tool in body.get("tools", ()):
        if not _NAME.fullmatch(tool["name"]) or tool["input_schema"].get("type") != "object":
            return "tools.0.custom: Input should match the schema"
    return _refused_messages(body)


def _refused_messages(body: Any) -> str | None:
    messages = body["messages"]
    if not messages:
        return "messages: at least one message is required"
    if messages[0]["role"] != "user":
        return "messages: first message must use the user role"
    if messages[-1]["role"] == "assistant":
        return "This model does not support assistant message prefill"
    open_ids: set[str] = set()
    for before, message in zip([None, *messages], messages, strict=False):
        if before is not None and before["role"] == message["role"]:
            return "messages: roles must alternate"
        results = {
            block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"
        }
        if results != open_ids:
            return "`tool_use` ids were found without `tool_result` blocks immediately after"
        open_ids = set()
        for block in message["content"]:
            if block["type"] == "text" and not block["text"].strip():
                return "messages: text content blocks must be non-empty"
            if block["type"] == "tool_use":
                if not _NAME.fullmatch(block["id"]) or not isinstance(block["input"], dict):
                    return "messages.tool_use: Input should be a valid dictionary"
                if "tools" not in body:
                    return "Requests which include `tool_use` blocks must define tools"
                open_ids.add(block["id"])
    return None


def _events(said: Said) -> tuple[list[bytes], list[bytes]]:
    def write(kind: str, **more: Any) -> bytes:
        return event({"type": kind, **more}, said, name=kind)

    usage: dict[str, Any] = {"input_tokens": 9, "cache_read_input_tokens": 2, "output_tokens": 1}
    message = {"id": "msg", "role": "assistant", "model": "claude-a-2026", "usage": usage}
    events = [write("message_start", message=message), write("ping")]
    index = 0
    for kind, field, pieces in (
        ("thinking", "thinking", said.thinking),
        ("text", "text", said.text),
    ):
        if not pieces:
            continue
        block = {"type": kind, field: ""}
        events.append(write("content_block_start", index=index, content_block=block))
        for piece in pieces:
            delta = {"type": f"{kind}_delta", field: piece}
            events.append(write("content_block_delta", index=index, delta=delta))
        if kind == "thinking":
            delta = {"type": "signature_delta", "signature": "x"}
            events.append(write("content_block_delta", index=index, delta=delta))
        events.append(write("content_block_stop", index=index))
        index += 1
    for call_id, name, arguments in said.calls:
        call: dict[str, Any] = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        events.append(write("content_block_start", index=index, content_block=call))
        for i in range(0, len(arguments), 5):
            delta = {"type": "input_json_delta", "partial_json": arguments[i : i + 5]}
            events.append(write("content_block_delta", index=index, delta=delta))
        events.append(write("content_block_stop", index=index))
        index += 1
    if said.error is not None:
        return [*events, event({"type": "error", "error": said.error}, said, name="error")], []
    reason = said.reason or ("tool_use" if said.calls else "end_turn")
    ended: dict[str, Any] = {"stop_reason": reason, "stop_sequence": None}
    end = [
        write("message_delta", delta=ended, usage={"output_tokens": 7}),
        write("message_stop"),
    ]
    return events, end


def _whole(said: Said, body: Any) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text} for text in said.text]
    content += [
        {"type": "tool_use", "id": i, "name": name, "input": json.loads(arguments)}
        for i, name, arguments in said.calls
    ]
    return {
        "type": "message",
        "model": body["model"],
        "content": content,
        "stop_reason": said.reason or "end_turn",
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }


def _error(status: int, kind: str, text: str) -> web.Response:
    return web.json_response(
        {"type": "error", "error": {"type": kind, "message": text}}, status=status
    )


def _last(body: Any) -> str:
    block: Sequence[Any] = body["messages"][-1]["content"]
    return str(block[-1].get("text", "a result"))
