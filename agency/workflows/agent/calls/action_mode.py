"""The last rung: the model fills in a schema, a tool with its arguments or the final answer.

The reply is bound to the schema by the server's grammar, so that even a model without tool calls of
its own makes them. The conversation is the same; calls and results in it are told as text, because
templates of models without tools leave them out. ``format`` and ``tools`` are never sent together:
the one suppresses the other (ollama/ollama#11037).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.ports.model import ChatMessage, ToolCall, ToolSpec
from agency.workflows.agent.calls.loose import Loose, end_of_value, read_value
from agency.workflows.agent.calls.names import OfferedTools
from agency.workflows.agent.calls.shapes import shaped

SCHEMA_DEPTH_MAX = 12
"""Nesting of arguments that is bound by the grammar; deeper parts may be anything."""

_KEPT = ("type", "enum", "const", "required", "description")
_FINAL = ("final", "final_answer", "answer", "response")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What was decided: a call, or the final answer, or neither with the reason in ``fault``."""

    call: ToolCall | None = None
    final: str | None = None
    fault: str = ""
    is_repaired: bool = False


def action_schema(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """Make the union of ``{tool, args}`` for each tool and ``{final}``.

    Only keywords that sampling grammars know are kept. Source: the conversion of llama.cpp, which
    refuses or ignores others.
    """
    final = {
        "type": "object",
        "properties": {"final": {"type": "string"}},
        "required": ["final"],
        "additionalProperties": False,
    }
    return {"anyOf": [*(_one(tool) for tool in tools), final]}


def action_prompt(tools: Sequence[ToolSpec]) -> str:
    """Tell the tools and the two shapes of a reply, as a part of the system prompt."""
    lines = [
        "Reply with exactly one JSON object and nothing else. To use a tool:",
        '{"tool": "NAME", "args": {…}}',
        "When the task is done, or no tool is needed:",
        '{"final": "your answer"}',
        "The tools:",
    ]
    for tool in tools:
        parameters = json.encode(_simple(tool.parameters, SCHEMA_DEPTH_MAX)).decode()
        lines.append(f"- {tool.name}: {tool.description.strip()} args: {parameters}")
    return "\n".join(lines)


def transcribe(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Tell a conversation with calls and results as text, in the shapes of this mode."""
    told: list[ChatMessage] = []
    for message in messages:
        if message.role == "assistant" and message.tool_calls:
            actions = [
                json.encode({"tool": call.name, "args": dict(call.arguments)}).decode()
                for call in message.tool_calls
            ]
            told.append(ChatMessage(role="assistant", content="\n".join(actions)))
        elif message.role == "tool":
            _tell_result(told, message)
        else:
            told.append(message)
    return told


def with_prompt(messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]) -> list[ChatMessage]:
    """Add the explanation of this mode to the system prompt."""
    text = action_prompt(tools)
    if messages and messages[0].role == "system":
        first = replace(messages[0], content=f"{messages[0].content}\n\n{text}")
        return [first, *messages[1:]]
    return [ChatMessage(role="system", content=text), *messages]


def read_action(text: str, tools: OfferedTools) -> Action:
    """Read a reply of this mode; never raises.

    A server that ignores the schema lets the model say more than the object, and in other
    spellings: what has the shape of a call of an offered tool is one.
    """
    found = _object_in(text.strip())
    if found.fault:
        return Action(fault=f"it {found.fault}")
    value = found.value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return Action(fault="it is not a JSON object")
    for name in _FINAL:
        if name in value and "tool" not in value:
            return Action(final=_text(value[name]), is_repaired=found.is_repaired)
    calls = shaped(value, tools, lenient=True)
    if calls is None:
        return Action(fault='it has neither "tool" with "args" nor "final"')
    first = calls[0]
    if not isinstance(first.arguments, dict):
        return Action(fault='"args" is not a JSON object')
    spec = tools.find(first.name)
    if spec is None and first.name.lower() in _FINAL:
        return Action(final=_text(next(iter(first.arguments.values()), "")))
    return Action(
        call=ToolCall(
            name=spec.name if spec is not None else first.name, arguments=first.arguments
        ),
        is_repaired=found.is_repaired,
    )


def _object_in(text: str) -> Loose:
    """Read a text that is an object, or holds one."""
    found = read_value(text)
    if not found.fault:
        return found
    start = text.find("{")
    end = end_of_value(text, start) if start >= 0 else None
    return found if end is None else read_value(text[start:end])


def _tell_result(told: list[ChatMessage], message: ChatMessage) -> None:
    """Tell a result as the user's; several of one turn share a message, as some templates want."""
    text = f"Result of {message.tool_name or 'the tool'}:\n{message.content}"
    last = told[-1] if told else None
    if last is not None and last.role == "user" and last.content.startswith("Result of "):
        told[-1] = replace(last, content=f"{last.content}\n\n{text}")
    else:
        told.append(ChatMessage(role="user", content=text))


def _one(tool: ToolSpec) -> dict[str, Any]:
    arguments = _simple(tool.parameters, SCHEMA_DEPTH_MAX)
    return {
        "type": "object",
        "properties": {
            "tool": {"type": "string", "enum": [tool.name]},
            "args": arguments or {"type": "object"},
        },
        "required": ["tool", "args"],
        "additionalProperties": False,
    }


def _simple(schema: Any, depth: int) -> Any:  # noqa: ANN401  a JSON Schema
    """Keep what every grammar knows; what is left out only binds less, and is checked anyway."""
    if not isinstance(schema, Mapping) or depth == 0 or "$ref" in schema:
        return {}
    kept: dict[str, Any] = {name: schema[name] for name in _KEPT if name in schema}
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        kept["properties"] = {name: _simple(inner, depth - 1) for name, inner in properties.items()}
    elif "required" in kept:
        del kept["required"]
    if "items" in schema:
        kept["items"] = _simple(schema["items"], depth - 1)
    for name in ("anyOf", "oneOf"):
        choices = schema.get(name)
        if isinstance(choices, list):
            kept["anyOf"] = [_simple(choice, depth - 1) for choice in choices]
    return kept


def _text(value: Any) -> str:  # noqa: ANN401  JSON
    return value if isinstance(value, str) else json.encode(value).decode()
