"""What moves on a terminal while something is waited for."""

from __future__ import annotations

import io
import sys

import pytest

from agency.cli.output import Output
from tests.docs.terminal import as_shown


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_note_has_a_line_of_its_own_beside_what_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    output = Output()

    with output.busy("run X"):
        output.note("It waits.")

    assert "run X" in screen.getvalue()
    assert "It waits." == as_shown(screen.getvalue())
