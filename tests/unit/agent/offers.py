"""Tools and replies for the tests of reading, checking and the ladder."""

from __future__ import annotations

from typing import Any

from agency.ports.model import ChatMessage, ChatReply, ChatRequest, ToolCall, ToolSpec

READ = ToolSpec(
    name="read_file",
    description="Read a text file of the workspace.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "lines": {"type": "integer", "minimum": 1},
            "encoding": {"type": "string", "enum": ["utf-8", "latin-1"]},
        },
        "required": ["path"],
    },
)
WRITE = ToolSpec(
    name="write_file",
    description="Write a text file.",
    parameters={
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
        "additionalProperties": False,
    },
)
SHELL = ToolSpec(
    name="shell",
    description="Run a command.",
    parameters={
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
)
NOW = ToolSpec(name="now", description="Tell the time.", parameters={"type": "object"})
TAG = ToolSpec(
    name="tag",
    description="Tag things.",
    parameters={
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}},
            "options": {
                "type": "object",
                "properties": {"deep": {"type": "boolean"}, "level": {"type": "number"}},
            },
            "sign": {"type": "string", "enum": ["<", ">"]},
        },
    },
)
TOOLS = (READ, WRITE, SHELL, NOW, TAG)


def said(content: str, *calls: ToolCall, ended_by: str = "stop", thinking: str = "") -> ChatReply:
    return ChatReply(
        content=content,
        model="weak",
        provider="played",
        tool_calls=calls,
        ended_by=ended_by,
        thinking=thinking,
    )


def called(name: str, id: str = "", **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, id=id)


def asked(*tools: ToolSpec, **more: Any) -> ChatRequest:
    messages = [
        ChatMessage(role="system", content="You are an agent."),
        ChatMessage(role="user", content="Do it."),
    ]
    return ChatRequest(model="weak", messages=messages, tools=tools or TOOLS, **more)
