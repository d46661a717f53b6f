from __future__ import annotations

from pathlib import Path

from agency.cli.output import ExitCode
from agency.cli.reference import EXIT_MEANINGS, PAGE, write_reference

ROOT = Path(__file__).parents[3]


def test_page_is_what_the_commands_say() -> None:
    assert (ROOT / PAGE).read_text() == write_reference(), "run `make docs`"


def test_every_exit_code_is_explained() -> None:
    assert list(EXIT_MEANINGS) == list(ExitCode)
