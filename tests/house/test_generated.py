"""What is generated from the schema is checked in as it would be generated today."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.daemon.local.reference import generated, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(generated()))
def test_generated_file_is_up_to_date(name: str) -> None:
    assert generated()[name] == (ROOT / name).read_text(), "run `make docs`"


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert list(generated()) == write(tmp_path)
    assert [] == write(tmp_path)
