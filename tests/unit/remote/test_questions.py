"""What agents elsewhere ask, and the schemas that come with it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.workflows.remote.questions import (
    DATA_BYTES_MAX,
    SCHEMA_BYTES_MAX,
    schema_in,
    shown_data,
    url_in,
)

KEYWORDS = (
    "type", "properties", "items", "required", "enum", "anyOf", "pattern", "$ref", "minimum",
    "maxLength", "format", "additionalProperties", "x",
)  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
VALUES = st.recursive(
    PLAIN | st.sampled_from(["string", "object", "array"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_whatever_comes_a_schema_that_is_kept_is_one(value: Any) -> None:
    found = schema_in({"schema": value})

    if found is not None:
        jsonschema.Draft202012Validator.check_schema(found)


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "string", "pattern": "(a+)+$"}, {"type": "string"}),
        ({"$ref": "http://169.254.169.254/"}, {}),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "x-y": 1}, "b": 7}},
            {"type": "object", "properties": {"a": {"type": "integer"}}},
        ),
        ({"items": {"enum": [1, 2]}, "minItems": -1}, {"items": {"enum": [1, 2]}}),
        ({"anyOf": [{"type": "null"}, {"const": 1}]}, {"anyOf": [{"type": "null"}, {"const": 1}]}),
    ],
    ids=["pattern", "reference", "members", "items", "choices"],
)
def test_only_what_costs_nothing_is_kept(schema: dict[str, Any], kept: dict[str, Any]) -> None:
    assert kept == schema_in({"schema": schema})


def test_approval_is_answered_by_one_of_its_options() -> None:
    data = {"options": ["approve", "deny"], "schema": {"type": "object"}}

    assert {"type": "string", "enum": ["approve", "deny"]} == schema_in(data)


@pytest.mark.parametrize("data", [None, [], "x", {}, {"schema": "string"}, {"schema": None}])
def test_question_without_a_schema_takes_anything(data: Any) -> None:
    assert schema_in(data) is None


def test_huge_schemas_and_values_are_left_out() -> None:
    assert schema_in({"schema": {"description": "x" * SCHEMA_BYTES_MAX}}) is None
    assert shown_data({"x": "y" * DATA_BYTES_MAX}) is None
    assert {"x": 1} == shown_data({"x": 1})


def test_deep_schema_is_cut() -> None:
    deep: dict[str, Any] = {"type": "array"}
    for _ in range(50):
        deep = {"type": "array", "items": deep}

    found = schema_in({"schema": deep})

    depth = 0
    while found:
        found, depth = found.get("items"), depth + 1
    assert depth < 20


@pytest.mark.parametrize(
    ("data", "url"),
    [
        ({"url": "https://login.example/x"}, "https://login.example/x"),
        ({"url": "javascript:alert(1)"}, ""),
        ({"url": 7}, ""),
        ({"url": "https://" + "x" * 5000}, ""),
        (None, ""),
    ],
    ids=["good", "script", "number", "long", "none"],
)
def test_only_addresses_are_shown_to_log_in_at(data: Any, url: str) -> None:
    assert url == url_in(data)
