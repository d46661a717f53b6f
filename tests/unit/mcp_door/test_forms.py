"""Waits as forms of MCP: what is asked for field by field, and what is read back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, Field

from agency.domain.run import Run, RunKind, RunStatus
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.engine.questions import approval_id, schema_of
from agency.errors import InvalidInput
from agency.mcp.forms import answer_of, denial, form_of, forms_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Flat(BaseModel):
    name: str = Field(min_length=2, description="Yours")
    age: int | None = None
    colour: Colour
    score: float = 0.5
    ok: bool


class Nested(BaseModel):
    flat: Flat


@dataclass
class Point:
    x: int
    y: int


def wait_for(schema: Any, **changes: Any) -> Wait:
    given: dict[str, Any] = {
        "key": "input#1",
        "kind": WaitKind.INPUT,
        "name": "input",
        "due_at": None,
        "show": {"prompt": "Well?", "schema": None if schema is None else schema_of(schema)},
        "target": "",
        "opened_at": NOW,
        "outcome": None,
        "payload": None,
        "resolved_at": None,
        "resolved_number": 0,
    }
    return Wait(**{**given, **changes})


@pytest.fixture
def run() -> Run:
    given: dict[str, Any] = {name: None for name in Run.__dataclass_fields__}
    given |= {
        "id": "01a1fab0-11d4-7fd6-9a5b-198947ceecde",
        "kind": RunKind.FUNCTION,
        "status": RunStatus.SUSPENDED,
        "generation": 0,
    }
    return Run(**given)


def test_flat_model_is_asked_for_field_by_field() -> None:
    form = form_of(wait_for(Flat))

    assert form is not None
    assert "Well?" == form.message
    assert "fields" == form.layout
    assert {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name", "description": "Yours", "minLength": 2},
            "age": {"type": "integer", "title": "Age"},
            "colour": {"type": "string", "title": "Colour", "enum": ["red", "blue"]},
            "score": {"type": "number", "title": "Score", "default": 0.5},
            "ok": {"type": "boolean", "title": "Ok"},
        },
        "required": ["name", "colour", "ok"],
    } == form.schema


@pytest.mark.parametrize(
    ("schema", "kind", "layout"),
    [
        pytest.param(str, "string", "field", id="text"),
        pytest.param(int, "integer", "field", id="integer"),
        pytest.param(bool, "boolean", "field", id="boolean"),
        pytest.param(None, "string", "field", id="anything"),
        pytest.param(Point, "integer", "fields", id="dataclass"),
        pytest.param(Nested, "string", "json", id="nested"),
        pytest.param(list[int], "string", "json", id="list"),
        pytest.param(dict, "string", "json", id="any-object"),
    ],
)
def test_form_has_only_fields_of_plain_types(schema: Any, kind: str, layout: str) -> None:
    form = form_of(wait_for(schema))

    assert form is not None
    assert layout == form.layout
    assert {kind} == {one["type"] for one in form.schema["properties"].values()}


def test_several_of_a_choice_are_one_field() -> None:
    form = form_of(wait_for(list[Colour]))

    assert form is not None
    assert {"type": "string", "enum": ["red", "blue"]} == form.schema["properties"]["answer"][
        "items"
    ]


@pytest.mark.parametrize(
    ("schema", "content", "value"),
    [
        pytest.param(Flat, {"name": "Al", "age": None, "x": 1}, {"name": "Al"}, id="fields"),
        pytest.param(int, {"answer": 3}, 3, id="field"),
        pytest.param(Nested, {"answer": '{"flat": {}}'}, {"flat": {}}, id="json"),
    ],
)
def test_form_is_read_as_the_value_that_was_asked_for(
    run: Run, schema: Any, content: Any, value: Any
) -> None:
    form = form_of(wait_for(schema))
    assert form is not None

    found, request = answer_of(run, form, content, by="ann")

    assert approval_id(run, "input#1") == found
    assert ("answer", "ann", value, True) == (
        request.decision,
        request.by,
        request.value,
        request.has_value,
    )


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        pytest.param(int, {}, id="missing"),
        pytest.param(int, [], id="no-object"),
        pytest.param(Nested, {"answer": "{"}, id="no-json"),
        pytest.param(Nested, {"answer": 3}, id="no-text"),
    ],
)
def test_form_that_is_not_filled_in_is_refused(run: Run, schema: Any, content: Any) -> None:
    form = form_of(wait_for(schema))
    assert form is not None

    with pytest.raises(InvalidInput):
        answer_of(run, form, content, by="ann")


def approval() -> Wait:
    show = {"prompt": "Ship it?", "show": {"sku": "A-1"}, "risk": "high", "approval_id": "a"}
    return wait_for(None, kind=WaitKind.APPROVAL, key="approve#1", show=show)


def test_approval_is_a_choice_below_what_it_is_about(run: Run) -> None:
    form = form_of(approval())

    assert form is not None
    assert 'Ship it?\n\n{"sku":"A-1"}\n\nRisk: high.' == form.message
    assert ["approve", "deny"] == form.schema["properties"]["decision"]["enum"]
    _, request = answer_of(run, form, {"decision": "deny", "comment": "No."}, by="ann")
    assert ("deny", "No.") == (request.decision, request.comment)


def test_approval_shows_all_that_it_is_about() -> None:
    command = "echo " + "x" * 20_000 + "; rm -rf /"
    wait = wait_for(
        None, kind=WaitKind.APPROVAL, show={"prompt": "Run it?", "show": {"command": command}}
    )

    form = form_of(wait)

    assert form is not None
    assert command in form.message


@pytest.mark.parametrize(
    "content", [{}, {"decision": "answer"}, {"decision": "deny", "comment": 3}]
)
def test_approval_takes_no_other_words(run: Run, content: Any) -> None:
    form = form_of(approval())
    assert form is not None

    with pytest.raises(InvalidInput):
        answer_of(run, form, content, by="ann")


def test_declining_denies_an_approval_and_leaves_an_input_open(run: Run) -> None:
    asked, question = form_of(approval()), form_of(wait_for(str))
    assert asked is not None
    assert question is not None

    denied = denial(run, asked, by="ann")

    assert denied is not None
    assert "deny" == denied[1].decision
    assert denial(run, question, by="ann") is None


def test_authorization_elsewhere_is_asked_for_with_its_address(run: Run) -> None:
    show = {"prompt": "Sign in.", "schema": None, "authorization": {"url": "https://a.example/"}}
    form = form_of(wait_for(None, show=show))

    assert form is not None
    assert "Sign in.\n\nhttps://a.example/" == form.message
    assert answer_of(run, form, {"done": True}, by="ann")[1].value is None
    with pytest.raises(InvalidInput):
        answer_of(run, form, {"done": False}, by="ann")


def test_waits_that_nobody_answers_with_a_form_have_none() -> None:
    waits = [
        wait_for(str, outcome=WaitOutcome.ANSWERED),
        wait_for(str, kind=WaitKind.TIMER, show=None, key="timer#1"),
        wait_for(str, kind=WaitKind.DECISION, key="decision#1"),
        wait_for(str, key="open#1"),
    ]

    assert ["open#1"] == list(forms_of(waits))
