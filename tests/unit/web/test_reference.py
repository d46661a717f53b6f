"""The reference pages are checked in as they would be generated today."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.api.application import all_routes
from agency.api.reference import generated, write
from agency.web.problems import STATUSES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", list(generated()))
def test_pages_are_up_to_date(name: str) -> None:
    assert generated()[name] == (ROOT / name).read_text(encoding="utf-8"), "run `make docs`"


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert list(generated()) == write(tmp_path)
    assert [] == write(tmp_path)


def test_every_route_and_every_code_is_on_a_page() -> None:
    pages = generated()

    for route in all_routes():
        if route.is_documented:
            assert f"### {route.method} {route.template}\n" in pages["docs/reference/http.md"]
    for kind in STATUSES:
        assert f"| `{kind.code}` |" in pages["docs/reference/errors.md"]
