"""Which changes to arguments are harmless, and which are left to the model."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.ports.model import ToolCall, ToolSpec
from agency.workflows.agent.calls.checking import Checker
from tests.unit.agent.offers import NOW, READ, SHELL, TAG, WRITE

HARMLESS: dict[str, tuple[ToolSpec, dict[str, Any], dict[str, Any]]] = {
    "text to integer": (READ, {"path": "a", "lines": "3"}, {"path": "a", "lines": 3}),
    "float to integer": (READ, {"path": "a", "lines": 3.0}, {"path": "a", "lines": 3}),
    "float as text": (READ, {"path": "a", "lines": "3.0"}, {"path": "a", "lines": 3}),
    "number to text": (SHELL, {"command": 3}, {"command": "3"}),
    "null of optional": (READ, {"path": "a", "lines": None}, {"path": "a"}),
    "one to a list": (TAG, {"tags": "red"}, {"tags": ["red"]}),
    "list as text": (TAG, {"tags": '["red", "blue"]'}, {"tags": ["red", "blue"]}),
    "object as text": (TAG, {"options": '{"deep": true}'}, {"options": {"deep": True}}),
    "truth as text": (TAG, {"options": {"deep": "true"}}, {"options": {"deep": True}}),
    "truth in capitals": (TAG, {"options": {"deep": "False"}}, {"options": {"deep": False}}),
    "number deep inside": (TAG, {"options": {"level": "2.5"}}, {"options": {"level": 2.5}}),
    "null deep inside": (TAG, {"options": {"deep": None}}, {"options": {}}),
    "case of a choice": (
        READ,
        {"path": "a", "encoding": "UTF-8"},
        {"path": "a", "encoding": "utf-8"},
    ),
    "signs of a choice": (
        READ,
        {"path": "a", "encoding": "utf_8"},
        {"path": "a", "encoding": "utf-8"},
    ),
    "key in camel case": (WRITE, {"Path": "a", "content": "b"}, {"path": "a", "content": "b"}),
    "key misspelt": (WRITE, {"path": "a", "contnet": "b"}, {"path": "a", "content": "b"}),
    "key with a word more": (READ, {"file_path": "a"}, {"path": "a"}),
    "optional key misspelt": (READ, {"path": "a", "line": 3}, {"path": "a", "lines": 3}),
    "envelope": (READ, {"arguments": {"path": "a"}}, {"path": "a"}),
    "envelope named input": (
        READ,
        {"input": {"path": "a", "lines": "2"}},
        {"path": "a", "lines": 2},
    ),
    "null of a stranger": (
        WRITE,
        {"path": "a", "content": "b", "mode": None},
        {"path": "a", "content": "b"},
    ),
    "two at once": (READ, {"filePath": "a", "lines": "3"}, {"path": "a", "lines": 3}),
}

LEFT: dict[str, tuple[ToolSpec, dict[str, Any]]] = {
    "missing": (READ, {}),
    "null of a needed one": (READ, {"path": None}),
    "words for a number": (READ, {"path": "a", "lines": "three"}),
    "part of a number": (READ, {"path": "a", "lines": 3.5}),
    "part of a number as text": (READ, {"path": "a", "lines": "3.5"}),
    "below the minimum": (READ, {"path": "a", "lines": 0}),
    "stranger": (WRITE, {"path": "a", "content": "b", "mode": "x"}),
    "other choice": (READ, {"path": "a", "encoding": "utf-16"}),
    "choice of signs": (TAG, {"sign": "="}),
    "list for one": (READ, {"path": ["a"]}),
    "object for a text": (SHELL, {"command": {"run": "ls"}}),
    "truth for a text": (SHELL, {"command": True}),
    "key of another word": (READ, {"text": "a"}),
    "two keys that are near": (WRITE, {"paths": "a", "path_": "b", "content": "c"}),
    "truth by another word": (TAG, {"options": {"deep": "maybe"}}),
    "cut list": (TAG, {"options": '{"deep": tr'}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_change_is_made_and_told(name: str) -> None:
    spec, given_, wanted = HARMLESS[name]
    before = repr(given_)

    checked = Checker().check(ToolCall(name=spec.name, arguments=given_), spec)

    assert wanted == checked.arguments
    assert [] == list(checked.faults)
    assert checked.coerced
    assert before == repr(given_)


@pytest.mark.parametrize("name", LEFT)
def test_what_would_be_a_choice_is_left_to_the_model(name: str) -> None:
    spec, arguments = LEFT[name]

    checked = Checker().check(ToolCall(name=spec.name, arguments=arguments), spec)

    assert checked.faults
    assert all(fault.startswith("/") for fault in checked.faults)


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        (READ, {"path": "a", "lines": 3}),
        (NOW, {}),
        (NOW, {"anything": [1, None]}),
        (TAG, {"tags": [], "options": {"deep": False, "more": "x"}}),
        (WRITE, {"path": "3", "content": "true"}),
        (SHELL, {"command": '["ls"]'}),
    ],
    ids=["all", "none", "free", "nested", "texts that look otherwise", "text that is JSON"],
)
def test_arguments_that_fit_are_not_touched(spec: ToolSpec, arguments: dict[str, Any]) -> None:
    checked = Checker().check(ToolCall(name=spec.name, arguments=arguments), spec)

    assert arguments == checked.arguments
    assert [] == list(checked.coerced)
    assert [] == list(checked.faults)


def test_schema_that_is_none_checks_nothing() -> None:
    spec = ToolSpec(name="odd", description="", parameters={"type": "objekt", "required": 7})

    checked = Checker().check(ToolCall(name="odd", arguments={"a": 1}), spec)

    assert [] == list(checked.faults)


def test_reference_into_the_schema_is_followed_and_others_are_not_fetched() -> None:
    inside = ToolSpec(
        name="inside",
        description="",
        parameters={
            "type": "object",
            "properties": {"size": {"$ref": "#/$defs/size"}},
            "$defs": {"size": {"type": "integer"}},
        },
    )
    outside = ToolSpec(
        name="outside",
        description="",
        parameters={"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}},
    )

    checked = Checker().check(ToolCall(name="inside", arguments={"size": "3"}), inside)
    other = Checker().check(ToolCall(name="outside", arguments={"a": 1}), outside)

    assert {"size": 3} == checked.arguments
    assert [] == list(other.faults)


def test_pattern_that_takes_for_ever_is_left_to_the_tool() -> None:
    spec = ToolSpec(
        name="slow",
        description="",
        parameters={
            "type": "object",
            "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}},
        },
    )
    began = time.process_time()

    checked = Checker().check(ToolCall(name="slow", arguments={"a": "a" * 60 + "!"}), spec)

    assert time.process_time() - began < 1.0
    assert [] == list(checked.faults)


def test_plain_pattern_is_checked() -> None:
    spec = ToolSpec(
        name="dated",
        description="",
        parameters={
            "type": "object",
            "properties": {"day": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}},
        },
    )

    checked = Checker().check(ToolCall(name="dated", arguments={"day": "tomorrow"}), spec)

    assert 1 == len(checked.faults)


def test_fault_of_a_huge_value_stays_short() -> None:
    checked = Checker().check(ToolCall(name="shell", arguments={"command": ["x" * 100_000]}), SHELL)

    assert len(checked.faults[0]) < 400


def test_check_of_a_known_schema_is_fast() -> None:
    checker = Checker()
    call = ToolCall(name="read_file", arguments={"path": "a", "lines": 3})
    checker.check(call, READ)
    began = time.process_time()

    for _ in range(200):
        checker.check(call, READ)

    assert (time.process_time() - began) / 200 < 0.001


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([READ, WRITE, SHELL, NOW, TAG]),
    st.dictionaries(
        st.sampled_from(["path", "lines", "content", "tags", "options", "arguments"])
        | st.text(max_size=6),
        VALUES,
        max_size=4,
    ),
)
def test_what_comes_out_without_faults_fits(spec: ToolSpec, arguments: dict[str, Any]) -> None:
    import jsonschema

    checked = Checker().check(ToolCall(name=spec.name, arguments=arguments), spec)

    if not checked.faults:
        jsonschema.validate(checked.arguments, dict(spec.parameters))
