"""What a command writes, and the code that it ends with.

Data goes to stdout, everything that is said to people goes to stderr. With ``--json`` stdout is
always one JSON document, also when the command fails (``{"error": …}``), or one per line where a
command follows something.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import IO, Any

import click

from agency import errors
from agency.errors import AgencyError


class ExitCode(IntEnum):
    """How a command ends. For ever: scripts depend on them."""

    OK = 0
    FAILED = 1
    """The run, or the command, did not succeed."""
    USAGE = 2
    """The command, its input or the configuration is wrong."""
    NOT_FOUND = 3
    FORBIDDEN = 4
    """A token is missing or refused."""
    UNREACHABLE = 5
    """No daemon answers, or it takes no work now."""
    WAITING = 6
    """The run waits for an approval, an input, an event or an operator."""
    TIMED_OUT = 7
    """The time limit came first: the command's, or the run's own."""
    CONFLICT = 8
    """The state does not allow it."""
    INTERRUPTED = 130
    """Ctrl-C."""


EXIT_BY_ERROR: Mapping[type[AgencyError], ExitCode] = {
    AgencyError: ExitCode.FAILED,
    errors.InvalidInput: ExitCode.USAGE,
    # The command was right; what it was to connect to is not.
    errors.ConnectionFailed: ExitCode.FAILED,
    errors.NotFound: ExitCode.NOT_FOUND,
    errors.Conflict: ExitCode.CONFLICT,
    errors.Forbidden: ExitCode.FORBIDDEN,
    errors.LimitExceeded: ExitCode.FAILED,
    errors.Unavailable: ExitCode.UNREACHABLE,
    # As a daemon that takes no work now: send it again later.
    errors.QueueFull: ExitCode.UNREACHABLE,
    errors.Failed: ExitCode.FAILED,
    errors.Corrupt: ExitCode.FAILED,
}
"""An error has the code of its nearest ancestor in this table."""

LIVE = frozenset({"pending", "running", "suspended"})
"""Statuses of runs that have not ended."""

EXIT_BY_STATUS: Mapping[str, ExitCode] = {
    "completed": ExitCode.OK,
    "limit_reached": ExitCode.FAILED,
    "failed": ExitCode.FAILED,
    "dead_letter": ExitCode.FAILED,
    "cancelled": ExitCode.FAILED,
    "compensated": ExitCode.FAILED,
    "compensation_failed": ExitCode.FAILED,
    "timed_out": ExitCode.TIMED_OUT,
    # Of a run that is still live the command has stopped waiting: because it needs somebody, or
    # because the command's own time was over.
    "suspended": ExitCode.WAITING,
    "pending": ExitCode.TIMED_OUT,
    "running": ExitCode.TIMED_OUT,
}
"""The code of a command that has waited for a run, by the status that it was left in."""


def exit_code_of(error: AgencyError) -> ExitCode:
    """Find the code for an error."""
    for kind in type(error).__mro__:
        if kind in EXIT_BY_ERROR:
            return EXIT_BY_ERROR[kind]
    raise AssertionError(f"{type(error)} is no AgencyError")


class Output:
    """Where a command writes. ``is_json`` is decided while the command line is read."""

    def __init__(self) -> None:
        self.is_json = False
        self.is_quiet = False
        self._live: Any = None
        """What moves on the terminal while something is waited for."""

    # --- stdout

    def document(self, value: Any) -> None:  # noqa: ANN401  JSON value
        """Write one JSON document: indented for people, on one line for programs."""
        import orjson

        is_for_people = is_terminal(sys.stdout)
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if is_for_people else None)
        self.text(text.decode())

    def line(self, value: Any) -> None:  # noqa: ANN401  JSON value
        """Write one JSON document of several, always on one line."""
        import orjson

        self.text(orjson.dumps(value).decode())

    def text(self, text: str) -> None:
        """Write a line of data."""
        click.echo(shown(text, sys.stdout))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write rows: drawn for people; for programs tab-separated, without a heading."""
        if not is_terminal(sys.stdout):
            for row in rows:
                self.text("\t".join(" ".join(cell.split()) for cell in row))
            return
        # Imported late: a tenth of a second, and only for people.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            # An identifier that is cut off cannot be copied.
            drawn.add_column(column.upper(), no_wrap=True, overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(shown(cell, sys.stdout)) for cell in row))
        Console(no_color=not has_colour(sys.stdout), soft_wrap=True).print(drawn)

    # --- stderr

    def note(self, text: str) -> None:
        """Tell people something, unless they asked for quiet."""
        if not self.is_quiet:
            with self._still():
                click.echo(shown(text, sys.stderr), err=True)

    def warn(self, text: str) -> None:
        """Tell people something that they must not miss."""
        with self._still():
            click.echo(_styled(shown(text, sys.stderr), "yellow"), err=True)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Take away what moves, as long as the block lasts: a line beside it would be mixed up."""
        if self._live is None:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show people that something is waited for, as long as the block lasts."""
        if self.is_quiet or not is_terminal(sys.stderr):
            yield
            return
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        console = Console(stderr=True, no_color=not has_colour(sys.stderr))
        spinner = Spinner("dots", text=text, style="status.spinner")
        with Live(spinner, console=console, refresh_per_second=12.5, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def error(self, error: AgencyError) -> None:
        """Report why the command fails."""
        from agency.client import problem_of

        faults = error.faults if isinstance(error, errors.InvalidInput) else ()
        lines = [error.message]
        for fault in faults:
            hint = f" {fault.hint}" if fault.hint else ""
            if fault.what not in error.message or hint:
                lines.append(f"  {fault.where or 'request'}: {fault.what}{hint}")
        # Faults have their own hints; that of the whole only says where to find them.
        self._complain(lines, "" if faults else error.hint)
        if self.is_json:
            problem = problem_of(error)
            code = problem.code if problem is not None and problem.code else error.code
            described = {"code": code, "message": error.message, "hint": error.hint, **error.data}
            self.document({"error": described})

    def complaint(self, message: str, hint: str = "") -> None:
        """Report a failure that is not an error of ours: of a run, or of the command line."""
        self._complain([message], hint)

    def _complain(self, lines: Sequence[str], hint: str) -> None:
        head = _styled("agency:", "red")
        click.echo(f"{head} {shown(lines[0], sys.stderr)}", err=True)
        for line in lines[1:]:
            click.echo(shown(line, sys.stderr), err=True)
        if hint:
            click.echo(f"  hint: {shown(hint, sys.stderr)}", err=True)


def is_terminal(stream: IO[Any]) -> bool:
    """Tell whether a person looks at the stream."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: IO[Any]) -> bool:
    """Tell whether to colour. Source: no-color.org."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def _styled(text: str, colour: str) -> str:
    return click.style(text, fg=colour) if has_colour(sys.stderr) else text


def shown(text: str, stream: IO[Any]) -> str:
    """Make control characters visible on a terminal.

    What a model or a stranger wrote could otherwise move the cursor or forge what is shown.
    """
    if not stream.isatty() or text.isprintable():
        return text
    return "".join(
        one if one in "\n\t" or not _is_control(one) else f"\\x{ord(one):02x}" for one in text
    )


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"
