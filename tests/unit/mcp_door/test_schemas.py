from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from agency.domain.content import CONTENT_SCHEMA
from agency.mcp.schemas import fits, input_of, input_schema, output_schema, structured

MONEY = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
LISTED = {"type": "array", "items": {"$ref": "#/$defs/Money"}, "$defs": {"Money": MONEY}}


def test_object_is_taken_as_it_is_without_what_the_tool_says_itself() -> None:
    schema = {
        **MONEY,
        "properties": {"sum": {"type": "integer"}, "agent": {"type": "string"}},
        "required": ["sum", "agent"],
    }

    made = input_schema(schema, without=frozenset({"agent"}))

    assert made["properties"] == {"sum": {"type": "integer"}}
    assert made["required"] == ["sum"]
    assert input_of(schema, {"sum": 1}) == {"sum": 1}


def test_what_is_no_object_stands_in_one_and_its_references_still_lead_somewhere() -> None:
    made = input_schema(LISTED)

    jsonschema.Draft202012Validator.check_schema(made)
    assert fits(made, {"input": [{"sum": 1}]})
    assert not fits(made, {"input": [{"sum": "1"}]})
    assert not fits(made, {})
    assert input_of(LISTED, {"input": [{"sum": 1}]}) == [{"sum": 1}]


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        (MONEY, {"sum": 1}),
        (LISTED, [{"sum": 1}]),
        ({"type": "string"}, "text"),
        ({"type": "null"}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
    ],
    ids=["object", "list", "text", "nothing", "either"],
)
def test_structured_output_fits_the_schema_of_its_tool(schema: Any, output: Any) -> None:
    made = output_schema(schema)

    assert made is not None
    assert made["type"] == "object"
    assert fits(made, structured(output))


def test_place_of_a_run_fits_the_schema_of_every_tool() -> None:
    made = output_schema(MONEY)

    assert made is not None
    assert fits(made, {"run_id": "r", "status": "running", "uri": "agency://runs/r"})
    assert not fits(made, {"total": 1})


def test_tool_that_may_give_anything_or_gives_content_has_no_output_schema() -> None:
    assert output_schema({}) is None
    assert output_schema(CONTENT_SCHEMA) is None
