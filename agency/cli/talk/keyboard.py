"""What a person types: lines with editing and history, several pasted at once, or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

HISTORY_LINES_MAX = 1000
LINE_CHARACTERS_MAX = 1_000_000
"""Longest message; the daemon takes no longer one."""
CONTINUES = "\\"
"""At the end of a line: the message goes on in the next one."""
_MORE = ". "


class Keyboard:
    """Reads what is typed at a prompt.

    Attributes:
        is_person: Somebody sits there; else lines come from a pipe or a file, without a prompt.
    """

    def __init__(self, environ: Mapping[str, str], *, is_person: bool) -> None:
        """Prepare for editing lines, with the history of earlier conversations."""
        self.is_person = is_person
        self._readline: Any = None
        self._history: Path | None = None
        if is_person:
            self._prepare(environ)

    def read(self, prompt: str) -> str:
        r"""Read a message; a line that ends with ``\`` goes on in the next one.

        Raises:
            EOFError: there is none any more.
            KeyboardInterrupt: Ctrl-C.
        """
        lines = [self._line(prompt)]
        while lines[-1].endswith(CONTINUES):
            lines[-1] = lines[-1].removesuffix(CONTINUES)
            try:
                lines.append(self._line(_MORE))
            except EOFError:
                break
        text = "\n".join(lines)[:LINE_CHARACTERS_MAX]
        self._remember(text)
        return text

    def ask(self, prompt: str, prefilled: str = "") -> str:
        """Read one line that is not kept in the history.

        Args:
            prefilled: Stands in the line already, to be edited.

        Raises:
            EOFError, KeyboardInterrupt.
        """
        readline = self._readline
        if readline is not None and prefilled:
            readline.set_startup_hook(lambda: readline.insert_text(prefilled))
        try:
            return self._line(prompt)
        finally:
            if readline is not None:
                readline.set_startup_hook(None)

    def _line(self, prompt: str) -> str:
        if self.is_person:
            return input(prompt)
        if sys.stdin is None:
            raise EOFError
        line = sys.stdin.readline(LINE_CHARACTERS_MAX + 1)
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def _prepare(self, environ: Mapping[str, str]) -> None:
        try:
            # Late: not everywhere, and input() edits lines as soon as it is there.
            import readline
        except ImportError:
            return
        self._readline = readline
        # Python switches it off for its own prompt; here a paste of several lines is one message.
        readline.parse_and_bind("set enable-bracketed-paste on")
        readline.set_auto_history(False)
        readline.set_history_length(HISTORY_LINES_MAX)
        home = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        self._history = Path(home) / "agency" / "chat_history"
        # A history that cannot be read is no reason not to talk.
        with suppress(OSError):
            readline.read_history_file(self._history)

    def _remember(self, text: str) -> None:
        if self._readline is None or not text.strip():
            return
        self._readline.add_history(" ".join(text.splitlines()))
        assert self._history is not None
        # Nobody else reads what was said; a full disk keeps nobody from saying it.
        with suppress(OSError):
            self._history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._history, os.O_CREAT | os.O_WRONLY, 0o600))
            self._readline.write_history_file(self._history)
