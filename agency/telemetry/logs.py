"""Logging: the standard library's, with one handler that never blocks and can be reopened."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agency.config.schema import Logging
from agency.errors import PlaceNotWritable
from agency.telemetry.lines import JournalLines, JsonLines, TextLines
from agency.telemetry.sink import Sink

FLUSH_S = 1.0
"""Time to write the last lines at the end; a reader that has stopped gets no more."""

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Libraries that tell every call at the lower levels.
# They hold addresses, which may hold secrets. "client" is what a part of "mcp" calls itself.
_TALKATIVE = (
    "asyncio", "aiohttp", "aiosqlite", "client", "httpcore", "httpcore2", "httpx", "httpx2", "mcp",
    "ollama", "urllib3",
)  # fmt: skip


class Logs:
    """The open logs of the process.

    Attributes:
        path: The log file; None for standard error.
    """

    def __init__(
        self, settings: Logging, descriptor: int, path: Path | None, *, environ: Mapping[str, str]
    ) -> None:
        self.path = path
        self._descriptor = descriptor
        self._followers: Sequence[int] = ()
        self._lines = _choose_lines(settings, descriptor, environ)
        self._sink = Sink(descriptor, tell_lost=self._lost_line)
        self._handler = _SinkHandler(self._sink)
        self._handler.setFormatter(self._lines)
        self.set_level(settings.level)

    def set_level(self, level: str) -> None:
        """Log from ``level`` on: debug, info, warning, error."""
        number = _LEVELS[level]
        logging.getLogger().setLevel(number)
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(max(number, logging.WARNING))

    def follow(self, *descriptors: int) -> None:
        """Let further descriptors (standard output, standard error) always be the log file."""
        self._followers = descriptors
        for follower in descriptors:
            os.dup2(self._descriptor, follower)

    def reopen(self) -> bool:
        """Open the file under its name anew, after a rotation; tell whether there is a file.

        Raises:
            PlaceNotWritable: it cannot be opened; the old one stays in use.
        """
        if self.path is None:
            return False
        self._sink.flush(timeout_s=FLUSH_S)
        fresh = open_log_file(self.path)
        try:
            # Put in place of the old one in a single step: no line falls between the two.
            os.dup2(fresh, self._descriptor, inheritable=False)
            for follower in self._followers:
                os.dup2(fresh, follower)
        finally:
            os.close(fresh)
        return True

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Let every line go through ``redact`` before it is written, from any thread."""
        self._handler.redact = redact

    def install(self) -> None:
        """Take over the root logger, and Python's warnings."""
        root = logging.getLogger()
        for other in root.handlers[:]:
            root.removeHandler(other)
        root.addHandler(self._handler)
        logging.captureWarnings(capture=True)
        # Nobody is there to read what logging itself would print about a failed line.
        logging.raiseExceptions = False

    def _lost_line(self, count: int) -> bytes:
        """Say in the log's own form that it has a hole."""
        lost = {
            "name": __name__,
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "log lines were lost: they came faster than they could be written",
            "lines": count,
        }
        return self._lines.format(logging.makeLogRecord(lost)).encode() + b"\n"

    def close(self) -> None:
        """Write the last lines and let go of the root logger."""
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(self._handler)
        self._sink.close(timeout_s=FLUSH_S)
        if self.path is not None:
            os.close(self._descriptor)


class _SinkHandler(logging.Handler):
    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self.redact: Callable[[str], str] = str

    def emit(self, record: logging.LogRecord) -> None:
        line = self.redact(self.format(record)) + "\n"
        self._sink.put(line.encode("utf-8", "backslashreplace"))


@contextmanager
def open_logs(
    settings: Logging,
    *,
    environ: Mapping[str, str],
    file: Path | None = None,
    descriptor: int | None = None,
) -> Iterator[Logs]:
    """Log to a file, else to standard error, until the end of the block.

    Args:
        settings: Level and format.
        environ: Environment variables; systemd tells there whether standard error is its journal.
        file: Name of the log file; None for standard error.
        descriptor: The file, if it is open already; it is closed at the end.

    Raises:
        PlaceNotWritable: the file cannot be opened.
    """
    if file is None:
        descriptor = sys.stderr.fileno()
    elif descriptor is None:
        descriptor = open_log_file(file)
    logs = Logs(settings, descriptor, file, environ=environ)
    logs.install()
    try:
        yield logs
    finally:
        logs.close()


def open_log_file(path: Path) -> int:
    """Open a log file for appending; missing folders and the file are made for the owner only.

    Raises:
        PlaceNotWritable: that cannot be done.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PlaceNotWritable(str(path), error.strerror or str(error)) from error


def _choose_lines(
    settings: Logging, descriptor: int, environ: Mapping[str, str]
) -> logging.Formatter:
    if settings.format == "text":
        return TextLines()
    if settings.format == "auto" and os.isatty(descriptor):
        return TextLines()
    return JournalLines() if is_journal(descriptor, environ) else JsonLines()


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Tell whether a descriptor leads to systemd's journal.

    Source: systemd.exec(5), ``$JOURNAL_STREAM``.
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
