"""Filters on JSON values."""

from __future__ import annotations

from typing import Any

import pytest

from agency.domain.filter import check_where, fits
from agency.errors import InvalidInput

VALUE = {
    "id": 17,
    "name": "order-17",
    "is_new": True,
    "none": None,
    "total": 12.5,
    "tags": ["a", "b"],
    "to": {"city": "Bern"},
    "lines": [{"sku": "A-1"}, {"sku": "B-2"}],
}


@pytest.mark.parametrize(
    "where",
    [
        None,
        {},
        {"id": 17},
        {"id": 17.0},
        {"is_new": True},
        {"none": None},
        {"tags": ["a", "b"]},
        {"to.city": "Bern"},
        {"to": {"eq": {"city": "Bern"}}},
        {"lines.1.sku": "B-2"},
        {"total": {"gt": 12, "le": 12.5}},
        {"total": {"ge": 12.5, "lt": 13}},
        {"name": {"glob": "order-*"}},
        {"name": {"glob": "order-[0-9]?"}},
        {"name": {"gt": "order"}},
        {"name": {"contains": "der"}},
        {"tags": {"contains": "b"}},
        {"id": {"in": [1, 17]}},
        {"id": {"not_in": [1, 2]}},
        {"id": {"ne": 18}},
        {"missing": {"ne": 1}},
        {"missing": {"not_in": [1]}},
        {"missing": {"exists": False}},
        {"none": {"exists": True}},
        {"id": 17, "name": "order-17"},
    ],
)
def test_value_fits(where: Any) -> None:
    assert fits(check_where(where), VALUE)


@pytest.mark.parametrize(
    "where",
    [
        {"id": 18},
        {"id": "17"},
        {"id": True},
        {"is_new": 1},
        {"none": False},
        {"missing": None},
        {"missing": {"eq": None}},
        {"tags": ["b", "a"]},
        {"tags": ["a"]},
        {"tags.2": "c"},
        {"tags.x": "a"},
        {"tags.-1": "b"},
        {"id.x": 1},
        {"to": {"eq": {"city": "Bern", "zip": 1}}},
        {"total": {"gt": 12.5}},
        {"total": {"gt": "1"}},
        {"is_new": {"ge": 0}},
        {"missing": {"lt": 5}},
        {"name": {"glob": "ORDER-*"}},
        {"id": {"glob": "1*"}},
        {"id": {"in": []}},
        {"id": {"in": ["17", True]}},
        {"id": {"contains": 1}},
        {"none": {"exists": False}},
        {"missing": {"exists": True}},
        {"id": 17, "name": "x"},
        {"total": {"gt": 12, "lt": 12.5}},
    ],
)
def test_value_does_not_fit(where: Any) -> None:
    assert not fits(check_where(where), VALUE)


@pytest.mark.parametrize("value", [None, 1, "text", [], {}])
def test_any_value_can_be_judged(value: Any) -> None:
    assert not fits({"a.b": 1}, value)
    assert fits({"a.b": {"exists": False}}, value)


@pytest.mark.parametrize(
    ("where", "at"),
    [
        ([], "/where"),
        ("x", "/where"),
        ({"a": {1, 2}}, "/where"),
        ({"a" * 5000: 1}, "/where"),
        ({str(i): i for i in range(17)}, "/where"),
        ({"": 1}, "/where/"),
        ({"a..b": 1}, "/where/a..b"),
        ({"a/b~c": {}}, "/where/a~1b~0c"),
        ({"a": {"above": 1}}, "/where/a"),
        ({"a": {"city": "Bern"}}, "/where/a"),
        ({"a": {"in": 1}}, "/where/a"),
        ({"a": {"gt": None}}, "/where/a"),
        ({"a": {"gt": True}}, "/where/a"),
        ({"a": {"glob": 1}}, "/where/a"),
        ({"a": {"exists": 1}}, "/where/a"),
    ],
)
def test_filter_that_cannot_be_used_is_refused(where: Any, at: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_where(where)

    assert [at] == [fault.where for fault in refused.value.faults]


def test_all_faults_are_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_where({"a": {"in": 1}, "b": {"x": 1}})

    assert {"/where/a", "/where/b"} == {fault.where for fault in refused.value.faults}
