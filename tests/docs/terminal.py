"""A shell in a terminal: commands go in, what a person would see comes out."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 160
GUARD_S = 60.0
"""No command of the documentation takes this long, also on a busy machine."""

# The end of a command is told in the terminal itself, so that all its output comes before.
_END = re.compile("\x1e(\\d+)\x1e")
_LOOP = r"""
exec 9<&0 <"$1"  # the first terminal that a session opens is its own
status=0
while IFS= read -r -d '' -u 9 command; do
    (exit $status)
    eval "$command"
    status=$?
    printf '\036%s\036' "$status"
done
"""
_CODES = re.compile("\x1b\\[([?\\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a command has shown, without trailing blanks, and its exit code."""

    text: str
    code: int


class Terminal:
    """A bash that works off one command after the other."""

    def __init__(self, master: int, shell: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._shell = shell
        self._pending = ""

    def run(self, command: str) -> Seen:
        """Run a command to its end.

        Raises:
            AssertionError: it takes too long.
        """
        self.begin(command)
        return self._until_end(repr(command))

    def _until_end(self, command: str) -> Seen:
        deadline_s = time.monotonic() + GUARD_S
        while (end := _END.search(self._pending)) is None:
            assert self._read(deadline_s), f"{command} does not end: {self._pending}"
        said, self._pending = self._pending[: end.start()], self._pending[end.end() :]
        return Seen(as_shown(said), int(end[1]))

    def begin(self, command: str) -> None:
        """Run a command that may stay."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(command.encode() + b"\0")
        self._shell.stdin.flush()

    def type(self, text: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C, ``\\x04`` Ctrl-D."""
        os.write(self._master, text.encode())

    def end_seen(self) -> Seen:
        """Wait for the end of a command that stayed.

        Raises:
            AssertionError: it takes too long.
        """
        return self._until_end("the command")

    def seen_until(self, is_wanted: Callable[[str], bool]) -> str:
        """Wait until what a staying command shows is as wanted; return what it has shown."""
        deadline_s = time.monotonic() + GUARD_S
        while not is_wanted(as_shown(self._pending)):
            if not self._read(deadline_s):
                break
        return as_shown(self._pending)

    def _read(self, deadline_s: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            return False
        self._pending += os.read(self._master, 65536).decode(errors="replace")
        return True


@contextmanager
def open_terminal(folder: Path, environ: Mapping[str, str]) -> Iterator[Terminal]:
    """Open a terminal in a folder; at the end everything that was started in it is ended."""
    master, slave = os.openpty()
    try:
        size = struct.pack("HHHH", 50, COLUMNS, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", _LOOP, "bash", os.ttyname(slave)],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
    finally:
        os.close(slave)
    try:
        yield Terminal(master, shell)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()
        os.close(master)


def as_shown(said: str) -> str:
    """Turn what was written into what is seen: cursor moved, lines rewritten, colours dropped."""
    lines = [""]
    row = column = 0
    for found in _CODES.finditer(said):
        if found[2] is None:
            row, column = _write(lines, row, column, found[0])
        elif found[2] == "A":
            row = max(0, row - int(found[1] or 1))
        elif found[2] == "K":
            lines[row] = "" if found[1] == "2" else lines[row][:column]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _write(lines: list[str], row: int, column: int, text: str) -> tuple[int, int]:
    if text == "\r":
        return row, 0
    if text == "\n":
        if row + 1 == len(lines):
            lines.append("")
        return row + 1, 0
    lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
    return row, column + len(text)
