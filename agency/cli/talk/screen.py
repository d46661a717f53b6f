"""A terminal that text streams to, with a line at its end that comes and goes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import IO, Any

import click

from agency.cli.output import has_colour, is_terminal, shown

STYLES: Mapping[str, Mapping[str, Any]] = {
    "faint": {"dim": True},
    "bold": {"bold": True},
    "warning": {"fg": "yellow"},
}


class Screen:
    """Writes to one stream. What is written by models and tools cannot move the cursor."""

    def __init__(self, stream: IO[str]) -> None:
        """Write to this stream; the line that comes and goes is for terminals only."""
        self._stream = stream
        self.is_terminal = is_terminal(stream)
        self._has_colour = has_colour(stream)
        self._is_in_line = False
        self._has_status = False

    def piece(self, text: str) -> None:
        """Write a piece of a text that goes on."""
        if not text:
            return
        self._clear()
        self._write(shown(text, self._stream))
        self._is_in_line = not text.endswith("\n")

    def line(self, text: str, style: str = "") -> None:
        """Write a line of its own."""
        self.close_line()
        text = shown(text, self._stream)
        if style and self._has_colour:
            text = "\n".join(click.style(one, **STYLES[style]) for one in text.split("\n"))
        self._write(f"{text}\n")

    def status(self, text: str) -> None:
        """Show what is going on, until something else is written."""
        if not self.is_terminal or self._is_in_line:
            return
        room = max(10, shutil.get_terminal_size().columns - 1)
        text = " ".join(shown(text, self._stream).split())
        text = text if len(text) < room else f"{text[: room - 1]}…"
        self._clear()
        self._write(click.style(text, dim=True) if self._has_colour else text)
        self._has_status = True

    def answered(self) -> None:
        """Take note that a person has ended the line with Enter."""
        self._is_in_line = False

    def close_line(self) -> None:
        """Go to the beginning of a line."""
        self._clear()
        if self._is_in_line:
            self._write("\n")
            self._is_in_line = False

    def _clear(self) -> None:
        if self._has_status:
            self._has_status = False
            self._write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        click.echo(text, file=self._stream, nl=False)
