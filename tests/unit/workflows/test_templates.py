from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core import json
from agency.workflows.saga.templates import ReferenceMissing, references, render, root_of

SCOPE: dict[str, Any] = {
    "input": {"n": 7, "text": "a b", "list": [1, {"x": None}], "odd name": True, "é": 2},
    "results": {"one-two": {"id": "r/1"}},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${input.n}", 7),
        ("${ input.n }", 7),
        ("${input}", SCOPE["input"]),
        ("${input.list[1].x}", None),
        ("${input.é}", 2),
        ("n=${input.n}, t=${input.text}", "n=7, t=a b"),
        ("l=${input.list}", 'l=[1,{"x":null}]'),
        ("${results.one-two.id}", "r/1"),
        ("$${input.n}", "${input.n}"),
        ("$$${input.n}", "$${input.n}"),
        ("$ {x} $x", "$ {x} $x"),
        ({"a": ["${input.n}", 1], "${input.text}": None}, {"a": [7, 1], "a b": None}),
        (None, None),
        (1.5, 1.5),
    ],
)
def test_references_are_put_in(template: Any, expected: Any) -> None:
    assert expected == render(template, SCOPE)


@pytest.mark.parametrize(
    ("template", "missing"),
    [
        ("${input.m}", "m"),
        ("${input.n.x}", "x"),
        ("${input.list[2]}", r"\[2\]"),
        ("${input[0]}", r"\[0\]"),
        ("${nothing}", "nothing"),
        ("x ${results.two.id}", "two"),
    ],
)
def test_what_is_not_there_is_named(template: str, missing: str) -> None:
    with pytest.raises(ReferenceMissing, match=missing):
        render(template, SCOPE)


def test_what_is_put_into_a_longer_text_is_escaped() -> None:
    escape = {"r/1": "r%2F1"}.__getitem__

    assert "/x/r%2F1" == render("/x/${results.one-two.id}", SCOPE, escape=escape)
    assert "r/1" == render("${results.one-two.id}", SCOPE, escape=escape)


def test_all_references_are_found_with_their_places() -> None:
    value = {"a/b": ["${input.x}", "x ${results.one[0]} ${run_id}"], "${input.k}": 1}

    assert [
        ("/a~1b/0", "input.x"),
        ("/a~1b/1", "results.one[0]"),
        ("/a~1b/1", "run_id"),
        ("/${input.k}", "input.k"),
    ] == list(references(value, ""))


@pytest.mark.parametrize("text", ["${", "${}", "${a..b}", "${a b}", "${1}", "${a.}", "${a[x]}"])
def test_reference_that_is_not_well_formed_is_told(text: str) -> None:
    assert [("", "")] == list(references(text, ""))


def test_root_and_first_name_are_told_apart() -> None:
    assert ("results", "one") == root_of("results.one[3].x")
    assert ("input", "0") == root_of("input[0]")
    assert ("run_id", "") == root_of("run_id")


_NAMES = st.text(min_size=1, max_size=8).filter(lambda text: "$" not in text)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _NAMES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(_NAMES, below, max_size=4),
    max_leaves=20,
)


@given(value=_JSON)
def test_value_without_references_is_left_as_it_is(value: Any) -> None:
    assert json.encode(value) == json.encode(render(value, SCOPE))
    assert [] == list(references(value, ""))
