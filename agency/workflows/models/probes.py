"""The small tasks by which a model is checked: what is asked, and what counts as right. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.ports.model import ChatMessage, ChatReply, ChatRequest, ToolSpec, Urgency

TOKENS_MAX = 1024
"""Longest answer of a probe; those of models that think aloud need most of it for the thought."""

RECALL_TOKENS_MAX = 6000
"""Longest prompt of a probe: on a small machine reading it takes a minute or two."""

RECALL_TOKENS_USUAL = 2000
"""Longest prompt when nobody tells how long the context is."""

SHORT_CHARACTERS_MAX = 300
"""An answer that was asked for as a number or a word; some models say a sentence around it."""

CHARACTERS_PER_TOKEN = 4.0
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One task.

    Attributes:
        name: Unique; that of the recorded step.
        score: Which score it counts for: a field of `agency.domain.fitness.Fitness`.
        is_right: Judges the reply.
        needs: Capability without which it cannot be done, or empty.
    """

    name: str
    score: str
    messages: Sequence[ChatMessage]
    is_right: Callable[[ChatReply], bool]
    tools: Sequence[ToolSpec] = ()
    schema: Mapping[str, Any] | None = None
    needs: str = ""
    prompt_tokens: int = field(default=0)

    def request(self, model: str, turn_key: str) -> ChatRequest:
        """Make the request; the same model with the same weights answers it the same way."""
        return ChatRequest(
            model=model,
            messages=self.messages,
            tools=self.tools,
            response_schema=self.schema,
            tokens_max=TOKENS_MAX,
            temperature=0.0,
            seed=SEED,
            urgency=Urgency.BACKGROUND,
            turn_key=turn_key,
        )


WEATHER = ToolSpec(
    name="get_weather",
    description="Tell the current weather of a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city."},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "unit"],
    },
)

EMAIL = ToolSpec(
    name="send_email",
    description="Send an email to somebody.",
    parameters={
        "type": "object",
        "properties": {
            "to": {"type": "string", "description": "Address of who gets it."},
            "subject": {"type": "string"},
            "body": {"type": "string"},
        },
        "required": ["to", "subject", "body"],
    },
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "languages": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "languages"],
    "additionalProperties": False,
}

