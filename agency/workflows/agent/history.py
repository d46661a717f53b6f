"""Messages of a session as a prompt may hold them, and as a run appends them.

What a session holds may end in the middle: a run was cancelled between a call and its result, or
only the newest messages are read. A result without its call is left out, and a call without a
result gets one that says so, because models and servers take neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agency.domain.message import Message, NewMessage
from agency.ports.model import ChatMessage, ToolCall
from agency.workflows.agent.calls.rungs import parse_calls, write_call

NO_RESULT = "There is no result: the run ended before."


def before_run(messages: Sequence[Message], run_id: str) -> Sequence[Message]:
    """Take what was said in a session before a run began, which knows the rest from its journal.

    A run that goes on after others have spoken sees what it saw before: what was recorded of its
    prompts counts from there.
    """
    first = next((i for i, one in enumerate(messages) if one.run_id == run_id), len(messages))
    return messages[:first]


def prompt_of(messages: Sequence[Message]) -> list[ChatMessage]:
    """Turn messages of a session into messages of a prompt, oldest first."""
    made: list[ChatMessage] = []
    open_calls: list[ToolCall] = []
    for message in messages:
        content: Mapping[str, Any] = message.content if isinstance(message.content, dict) else {}
        text = content.get("text")
        text = text if isinstance(text, str) else ""
        if message.role == "tool":
            call = _take(open_calls, content)
            if call is not None:
                made.append(_result(call, text))
            continue
        made.extend(_result(call, NO_RESULT) for call in open_calls)
        open_calls = _calls(content) if message.role == "assistant" else []
        if text or open_calls:
            made.append(ChatMessage(role=message.role, content=text, tool_calls=tuple(open_calls)))
    made.extend(_result(call, NO_RESULT) for call in open_calls)
    return made


def user_message(session_id: str, text: str) -> NewMessage:
    """Make the message of what a person has said."""
    return NewMessage(session_id=session_id, role="user", content={"text": text})


def assistant_message(
    session_id: str, text: str, *, model: str, calls: Sequence[ToolCall]
) -> NewMessage:
    """Make the message of a model's turn."""
    content: dict[str, Any] = {"text": text, "model": model}
    if calls:
        content["tool_calls"] = [write_call(call) for call in calls]
    return NewMessage(session_id=session_id, role="assistant", content=content)


def result_message(session_id: str, call: ToolCall, text: str, *, is_error: bool) -> NewMessage:
    """Make the message of a tool's result."""
    content: dict[str, Any] = {"text": text, "tool": call.name}
    if call.id:
        content["call_id"] = call.id
    if is_error:
        content["is_error"] = True
    return NewMessage(session_id=session_id, role="tool", content=content)


def _calls(content: Mapping[str, Any]) -> list[ToolCall]:
    found = content.get("tool_calls")
    return list(parse_calls(found)) if isinstance(found, list) else []


def _take(open_calls: list[ToolCall], content: Mapping[str, Any]) -> ToolCall | None:
    """Find the call that a result is of, the oldest of several that it may be."""
    wanted_id, wanted = content.get("call_id"), content.get("tool")
    for i, call in enumerate(open_calls):
        if call.id == wanted_id if wanted_id else call.name == wanted:
            return open_calls.pop(i)
    return None


def _result(call: ToolCall, text: str) -> ChatMessage:
    return ChatMessage(role="tool", content=text, tool_name=call.name, tool_call_id=call.id)
