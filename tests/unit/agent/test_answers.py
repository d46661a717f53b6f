"""Answers that must obey a schema."""

from __future__ import annotations

from typing import Any

import pytest

from agency.ports.model import ChatRequest, ToolCall, ToolSpec
from agency.workflows.agent.calls.answers import AnswerReader, request_answer, unfit
from agency.workflows.agent.calls.checking import Checker, fault_of_schema
from tests.unit.agent.offers import asked

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ANN = {"name": "Ann", "age": 7}

READ: dict[str, tuple[dict[str, Any], str, Any]] = {
    "as wanted": (PERSON, '{"name": "Ann", "age": 7}', ANN),
    "fenced": (PERSON, '```json\n{"name": "Ann", "age": 7}\n```', ANN),
    "with words": (PERSON, 'Here it is: {"name": "Ann", "age": 7}. Bye!', ANN),
    "thought before": (PERSON, '<think>{"name": "Bob"}</think>{"name": "Ann", "age": 7}', ANN),
    "broken": (PERSON, '{"name": "Ann", "age": 7,}', ANN),
    "number as text": (PERSON, '{"name": "Ann", "age": "7"}', ANN),
    "key in capitals": (PERSON, '{"Name": "Ann", "age": 7}', ANN),
    "list": ({"type": "array", "items": {"type": "integer"}}, '["1", 2]', [1, 2]),
    "one of a list": ({"type": "array", "items": {"type": "string"}}, '"a"', ["a"]),
    "number": ({"type": "integer"}, "42", 42),
    "number in a text": ({"type": "integer"}, '"42"', 42),
    "text without quotes": ({"type": "string"}, "Hello there", "Hello there"),
    "choice": ({"enum": ["yes", "no"]}, '"YES"', "yes"),
    "reference": (
        {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}},
        '["3"]',
        [3],
    ),
    "anything": ({}, '{"a": null}', {"a": None}),
}


@pytest.mark.parametrize("name", READ)
def test_answer_is_read(name: str) -> None:
    schema, text, wanted = READ[name]

    answer = AnswerReader(schema, Checker()).read(text)

    assert [] == list(answer.faults)
    assert wanted == answer.value


@pytest.mark.parametrize(
    ("schema", "text", "fault"),
    [
        (PERSON, '{"name": "Ann"}', "'age' is a required property"),
        (PERSON, "Ann is seven.", "no JSON"),
        (PERSON, '{"name": "Ann", "age": 7', "cut off"),
        (PERSON, '{"name": "Ann", "age": "old"}', "/age: 'old' is not of type 'integer'"),
        ({"type": "array"}, '{"a": 1}', "is not of type 'array'"),
        (PERSON, "", "is empty"),
        (PERSON, "[" * 50_000, ""),
    ],
    ids=["member missing", "words", "cut off", "word for a number", "kind", "nothing", "hostile"],
)
def test_what_is_wrong_is_told_with_its_place(
    schema: dict[str, Any], text: str, fault: str
) -> None:
    answer = AnswerReader(schema, Checker()).read(text)

    assert fault in answer.faults[0]
    assert "answer/" not in answer.faults[0]


def test_request_has_the_schema_and_no_tools() -> None:
    request: ChatRequest = request_answer(asked(), PERSON)

    assert () == tuple(request.tools)
    assert PERSON == request.response_schema


def test_failure_says_what_is_wrong() -> None:
    answer = AnswerReader(PERSON, Checker()).read("{}")

    error = unfit("weak", "{}", answer)

    assert "model_answer_unfit" == error.code
    assert "required" in error.fault
    assert "{}" == error.text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": {"a": {"type": 3}}},
        {"$ref": "http://127.0.0.1:9/other"},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "(a+)+$"},
        {"patternProperties": {"(a|a)*$": {}}, "additionalProperties": False},
    ],
    ids=["type", "inner", "elsewhere", "nowhere", "broken", "endless", "endless_names"],
)
def test_schema_that_cannot_be_checked_is_told(schema: dict[str, Any]) -> None:
    assert fault_of_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$ref": "#"},
        {"$defs": {"a": {"type": "string"}}, "items": {"$ref": "#/$defs/a"}},
        {"$id": "https://example.com/x", "$defs": {"a": {}}, "items": {"$ref": "#/$defs/a"}},
        {"const": {"$ref": "http://elsewhere", "pattern": "("}},
        {"type": "string", "pattern": "^[a-z]+$"},
    ],
    ids=["any", "self", "inner", "named", "value", "pattern"],
)
def test_schema_that_can_be_checked_has_no_fault(schema: dict[str, Any]) -> None:
    assert "" == fault_of_schema(schema)


def test_patterns_for_names_cannot_hold_up_the_check() -> None:
    spec = ToolSpec(
        name="t",
        description="",
        parameters={"patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
    )

    checked = Checker().check(ToolCall(name="t", arguments={"a" * 40 + "!": 1}), spec)

    assert () == tuple(checked.faults)
