"""What is mended in JSON, and what is refused because it would be guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.workflows.agent.calls.loose import (
    DEPTH_MAX,
    REPAIR_CHARACTERS_MAX,
    end_of_value,
    read_value,
)

MENDED: dict[str, tuple[str, Any]] = {
    "trailing comma": ('{"a": [1, 2,],}', {"a": [1, 2]}),
    "single quotes": ("{'a': 'b', 'c': None, 'd': True}", {"a": "b", "c": None, "d": True}),
    "keys without quotes": ('{a: "b"}', {"a": "b"}),
    "brackets missing": ('{"a": {"b": "c"', {"a": {"b": "c"}}),
    "bracket missing and a comma too many": ('{"a": {"b": [1],}', {"a": {"b": [1]}}),
    "comma missing": ('{"a": "b" "c": "d"}', {"a": "b", "c": "d"}),
    "raw line end": ('{"a": "b\nc"}', {"a": "b\nc"}),
    "number keys": ("{1: 2}", {"1": 2}),
    "tuple": ("{'a': (1, 2)}", {"a": [1, 2]}),
    "inner quotes": ('{"a": "say "hi" now"}', {"a": 'say "hi" now'}),
}

REFUSED = {
    "empty": "",
    "blank": "  \n",
    "words": "read the file",
    "cut text": '{"a": "b',
    "cut number": '{"a": 12',
    "cut word": '{"a": tru',
    "cut escape": '{"a": "b\\',
    "bare value lost": "{a: /tmp/x/y/z}",
    "half a pair": '{"a": "b", "c":',
    "python code": "{__import__('os').system('ls')}",
    "set": "{'a', 'b'}",
    "words between": '{"a": 1} and then {"b": 2} comes',
}


@pytest.mark.parametrize("name", MENDED)
def test_broken_json_is_mended_when_nothing_is_lost(name: str) -> None:
    text, wanted = MENDED[name]

    read = read_value(text)

    assert (wanted, True, "") == (read.value, read.is_repaired, read.fault)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_guessed_is_refused(name: str) -> None:
    read = read_value(REFUSED[name])

    assert read.fault
    assert read.value is None


def test_nesting_is_bounded() -> None:
    for depth, is_read in ((DEPTH_MAX - 2, True), (DEPTH_MAX + 2, False), (5_000, False)):
        read = read_value("[" * depth + "]" * depth)

        assert is_read is not bool(read.fault), depth


def test_long_text_is_read_but_not_mended() -> None:
    whole = json.dumps({"a": "x" * (REPAIR_CHARACTERS_MAX + 10)})

    assert not read_value(whole).fault
    assert read_value(whole[:-1] + ",}").fault


def test_end_is_found_behind_brackets_in_texts() -> None:
    text = 'see {"a": "}]", "b": ["\\"}"]} there'

    assert '{"a": "}]", "b": ["\\"}"]}' == text[4 : end_of_value(text, 4)]
    assert end_of_value('{"a": [', 0) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_json_is_read_as_it_is(value: Any) -> None:
    read = read_value(json.dumps(value))

    assert (value, False, "") == (read.value, read.is_repaired, read.fault)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=4), st.data())
def test_cut_json_is_never_another_value(value: Any, data: st.DataObject) -> None:
    """Cut anywhere, it is refused, or has lost members but changed none that it still has."""
    text = json.dumps(value)
    cut = data.draw(st.integers(1, len(text) - 1))

    read = read_value(text[:cut])

    if not read.fault:
        assert_within(read.value, value)


def assert_within(found: Any, whole: Any) -> None:
    if isinstance(whole, dict):
        assert set(found) <= set(whole)
        for key, inner in found.items():
            assert_within(inner, whole[key])
    elif isinstance(whole, list):
        assert len(found) <= len(whole)
        for inner, other in zip(found, whole, strict=False):
            assert_within(inner, other)
    else:
        assert found == whole


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{}[]\":,\\ab1 \n'", max_size=60))
def test_reading_never_raises(text: str) -> None:
    read = read_value(text)

    assert read.fault or json.dumps(read.value)
