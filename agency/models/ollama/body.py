"""Requests, as Ollama's native API wants them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agency.config.schema import Llm
from agency.models.prompt import schema_prompt
from agency.ports.model import ChatMessage, ChatRequest, ToolSpec

_WHOLE_NUMBER = re.compile(r"[+-]?\d+")


def chat_body(request: ChatRequest, settings: Llm) -> dict[str, Any]:
    """Write the body of ``POST /api/chat``.

    ``truncate`` and ``shift`` are always false: a server left to itself drops the oldest messages
    and cuts the middle of a long prompt, and nothing in its answer tells. ``num_ctx`` is always
    sent and always the same, because another value makes it load the model anew.
    """
    assert not (request.tools and request.response_schema is not None), (
        "a response schema suppresses tool calls: ask for one or the other"
    )
    messages = [_message(message) for message in request.messages]
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        "stream": True,
        "truncate": False,
        "shift": False,
        "keep_alive": keep_alive(settings.keep_alive),
        "options": _options(request, settings),
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.response_schema is not None:
        body["format"] = request.response_schema
        body["messages"] = _with_schema(messages, request.response_schema)
    if request.think is not None:
        body["think"] = request.think
    return body


def load_body(model: str, settings: Llm) -> dict[str, Any]:
    """Write the body of a chat without messages, which loads the model and no more.

    With the same ``num_ctx`` as any call, or else the first one would load it anew.
    """
    return {
        "model": model,
        "messages": [],
        "stream": False,
        "keep_alive": keep_alive(settings.keep_alive),
        "options": {"num_ctx": settings.num_ctx},
    }


def embed_body(model: str, texts: Sequence[str], settings: Llm) -> dict[str, Any]:
    """Write the body of ``POST /api/embed``; a text that is too long is refused, never cut."""
    return {
        "model": model,
        "input": list(texts),
        "truncate": False,
        "keep_alive": keep_alive(settings.keep_alive),
        "options": {"num_ctx": settings.num_ctx},
    }


def keep_alive(text: str) -> str | int:
    """Turn ``300`` and ``-1`` into numbers: as texts without a unit Ollama refuses them."""
    spelled = text.strip()
    return int(spelled) if _WHOLE_NUMBER.fullmatch(spelled) else spelled


def _options(request: ChatRequest, settings: Llm) -> dict[str, Any]:
    options: dict[str, Any] = {"num_ctx": settings.num_ctx}
    tokens_max = request.tokens_max or settings.tokens_max
    if tokens_max:
        options["num_predict"] = tokens_max
    if request.temperature is not None:
        options["temperature"] = request.temperature
    if request.seed is not None:
        options["seed"] = request.seed
    return options


def _message(message: ChatMessage) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        written["images"] = [base64.b64encode(image).decode() for image in message.images]
    if message.tool_calls:
        written["tool_calls"] = [
            _without_empty_id(
                {
                    "id": call.id,
                    # An object, never a text as OpenAI has it: that would be a 400.
                    "function": {
                        "index": index,
                        "name": call.name,
                        "arguments": dict(call.arguments),
                    },
                }
            )
            for index, call in enumerate(message.tool_calls)
        ]
    if message.tool_name:
        written["tool_name"] = message.tool_name
    if message.tool_call_id:
        written["tool_call_id"] = message.tool_call_id
    return written


def _without_empty_id(call: dict[str, Any]) -> dict[str, Any]:
    if not call["id"]:
        del call["id"]
    return call


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }


def _with_schema(
    messages: Sequence[dict[str, Any]], schema: Mapping[str, Any]
) -> list[dict[str, Any]]:
    # Ollama turns the schema into a sampling grammar and does not show it to the model, which
    # then fills the shape with nonsense (ollama/ollama#8993). So the prompt says it as well.
    text = schema_prompt(schema)
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
