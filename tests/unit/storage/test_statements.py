"""The named statements: all read, all prepared, all used."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import agency.storage.sqlite
from agency.domain.run import NewRun, RunKind
from agency.storage.sqlite.forms import start_form
from agency.storage.sqlite.statements import (
    ENTRY_VALUES,
    RECORD_SIZES,
    START_SIZES,
    START_VALUES,
    load_record_statements,
    load_start_statements,
    load_statements,
    parse,
)


def test_statement_is_read_without_its_comments() -> None:
    statements, fragments = parse(
        "-- Head.\n\n-- name: one\n-- Why.\nSELECT 1;\n\n-- fragment: two\na,\nb\n"
    )

    assert ({"one": "SELECT 1;"}, {"two": "a,\nb"}) == (statements, fragments)


def test_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")


def test_fragments_are_put_in() -> None:
    assert not [name for name, sql in load_statements().items() if "{" in sql]


def test_record_statement_has_all_sizes() -> None:
    for size in RECORD_SIZES:
        assert size * ENTRY_VALUES == load_record_statements()[size].count("?")


def test_start_statement_has_all_sizes_and_takes_what_forms_give() -> None:
    form = start_form(
        NewRun(
            id="r",
            workflow="w",
            version="1",
            kind=RunKind.FUNCTION,
            input=None,
            created_at=datetime.now(UTC),
            seed=1,
        )
    )
    columns = [*form.columns, "input"]

    for size in START_SIZES:
        sql = load_start_statements()[size]
        assert size * START_VALUES == sql.count("?")
        assert ", ".join(columns) in " ".join(sql.split())


def test_every_statement_is_used_and_every_use_is_a_statement() -> None:
    folder = Path(agency.storage.sqlite.__file__).parent
    code = "\n".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    names = set(load_statements())

    unused = [name for name in names if f'"{name}"' not in code]
    used = set(re.findall(r'(?:tx|readers)\.(?:one|all|change|insert|many)\(\s*"(\w+)"', code))

    assert [] == unused
    assert set() == used - names


def test_every_statement_says_something() -> None:
    """A statement whose name does not say all has a sentence; none is empty."""
    assert not [name for name, sql in load_statements().items() if not sql.endswith(";")]
