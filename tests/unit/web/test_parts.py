"""Tags, cursors, ids, pointers and times: the small pure parts of the doors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.api.health import uptime_text
from agency.errors import InvalidInput
from agency.web.addresses import workflow_path
from agency.web.correlation import CorrelationIds
from agency.web.etags import etag_of, is_match
from agency.web.faults import did_you_mean, pointer_of
from agency.web.paging import cut_page, make_cursor, parse_cursor, parse_number_cursor


@given(st.binary())
def test_equal_bytes_have_equal_tags(body: bytes) -> None:
    assert etag_of(body) == etag_of(bytes(bytearray(body)))
    assert is_match(etag_of(body), etag_of(body))
    assert is_match(f'"x", W/{etag_of(body)}', etag_of(body))
    assert is_match("*", etag_of(body))


@given(st.text())
def test_no_other_condition_matches(condition: str) -> None:
    assert is_match(condition, etag_of(b"7")) == (condition.strip() == "*")


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_cursors_come_back(number: int) -> None:
    assert parse_number_cursor("runs", make_cursor("runs", str(number))) == number


@given(st.text())
def test_foreign_cursors_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_number_cursor("runs", text)


@pytest.mark.parametrize("position", ["", "x", "-1", "1.0", "9" * 20, str(1 << 63), "²"])
def test_cursors_of_no_number_are_refused(position: str) -> None:
    with pytest.raises(InvalidInput):
        parse_number_cursor("runs", make_cursor("runs", position))


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_cursor("runs", make_cursor("steps", "1"))


def test_a_page_has_a_cursor_only_if_there_is_more() -> None:
    assert cut_page("runs", [3, 2, 1], 3, lambda row: row) == ([3, 2, 1], None)

    page, cursor = cut_page("runs", [3, 2, 1], 2, lambda row: row)

    assert (page, parse_number_cursor("runs", cursor or "")) == ([3, 2], 2)


@given(st.text())
def test_ids_from_outside_are_sane(given_id: str) -> None:
    found = CorrelationIds().of({"X-Correlation-ID": given_id})

    assert found == given_id or len(found) < 32
    assert found.isascii()
    assert found.isprintable()


def test_made_ids_differ() -> None:
    ids, others = CorrelationIds(), CorrelationIds()

    assert len({ids.of({}), ids.of({}), others.of({}), others.of({})}) == 4


def test_either_header_carries_the_id() -> None:
    assert CorrelationIds().of({"X-Request-ID": "a-1"}) == "a-1"
    assert CorrelationIds().of({"X-Request-ID": "a-1", "X-Correlation-ID": "b-2"}) == "b-2"


def test_pointers_are_escaped() -> None:
    assert pointer_of(["a/b", 0, "c~d"]) == "/a~1b/0/c~0d"
    assert pointer_of([]) == ""


def test_near_names_are_suggested() -> None:
    assert did_you_mean("mesage", ["message", "model"]) == "Did you mean 'message'?"
    assert did_you_mean("zzz", ["a", "b"]) == "Known are: a, b."


def test_names_are_quoted_in_addresses() -> None:
    assert workflow_path("a/b ü?") == "/api/v1/workflows/a%2Fb%20%C3%BC%3F"


@pytest.mark.parametrize(
    ("uptime_s", "text"), [(5.9, "0h 0m 5s"), (3_661, "1h 1m 1s"), (360_000, "100h 0m 0s")]
)
def test_uptime_reads_as_hours_minutes_and_seconds(uptime_s: float, text: str) -> None:
    assert uptime_text(uptime_s) == text
