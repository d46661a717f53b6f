"""Requests, as ``POST /chat/completions`` wants them.

Source: OpenAI's API reference, "Create chat completion"; what llama.cpp and vLLM add to it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.models.pairing import ToolNames
from agency.models.prompt import schema_prompt
from agency.ports.model import ChatMessage, ChatRequest, ToolSpec

EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
"""Levels of thinking that the protocol knows."""


@dataclass(slots=True)
class Dialect:
    """What one server has been found to want otherwise; learned from its refusals.

    Attributes:
        tokens_key: How the limit of the answer is called.
        takes_stream_options: Whether it can be asked for counts at the end of a stream.
        takes_template_options: It passes options on to the model's chat template (llama.cpp,
            vLLM), so that thinking can be switched.
    """

    tokens_key: str = "max_tokens"
    takes_stream_options: bool = True
    takes_template_options: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A body, and how the tools are called in it."""

    body: dict[str, Any] = field(repr=False)
    names: ToolNames


def chat_body(
    request: ChatRequest,
    messages: Sequence[ChatMessage],
    *,
    dialect: Dialect,
    tokens_max: int | None,
    structured: str,
) -> Written:
    """Write the body of a chat.

    Args:
        request: What is asked.
        messages: Its messages, calls and results paired.
        dialect: What the server wants otherwise.
        tokens_max: Longest answer, or None.
        structured: ``json_schema``, ``json_object`` or ``none``.
    """
    assert not (request.tools and request.response_schema is not None), (
        "a response schema suppresses tool calls: ask for one or the other"
    )
    names = ToolNames(request.tools, messages)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, names) for message in messages],
        "stream": True,
    }
    if dialect.takes_stream_options:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [_tool(tool, names) for tool in request.tools]
    if request.response_schema is not None:
        _ask_for_schema(body, request.response_schema, structured)
    if tokens_max:
        body[dialect.tokens_key] = tokens_max
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.seed is not None:
        body["seed"] = request.seed
    body.update(_thinking(request, dialect))
    return Written(body, names)


def _thinking(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    think = request.think
    if isinstance(think, str):
        return {"reasoning_effort": think if think in EFFORTS else "high"}
    if think is not None and dialect.takes_template_options:
        return {"chat_template_kwargs": {"enable_thinking": think}}
    # The protocol has no plain switch, and strict servers refuse what they do not know.
    return {}


def _message(message: ChatMessage, names: ToolNames) -> dict[str, Any]:
    if message.role == "tool":
        return {
            "role": "tool",
            "tool_call_id": message.tool_call_id,
            "content": message.content,
        }
    content: Any = message.content
    if message.images:
        content = [{"type": "text", "text": message.content}] if message.content else []
        content += [_image(image) for image in message.images]
    written: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        # An empty text beside calls makes some models write later calls as text.
        written["content"] = content or None
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": names.sent(call.name),
                    "arguments": json.encode(dict(call.arguments)).decode(),
                },
            }
            for call in message.tool_calls
        ]
    return written


def _image(image: bytes) -> dict[str, Any]:
    url = f"data:{image_type(image)};base64,{base64.b64encode(image).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def image_type(image: bytes) -> str:
    """Tell the media type of a picture by how it begins; JPEG when nothing else fits."""
    if image.startswith(b"\x89PNG"):
        return "image/png"
    if image.startswith(b"GIF8"):
        return "image/gif"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return "image/jpeg"


def _tool(tool: ToolSpec, names: ToolNames) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": names.sent(tool.name),
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }


def _ask_for_schema(body: dict[str, Any], schema: Mapping[str, Any], structured: str) -> None:
    # Some servers turn the schema into a grammar and do not show it to the model.
    text = schema_prompt(schema)
    messages = body["messages"]
    if messages and messages[0]["role"] == "system":
        messages[0] = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
    else:
        messages.insert(0, {"role": "system", "content": text})
    if structured == "json_schema":
        wanted = {"name": "answer", "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    elif structured == "json_object":
        body["response_format"] = {"type": "json_object"}
