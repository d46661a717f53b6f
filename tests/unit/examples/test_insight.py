"""What the local insight agent finds in notes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from agency.engine.modules import load_module
from tests.docs.page import ROOT

INSIGHT: ModuleType = load_module(ROOT / "examples/local_insight.py", "insight_under_test")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "office.md").write_text(
        "# Office\n\nThe key of the archive hangs in the kitchen.\n\n\nHeating: ask Ann.\n"
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/car.txt").write_text("The car's key is in Bob's drawer.\nIt needs oil.")
    (tmp_path / "picture.png").write_bytes(b"key")
    return tmp_path


def found(notes: Path, question: str, limit: int = 4) -> list[str]:
    return [one.source for one in INSIGHT.rank(question, INSIGHT.read_notes(notes), limit=limit)]


def test_notes_are_cut_at_empty_lines(notes: Path) -> None:
    passages = INSIGHT.read_notes(notes)

    wanted = ["deep/car.txt:1", "office.md:1", "office.md:3", "office.md:6"]
    assert wanted == sorted(one.source for one in passages)
    assert "The car's key is in Bob's drawer.\nIt needs oil." in [one.text for one in passages]


def test_passage_with_the_rarer_words_comes_first(notes: Path) -> None:
    assert ["office.md:3", "deep/car.txt:1"] == found(notes, "Where is the key of the archives?")
    assert ["deep/car.txt:1"] == found(notes, "key CAR", limit=1)


@pytest.mark.parametrize("question", ["What is the where?", "Who was Napoleon?", "???"])
def test_nothing_is_found_that_is_not_there(notes: Path, question: str) -> None:
    assert [] == found(notes, question)


def test_no_notes_are_no_error(tmp_path: Path) -> None:
    assert [] == found(tmp_path, "key")
    assert [] == found(tmp_path / "missing", "key")


def test_bytes_that_are_no_text_do_not_stop_it(notes: Path) -> None:
    (notes / "odd.txt").write_bytes(b"\xff\xfe archive")

    assert "odd.txt:1" in found(notes, "archive")


def test_huge_note_is_refused_by_name(notes: Path) -> None:
    (notes / "huge.txt").write_bytes(b"x" * (INSIGHT.NOTE_BYTES_MAX + 1))

    with pytest.raises(ValueError, match=r"huge\.txt"):
        INSIGHT.read_notes(notes)
