"""Requests, as ``POST /v1/messages`` wants them.

Source: Anthropic's API reference, "Messages", version 2023-06-01.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from agency.core.records import dataclass
from agency.errors import ModelRefused
from agency.models.openai.body import image_type
from agency.models.pairing import ToolNames
from agency.models.prompt import schema_prompt
from agency.ports.model import ChatMessage, ChatRequest, ToolSpec

TOKENS_MAX = 8192
"""Longest answer when settings name none: the API always wants a limit."""

THOUGHT_TOKENS_MIN = 1024
"""Smallest budget for thinking that the API takes."""

THOUGHT_TOKENS: Mapping[str, int] = {
    "low": 1024,
    "medium": 4096,
    "high": 16_384,
    "max": 32_768,
}

ANSWER_TOOL = "answer"
"""Name of the tool by which an answer that obeys a schema is asked for."""

_GO_ON = "Go on."
_LEFT_OUT = "(The beginning of the conversation is left out.)"


@dataclass(frozen=True, slots=True)
class Written:
    """A body, how the tools are called in it, and whether the answer comes as a call."""

    body: dict[str, Any] = field(repr=False)
    names: ToolNames
    answers_by_call: bool
    tokens_max: int


def chat_body(
    request: ChatRequest, messages: Sequence[ChatMessage], *, tokens_max: int | None
) -> Written:
    """Write the body of a chat.

    An answer with a schema is asked for as the call of one tool that has to be called, because
    that is checked by the server with all versions of the API; a schema that is not of an object
    is only said in the prompt.

    Args:
        request: What is asked.
        messages: Its messages, calls and results paired.
        tokens_max: Longest answer, or None.

    Raises:
        ModelRefused: thinking is wanted, and the longest answer leaves no room for it.
    """
    assert not (request.tools and request.response_schema is not None), (
        "a response schema suppresses tool calls: ask for one or the other"
    )
    names = ToolNames(request.tools, messages)
    system, rest = _parted(messages)
    body: dict[str, Any] = {"model": request.model, "stream": True}
    schema = request.response_schema
    answers_by_call = schema is not None and schema.get("type") == "object"
    if schema is not None:
        system = [*system, schema_prompt(schema)]
    if system:
        body["system"] = "\n\n".join(system)
    body["messages"] = _turns(rest, names)
    if request.tools:
        body["tools"] = [_tool(tool, names) for tool in request.tools]
    elif answers_by_call:
        body["tools"] = [{"name": ANSWER_TOOL, "input_schema": schema}]
        body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
    elif names.known:
        # Calls in the history are refused when no tool is described.
        body["tools"] = [_past_tool(sent) for sent in names.known.values()]
        body["tool_choice"] = {"type": "none"}
    answer_max = tokens_max or TOKENS_MAX
    thought = 0 if answers_by_call else _thought_tokens(request, rest, tokens_max)
    if thought:
        body["thinking"] = {"type": "enabled", "budget_tokens": thought}
        answer_max = tokens_max or TOKENS_MAX + thought
    elif request.temperature is not None:
        # While it thinks its temperature is fixed; it goes from 0 to 1.
        body["temperature"] = min(1.0, request.temperature)
    body["max_tokens"] = answer_max
    return Written(body, names, answers_by_call, answer_max)


def _thought_tokens(
    request: ChatRequest, messages: Sequence[ChatMessage], tokens_max: int | None
) -> int:
    """Decide the budget for thinking; 0 for none."""
    if not request.think or (messages and messages[-1].role == "tool"):
        # In the middle of a turn its earlier thoughts would have to be shown with their
        # signatures, which are not kept; it answers without a thought there.
        return 0
    wanted = THOUGHT_TOKENS.get(str(request.think), THOUGHT_TOKENS["medium"])
    if tokens_max is None:
        return wanted
    wanted = min(wanted, tokens_max // 2)
    if wanted < THOUGHT_TOKENS_MIN:
        raise ModelRefused(
            f"The longest answer, {tokens_max} tokens, leaves {request.model!r} no room to think.",
            hint=f"Allow {2 * THOUGHT_TOKENS_MIN} tokens or more, or ask with think switched off.",
        )
    return wanted


def _parted(messages: Sequence[ChatMessage]) -> tuple[list[str], list[ChatMessage]]:
    """Part the system prompt, which stands by itself, from the conversation."""
    i = 0
    while i < len(messages) and messages[i].role == "system":
        i += 1
    return [one.content for one in messages[:i] if one.content.strip()], list(messages[i:])


def _turns(messages: Sequence[ChatMessage], names: ToolNames) -> list[dict[str, Any]]:
    """Write turns of user and assistant by turns; neighbours of one role become one."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, names)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [_said(_LEFT_OUT)]})
    if not turns or turns[-1]["role"] == "assistant":
        turns.append({"role": "user", "content": [_said(_GO_ON)]})
    return turns


def _blocks(message: ChatMessage, names: ToolNames) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [
            {
                "type": "tool_result",
                "tool_use_id": message.tool_call_id,
                "content": [*map(_image, message.images), *_texts(message.content)],
            }
        ]
    # Pictures first, as the guide for vision advises; a text that is blank is refused.
    blocks = [*map(_image, message.images), *_texts(message.content)]
    blocks += [
        {
            "type": "tool_use",
            "id": call.id,
            "name": names.sent(call.name),
            "input": dict(call.arguments),
        }
        for call in message.tool_calls
    ]
    return blocks


def _texts(text: str) -> list[dict[str, Any]]:
    return [_said(text)] if text.strip() else []


def _said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(image: bytes) -> dict[str, Any]:
    return {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": image_type(image),
            "data": base64.b64encode(image).decode(),
        },
    }


def _tool(tool: ToolSpec, names: ToolNames) -> dict[str, Any]:
    return {
        "name": names.sent(tool.name),
        "description": tool.description,
        "input_schema": {"type": "object", **tool.parameters},
    }


def _past_tool(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Not offered any more.",
        "input_schema": {"type": "object"},
    }
