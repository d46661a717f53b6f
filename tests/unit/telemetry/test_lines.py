from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import orjson
import pytest

from agency.core.context import CORRELATION_ID, RUN_ID
from agency.telemetry.lines import LINE_CHARACTERS_MAX, JournalLines, JsonLines, TextLines


def record(message: str = "run finished", **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {
            "name": "agency.engine",
            "levelno": 20,
            "levelname": "INFO",
            "msg": message,
            "created": 0.5,
        }
    )
    vars(made).update(fields)
    return made


@pytest.fixture
def in_request() -> Iterator[None]:
    tokens = CORRELATION_ID.set("c-1"), RUN_ID.set("r-1")
    yield
    CORRELATION_ID.reset(tokens[0])
    RUN_ID.reset(tokens[1])


def test_json_line_has_fields_beside_the_fixed_members(in_request: None) -> None:
    document = orjson.loads(JsonLines().format(record(elapsed_s=0.25, tags={"a": 1})))

    assert {
        "at": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "agency.engine",
        "message": "run finished",
        "elapsed_s": 0.25,
        "tags": {"a": 1},
        "correlation_id": "c-1",
        "run_id": "r-1",
    } == document


def test_run_id_of_the_call_wins_over_the_surrounding_one(in_request: None) -> None:
    assert "other" == orjson.loads(JsonLines().format(record(run_id="other")))["run_id"]


def test_field_that_has_the_name_of_a_fixed_member_is_kept() -> None:
    document = orjson.loads(JsonLines().format(record(level="boss")))

    assert ("info", "boss") == (document["level"], document["field_level"])


def test_exception_is_told_with_class_message_and_traceback() -> None:
    try:
        raise ValueError("too small")
    except ValueError:
        made = record(exc_info=sys.exc_info())

    error = orjson.loads(JsonLines().format(made))["error"]

    assert ("ValueError", "too small") == (error["class"], error["message"])
    assert "Traceback" in error["traceback"]


@pytest.mark.parametrize("value", [object(), 1 << 70, "\ud800", {1: {2}}, b"\xff"])
def test_value_that_is_no_json_still_makes_a_line(value: object) -> None:
    assert "run finished" == orjson.loads(JsonLines().format(record(value=value)))["message"]


def test_text_line_is_one_line_whatever_it_holds() -> None:
    line = TextLines().format(record("a\nb", path="x\n\x1b[31m", plain="v", spaced='a "b"'))

    assert (
        "1970-01-01T00:00:00.500Z info    agency.engine: a\\nb "
        'path="x\\n\\x1b[31m" plain=v spaced="a \\"b\\""' == line
    )


def test_long_text_is_cut_in_its_middle() -> None:
    line = JsonLines().format(record("x" * 10 * LINE_CHARACTERS_MAX))

    assert len(line) < 2 * LINE_CHARACTERS_MAX
    assert "characters left out" in line


def test_line_for_the_journal_begins_with_its_priority() -> None:
    assert JournalLines().format(record()).startswith('<6>{"at"')


@pytest.mark.parametrize("field", ["y" * 10**6, ["y" * 10**6], {"a": "y" * 10**6}])
def test_long_field_of_a_json_line_is_cut(field: object) -> None:
    line = JsonLines().format(record(field=field))

    assert len(line) < 2 * LINE_CHARACTERS_MAX
    assert "characters left out" in str(orjson.loads(line)["field"])
