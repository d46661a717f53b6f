"""Weak models behind ``/v1/chat/completions``, as Ollama serves OpenAI's clients.

The same replies, told otherwise: arguments are texts, errors have OpenAI's shape, an answer that
ended early is a 200 with what there is. Source: the notes on Ollama 0.33 and its documentation of
the compatible endpoint.

``python -m tests.fake_ollama.compatible`` serves weak models as a process of its own: it prints one
line with its address, and plays for each task the faults that the task's name lists: after a bar,
several with a plus between them, by turns over the steps when ``spread:`` goes before them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any

from aiohttp import web

from tests.fake_ollama.faults import FAULTS, IMPOSSIBLE, NONE, WeakModel, WeakOllama, task_of
from tests.fake_ollama.models import FakeModel
from tests.fake_ollama.server import Seen

MODEL = "weak:latest"


class CompatibleOllama(WeakOllama):
    """Weak models for clients of Ollama and of OpenAI; made when their task is first heard of."""

    def __init__(self, **more: Any) -> None:
        capabilities = ("completion", "tools", "thinking")
        super().__init__({}, models=[FakeModel(name=MODEL, capabilities=capabilities)], **more)
        self.weak: dict[str, WeakModel] = {}
        self._routes["/v1/chat/completions"] = {"POST": self._completions}

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        name = task_of(seen.body)
        if name not in self.weak:
            self.weak[name] = model_of(name)
        return await super()._chat(request, seen)

    async def _completions(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        seen.body = _native(seen.body)
        answer = await self._chat(request, seen)
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        try:
            found = json.loads(answer.body)
        except ValueError:
            return answer
        if answer.status != 200:
            error = {"message": found["error"], "type": "api_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=answer.status)
        return web.json_response(_completion(found))


def model_of(name: str) -> WeakModel:
    """Make the model of a task: its faults are behind the bar."""
    listed = name.partition("|")[2]
    is_spread = listed.startswith("spread:")
    known = {**FAULTS, **IMPOSSIBLE, "none": NONE}
    faults = [known[one] for one in listed.removeprefix("spread:").split(" + ")]
    return WeakModel(faults, is_spread=is_spread)


def _native(body: Any) -> dict[str, Any]:
    """Turn a request of OpenAI's into one of Ollama's own, as its server does."""
    messages = [_message(message) for message in body["messages"]]
    native: dict[str, Any] = {"model": body["model"], "messages": messages, "stream": False}
    if body.get("tools"):
        native["tools"] = body["tools"]
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        native["format"] = wanted["json_schema"]["schema"]
    elif wanted.get("type") == "json_object":
        native["format"] = "json"
    most = body.get("max_tokens") or body.get("max_completion_tokens")
    if most:
        native["options"] = {"num_predict": most}
    return native


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    native: dict[str, Any] = {"role": message["role"], "content": content or ""}
    if message.get("tool_calls"):
        native["tool_calls"] = [
            {
                "id": call["id"],
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.loads(call["function"]["arguments"] or "{}"),
                },
            }
            for call in message["tool_calls"]
        ]
    if message.get("tool_call_id"):
        native["tool_call_id"] = message["tool_call_id"]
    return native


def _completion(found: dict[str, Any]) -> dict[str, Any]:
    said = found["message"]
    message: dict[str, Any] = {"role": "assistant", "content": said["content"]}
    if said.get("thinking"):
        message["reasoning"] = said["thinking"]
    reason = found.get("done_reason") if found.get("done") else None
    if said.get("tool_calls"):
        reason = "tool_calls"
        message["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{i}",
                "index": i,
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": _text(call["function"]["arguments"]),
                },
            }
            for i, call in enumerate(said["tool_calls"])
        ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": found["model"],
        "system_fingerprint": "fp_ollama",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": found.get("prompt_eval_count", 0),
            "completion_tokens": found.get("eval_count", 0),
            "total_tokens": found.get("prompt_eval_count", 0) + found.get("eval_count", 0),
        },
    }


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with CompatibleOllama(parallel=16) as fake:
        print(json.dumps({"url": fake.url}), flush=True)  # noqa: T201
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
