"""The window of the fake's models: counting, and the silent cutting of the real server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUM_CTX_DEFAULT = 4096


SIGNS_PER_TOKEN = 4


def tokens_of(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] = (),
    *,
    signs_per_token: int = SIGNS_PER_TOKEN,
) -> int:
    """Count tokens: one for so many signs, four for each message."""
    signs = sum(
        len(message.get("content") or "")
        + len(json.dumps(message["tool_calls"]) if message.get("tool_calls") else "")
        for message in messages
    )
    described = len(json.dumps(tools)) if tools else 0
    return signs // signs_per_token + 4 * len(messages) + described // signs_per_token


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt in its window; ``dropped`` when a part of it was left out without a word."""

    tokens: int
    dropped: bool


def fit(
    body: Mapping[str, Any], num_ctx: int, *, signs_per_token: int = SIGNS_PER_TOKEN
) -> Fitted | tuple[int, str]:
    """Bring a prompt into the window as the server does, or give status and text of refusal."""
    messages = list(body.get("messages") or ())
    tools = body.get("tools") or ()
    count = tokens_of(messages, tools, signs_per_token=signs_per_token)
    if count <= num_ctx:
        return Fitted(count, dropped=False)
    if body.get("truncate") is False:
        return (
            400,
            f"request ({count} tokens) exceeds the available context size ({num_ctx} tokens), "
            "try increasing it",
        )
    while count > num_ctx:
        droppable = [
            i for i, message in enumerate(messages[:-1]) if message.get("role") != "system"
        ]
        if not droppable:
            break
        del messages[droppable[0]]
        count = tokens_of(messages, tools, signs_per_token=signs_per_token)
    if count > num_ctx:
        if body.get("shift") is False:
            return (
                400,
                "the prompt is longer than the context length currently available to the model; "
                "shorten the prompt, increase the context length, or enable truncation",
            )
        count = num_ctx // 2
    return Fitted(count, dropped=True)