VERDICT = {
    "type": "object",
    "properties": {
        "sentiment": {"type": "string", "enum": ["positive", "negative", "neutral"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["sentiment", "stars"],
    "additionalProperties": False,
}

_FILLER = (
    "The archive of the town keeps one sheet of paper for each day of the year.",
    "On sheet {n} it says that the market opened late because of the rain.",
    "A clerk has counted {n} carts of hay and a few barrels of salted fish.",
    "Nobody asked for the sheet, and it went back to its shelf in the evening.",
)
_CODES = ("4719", "8362")


def probes(context_tokens: int | None) -> Sequence[Probe]:
    """List the probes for a model whose context is so long, None when nobody knows."""
    return (*_answers(), *_schemas(), *_tool_calls(), *_tool_choices(), *_recalls(context_tokens))


def _answers() -> Sequence[Probe]:
    return (
        Probe(
            name="answers_word",
            score="answers",
            messages=[_user("Answer with the one word: blue")],
            is_right=lambda reply: _words(reply.content) == ["blue"],
        ),
        Probe(
            name="answers_sum",
            score="answers",
            messages=[_user("How much is 17 + 25? Answer with the number alone.")],
            is_right=lambda reply: _ends_with_number(reply.content, "42"),
        ),
    )


def _schemas() -> Sequence[Probe]:
    text = "Maria is 34 years old. She speaks Spanish and French."
    review = "The lamp broke after a day, and nobody answers my letters. Never again, one star."

    def is_maria(value: Mapping[str, Any]) -> bool:
        spoken = value.get("languages")
        languages = {str(one).lower() for one in (spoken if isinstance(spoken, list) else ())}
        return (
            "maria" in str(value.get("name")).lower()
            and value.get("age") == 34
            and languages == {"spanish", "french"}
        )

    return (
        Probe(
            name="schema_person",
            score="schema",
            messages=[_user(f"Take the facts out of this text: {text}")],
            schema=PERSON,
            is_right=lambda reply: is_maria(_value(reply)),
        ),
        Probe(
            name="schema_review",
            score="schema",
            messages=[_user(f"Judge this review: {review}")],
            schema=VERDICT,
            is_right=lambda reply: _value(reply) == {"sentiment": "negative", "stars": 1},
        ),
    )


def _tool_calls() -> Sequence[Probe]:
    def calls_for(city: str, unit: str) -> Callable[[ChatReply], bool]:
        return lambda reply: _is_call(
            reply, "get_weather", city=lambda text: city in text.lower(), unit=unit.__eq__
        )

    asked = "What is the weather in {} now, in {}? Use the tool."
    return tuple(
        Probe(
            name=f"tool_call_{city}",
            score="tool_call",
            messages=[_user(asked.format(city.title(), unit))],
            tools=[WEATHER],
            needs="tools",
            is_right=calls_for(city, unit),
        )
        for city, unit in (("paris", "celsius"), ("chicago", "fahrenheit"))
    )


def _tool_choices() -> Sequence[Probe]:
    return (
        Probe(
            name="tool_choice_email",
            score="tool_choice",
            messages=[_user("Tell anna@example.org by email that the meeting is at noon.")],
            tools=[WEATHER, EMAIL],
            needs="tools",
            is_right=lambda reply: _is_call(
                reply, "send_email", to=lambda text: "anna@example.org" in text.lower()
            ),
        ),
        Probe(
            name="tool_choice_weather",
            score="tool_choice",
            messages=[_user("Do I need an umbrella in Oslo now? Think in celsius.")],
            tools=[EMAIL, WEATHER],
            needs="tools",
            is_right=lambda reply: _is_call(
                reply, "get_weather", city=lambda text: "oslo" in text.lower()
            ),
        ),
    )


def _recalls(context_tokens: int | None) -> Sequence[Probe]:
    """Hide a number early in a prompt of half the length, and late in one of the whole length."""
    room = context_tokens // 2 if context_tokens else RECALL_TOKENS_USUAL
    longest = min(RECALL_TOKENS_MAX, room)

    def finds(code: str) -> Callable[[ChatReply], bool]:
        return lambda reply: _ends_with_number(reply.content, code)

    return tuple(
        Probe(
            name=f"recall_{place}",
            score="recall",
            messages=[_user(_long_text(tokens, share, code))],
            is_right=finds(code),
            prompt_tokens=tokens,
        )
        for place, tokens, share, code in (
            ("early", longest // 2, 0.15, _CODES[0]),
            ("late", longest, 0.7, _CODES[1]),
        )
    )


def _long_text(tokens: int, share: float, code: str) -> str:
    """Write about ``tokens`` tokens with a number hidden at ``share`` of the length."""
    secret = f"The number of the blue door is {code}."
    question = "What is the number of the blue door? Answer with the number alone."
    lines: list[str] = []
    size, number = 0, 0
    wanted = tokens * CHARACTERS_PER_TOKEN
    is_hidden = False
    while size < wanted:
        if not is_hidden and size >= share * wanted:
            lines.append(secret)
            is_hidden = True
        line = _FILLER[number % len(_FILLER)].format(n=number)
        lines.append(line)
        size += len(line) + 1
        number += 1
    if not is_hidden:
        lines.append(secret)
    return "\n".join(["Read this text.", *lines, question])


def _user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _ends_with_number(text: str, number: str) -> bool:
    """Tell whether a short answer ends with a number; one that repeats the question is long."""
    is_short = len(text) <= SHORT_CHARACTERS_MAX
    return is_short and re.findall(r"\d+", text)[-1:] == [number]


def _value(reply: ChatReply) -> Mapping[str, Any]:
    """Read an answer as an object; an empty one stands for anything else."""
    try:
        value = json.decode(reply.content)
    except json.NotJson:
        return {}
    return value if isinstance(value, dict) else {}


def _is_call(reply: ChatReply, name: str, **wanted: Callable[[str], bool]) -> bool:
    if len(reply.tool_calls) != 1 or reply.tool_calls[0].name != name:
        return False
    arguments = reply.tool_calls[0].arguments
    return all(
        isinstance(arguments.get(key), str) and bool(is_right(arguments[key]))
        for key, is_right in wanted.items()
    )
