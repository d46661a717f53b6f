"""What the rehearsal says when no script tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agency.core import json
from agency.models.rehearsal.instance import make_instance
from agency.models.rehearsal.script import Rule, last_user_message
from agency.models.schema import AnswerSchema
from agency.ports.model import ChatRequest, ToolCall, ToolSpec

LABEL = "Rehearsal, no language model was asked."

_USE_TOOL = re.compile(r"\buse\s+(?:the\s+)?tool\s+[`'\"]?([\w.:-]*\w)[`'\"]?(.*)", re.I | re.S)


def own_answer(request: ChatRequest) -> Rule:
    """Decide the answer to ``request``: the same request has the same answer.

    In this order: a value for the response schema; what the tools gave back, when the last messages
    are results; a tool call, when the message asks for it (``use the tool add with {"a": 1}``);
    else the question, echoed.

    Raises:
        ModelRefused: nothing obeys the response schema.
    """
    place = "the rehearsal's own answer"
    if request.response_schema is not None:
        value = make_instance(request.response_schema)
        return Rule(place=place, reply=json.encode(value).decode())
    results = _results(request)
    if results:
        return Rule(place=place, reply=f"{LABEL} {results}")
    message = last_user_message(request)
    call = _wanted_call(request, message)
    if call is not None:
        return Rule(place=place, tool_calls=(call,))
    asked = f"You said: {message}" if message else "You said nothing."
    return Rule(place=place, reply=f"{LABEL} {asked}")


def _results(request: ChatRequest) -> str:
    results: list[str] = []
    for message in reversed(request.messages):
        if message.role != "tool":
            break
        named = f"The tool {message.tool_name}" if message.tool_name else "A tool"
        results.append(f"{named} answered: {message.content}")
    return "\n".join(reversed(results))


def _wanted_call(request: ChatRequest, message: str) -> ToolCall | None:
    found = _USE_TOOL.search(message)
    if found is None:
        return None
    for tool in request.tools:
        if tool.name.lower() == found[1].lower():
            return ToolCall(name=tool.name, arguments=_arguments(tool, found[2]))
    return None


def _arguments(tool: ToolSpec, text: str) -> Mapping[str, Any]:
    begin, end = text.find("{"), text.rfind("}")
    if 0 <= begin < end:
        try:
            given = json.decode(text[begin : end + 1])
        except json.NotJson:
            given = None
        # What the message gives is taken only if the tool would take it; a model is no kinder.
        if isinstance(given, dict) and AnswerSchema(tool.parameters).fault(given) is None:
            return given
    made = make_instance({"type": "object", "allOf": [tool.parameters]})
    assert isinstance(made, dict)
    return made
