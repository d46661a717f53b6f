"""Answers that must obey a schema: asked for twice over, read leniently, checked strictly.

The schema is in the prompt and in ``format``: a grammar binds the sampling without telling the
model what is wanted, so that it fills the shape with nonsense (ollama/ollama#8993), and some models
ignore the grammar (ollama/ollama#14645). Hence whatever comes is read, mended where there is no
doubt, coerced where it is harmless, and checked. What does not fit is asked for again with its
faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from agency.core.records import dataclass
from agency.errors import ModelAnswerUnfit
from agency.ports.model import ChatRequest, ToolCall, ToolSpec
from agency.workflows.agent.calls.checking import Checker
from agency.workflows.agent.calls.loose import Loose, end_of_value, read_value
from agency.workflows.agent.calls.reading import split_thinking

ASKS_MAX = 3
"""An answer is asked for so often: once, and twice again."""

SAID_CHARACTERS_MAX = 4_000
"""Of an unfit answer that is told with the failure."""

_KEY = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was read; usable when there are no faults.

    Attributes:
        value: JSON value.
        coerced: What was changed, in words.
        is_repaired: It was not JSON as it stood.
        faults: One sentence each, with the place first.
    """

    value: Any = None
    coerced: Sequence[str] = field(default=())
    is_repaired: bool = False
    faults: Sequence[str] = field(default=())


class AnswerReader:
    """Reads answers to one schema."""

    def __init__(self, schema: Mapping[str, Any], checker: Checker) -> None:
        """Prepare; ``checker`` may be shared."""
        self.schema = schema
        self._checker = checker
        self._object = ToolSpec(name=_KEY, description="", parameters=schema)
        self._any = _wrapped(schema)

    def read(self, text: str) -> Answer:
        """Read an answer; never raises. Thinking, fences and words around it are left out."""
        said, _ = split_thinking(text)
        found = _value_in(said.strip(), self.schema)
        if found.fault:
            return Answer(faults=[f"/: the answer {found.fault}"])
        if isinstance(found.value, dict):
            call = ToolCall(name=_KEY, arguments=found.value)
            checked = self._checker.check(call, self._object)
            value: Any = checked.arguments
        else:
            # Changes are made inside of an object, so that a bare value is put into one.
            call = ToolCall(name=_KEY, arguments={_KEY: found.value})
            checked = self._checker.check(call, self._any)
            value = checked.arguments.get(_KEY)
        return Answer(
            value=value,
            coerced=[_own_place(one) for one in checked.coerced],
            is_repaired=found.is_repaired,
            faults=[_own_place(one) for one in checked.faults],
        )


def request_answer(base: ChatRequest, schema: Mapping[str, Any]) -> ChatRequest:
    """Shape a request for an answer: without tools, bound to the schema, and the schema told.

    Providers that send ``response_schema`` write it into the system prompt themselves.
    """
    return replace(base, tools=(), response_schema=dict(schema))


def unfit(model: str, text: str, answer: Answer) -> ModelAnswerUnfit:
    """Make the failure after the last try."""
    fault = "; ".join(answer.faults)
    return ModelAnswerUnfit(
        f"The model {model!r} was asked {ASKS_MAX} times, and no answer obeys the schema: {fault}.",
        text=text[:SAID_CHARACTERS_MAX],
        fault=fault,
        hint="Make the schema simpler, describe its members, or choose a stronger model.",
    )


def _value_in(text: str, schema: Mapping[str, Any]) -> Loose:
    """Find the value in a text: all of it, in a fence, or the first object or list."""
    found = read_value(text)
    if not found.fault:
        return found
    if _takes_text(schema):
        return Loose(value=text, is_repaired=True) if text else found
    fenced = text.partition("```")[2]
    if fenced:
        body = fenced.partition("\n")[2].partition("```")[0]
        inside = read_value(body)
        if not inside.fault:
            return replace(inside, is_repaired=True)
    starts = [place for sign in "{[" if (place := text.find(sign)) >= 0]
    for start in sorted(starts):
        end = end_of_value(text, start)
        if end is not None:
            inside = read_value(text[start:end])
            if not inside.fault:
                return replace(inside, is_repaired=True)
    return found


def _takes_text(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string"


def _wrapped(schema: Mapping[str, Any]) -> ToolSpec:
    """Make an object of one member that is the answer; references to definitions stay right."""
    shared = {name: schema[name] for name in ("$defs", "definitions", "$schema") if name in schema}
    outer = {**shared, "type": "object", "properties": {_KEY: schema}, "required": [_KEY]}
    return ToolSpec(name=_KEY, description="", parameters=outer)


def _own_place(text: str) -> str:
    place, sign, rest = text.partition(": ")
    if place == f"/{_KEY}" or place.startswith(f"/{_KEY}/"):
        place = place.removeprefix(f"/{_KEY}") or "/"
    return f"{place}{sign}{rest}"
