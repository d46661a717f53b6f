"""Values made up for JSON Schemas; ``jsonschema`` itself judges them."""

from __future__ import annotations

import enum
from typing import Any

import jsonschema
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.errors import ModelRefused
from agency.models.rehearsal.instance import make_instance
from agency.models.rehearsal.pattern import matching_texts


def judge(schema: Any) -> Any:
    value = make_instance(schema)
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    kind(schema).validate(value)
    return value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, "rehearsal"),
        ({}, "rehearsal"),
        ({"type": "string"}, "rehearsal"),
        ({"type": "string", "maxLength": 3}, "reh"),
        ({"type": "string", "maxLength": 0}, ""),
        ({"type": "string", "minLength": 11}, "rehearsal.."),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMaximum": -3.5}, -4),
        ({"type": "integer", "minimum": 10, "multipleOf": 7}, 14),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "minimum": 0.21, "maximum": 0.3, "multipleOf": 0.05}, 0.25),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["null", "string"]}, None),
        ({"const": {"a": [1]}}, {"a": [1]}),
        ({"enum": ["red", "green"]}, "red"),
        ({"enum": ["red", 7], "type": "integer"}, 7),
        ({"type": "string", "default": "x"}, "x"),
        ({"type": "string", "default": 7}, "rehearsal"),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
         [1, 2, 3]),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "items": False, "minItems": 2}, [1, 2]),
        ({"type": "array", "contains": {"const": 5}, "minContains": 2}, [5, 5]),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]},
         {"a": None}),
        ({"type": "object", "required": ["x"]}, {"x": "rehearsal"}),
        ({"type": "object", "minProperties": 1, "properties": {"a": {"const": 1}}}, {"a": 1}),
        ({"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]}, "re"),
        ({"anyOf": [False, {"type": "null"}]}, None),
        ({"oneOf": [{"type": "integer"}, {"type": "integer", "minimum": 5}]}, 0),
        ({"allOf": [{"minimum": 3}, {"type": "integer"}, {"maximum": 4}]}, 3),
        ({"type": "integer", "not": {"const": 0}}, 1),
        ({"if": {"type": "integer"}, "then": {"minimum": 9}, "type": "integer"}, 9),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"const": 1}}}, 1),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"const": 1}}}, 1),
        ({"$ref": "#here", "$defs": {"n": {"$anchor": "here", "const": 1}}}, 1),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "string", "pattern": "^[A-Z]{3}-\\d{2}$"}, "AAA-00"),
        ({"type": "string", "pattern": "^a+$", "minLength": 5}, "aaaaa"),
    ],
)  # fmt: skip
def test_small_value_is_made(schema: Any, value: Any) -> None:
    assert judge(schema) == value


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "minProperties": 3,
            "patternProperties": {"^x_[0-9]+$": {"type": "integer"}},
            "additionalProperties": False,
        },
        {"type": "object", "minProperties": 2, "propertyNames": {"maxLength": 3}},
        {
            "type": "object",
            "properties": {"a": {}, "b": {"type": "integer"}},
            "required": ["a"],
            "dependentRequired": {"a": ["b"]},
        },
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": [{"type": "integer"}, {"type": "string"}],
            "additionalItems": {"type": "null"},
            "type": "array",
            "minItems": 4,
        },
        {
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
            "properties": {"a": False, "b": {"type": "string"}},
            "type": "object",
        },
        {
            "allOf": [
                {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            ]
        },
        {"type": "array", "items": {"type": "string"}, "minItems": 20, "uniqueItems": True},
    ],
)
def test_value_obeys_a_schema_of_several_parts(schema: Any) -> None:
    judge(schema)


def test_recursive_schema_gives_its_shallowest_value() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["next"],
    }

    assert judge({"$ref": "#/$defs/node", "$defs": {"node": node}}) == {"next": None}


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "string", "minLength": 1 << 40},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.org/elsewhere"},
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {
            "$defs": {
                "n": {
                    "type": "object",
                    "anyOf": [{"properties": {k: {"$ref": "#/$defs/n"}}, "required": [k]}
                              for k in "abc"],
                }
            },
            "$ref": "#/$defs/n",
        },
        {"type": "string", "pattern": "((a+)+)+b(?=never)"},
        {"type": 7},
        {"type": "string", "pattern": "["},
    ],
)  # fmt: skip
def test_schema_that_cannot_be_served_is_refused_in_a_bounded_time(schema: Any) -> None:
    with pytest.raises(ModelRefused):
        make_instance(schema)


class Colour(enum.StrEnum):
    RED = "red"


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=5)
    price: float = pydantic.Field(gt=0, lt=1)
    colour: Colour
    parts: list[Item] = []


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    id: int = pydantic.Field(ge=100)
    code: str = pydantic.Field(pattern=r"^[A-Z]{2}\d{4}$")
    items: list[Item] = pydantic.Field(min_length=1, max_length=3)
    note: str | None
    best: Item | Colour
    place: tuple[int, str]
    more: dict[str, int]


def test_value_for_a_pydantic_model_is_taken_by_it() -> None:
    Order.model_validate(judge(Order.model_json_schema()))


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(st.integers(-50, 50), st.integers(0, 20))
    return st.one_of(
        st.sampled_from([{"type": "null"}, {"const": "x"}, {"enum": [1, "a"]}]),
        bounds.map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[0] + b[1]}),
        bounds.map(lambda b: {"type": "number", "exclusiveMinimum": b[0],
                              "exclusiveMaximum": b[0] + b[1] + 0.25}),
        st.tuples(st.integers(0, 30), st.integers(0, 20)).map(
            lambda b: {"type": "string", "minLength": b[0], "maxLength": b[0] + b[1]}
        ),
        st.sampled_from([r"^\d{3}$", "^(ab|cd)+x?$", r"^[^a-f]\w*$", "q"]).map(
            lambda pattern: {"type": "string", "pattern": pattern}
        ),
    )  # fmt: skip


def nested(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(st.sampled_from("abcd"), parts, max_size=4)
    objects = st.tuples(properties, st.booleans()).map(
        lambda p: {
            "type": "object",
            "properties": p[0],
            "required": sorted(p[0])[::2],
            "additionalProperties": p[1],
        }
    )
    lists = st.tuples(parts, st.integers(0, 3)).map(
        lambda p: {"type": "array", "items": p[0], "minItems": p[1], "maxItems": p[1] + 1}
    )
    ways = st.lists(parts, min_size=1, max_size=3).map(lambda ways: {"anyOf": ways})
    joined = parts.map(lambda part: {"allOf": [{}, part, {"$comment": "nothing more"}]})
    referred = parts.map(lambda part: {"allOf": [part]})
    return st.one_of(objects, lists, ways, joined, referred)


@settings(max_examples=150, deadline=None)
@given(st.recursive(leaves(), nested, max_leaves=8))
def test_any_schema_that_can_be_met_is_met_twice_the_same(schema: dict[str, Any]) -> None:
    assert judge(schema) == make_instance(schema)


@given(st.from_regex(r"[a-c]{0,3}(x|y)?[0-9]*", fullmatch=True))
def test_text_for_a_literal_pattern_is_that_text(text: str) -> None:
    assert next(matching_texts(f"^{text}$")) == text
