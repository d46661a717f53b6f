"""How a log record becomes a line: text for people, JSON for programs.

A call gives a short constant message and its fields apart::

    log.info("run finished", extra={"run_id": run.id, "elapsed_s": 0.214})
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from agency.core.context import CORRELATION_ID, RUN_ID

LINE_CHARACTERS_MAX = 64 * 1024
"""A longer traceback or field is cut in its middle: a log line is no place for documents."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FIXED = frozenset({"at", "level", "logger", "message", "correlation_id", "run_id", "error"})
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class JsonLines(logging.Formatter):
    """One JSON object to a line.

    Members: ``at`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, ``correlation_id`` and
    ``run_id`` if there are any, the call's fields, ``error`` {class, message, traceback}.
    """

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "at": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _shorten(record.getMessage()),
        }
        fields = _fields(record)
        # A field of a fixed member's name keeps its value under another.
        document |= {
            f"field_{name}" if name in _FIXED - {"correlation_id", "run_id"} else name: value
            for name, value in fields.items()
        }
        error = _error(self, record)
        if error:
            document["error"] = error
        try:
            line = orjson.dumps(document, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # integers above 64 bits, lone surrogates
            plain = {str(name): _plain(value) for name, value in document.items()}
            line = orjson.dumps(plain).decode()
        if len(line) <= LINE_CHARACTERS_MAX:
            return line
        return orjson.dumps({name: _bounded(value) for name, value in document.items()}).decode()


class TextLines(logging.Formatter):
    """Time, level, logger, message and ``name=value`` fields; a traceback is indented below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_value(value)}" for name, value in _fields(record).items())
        message = _one_line(_shorten(record.getMessage()))
        level = record.levelname.lower()
        line = f"{_moment(record)} {level:<8}{record.name}: {message}{fields}"
        error = _error(self, record)
        if not error:
            return line
        return "\n    ".join([line, *error["traceback"].splitlines()])


class JournalLines(JsonLines):
    """JSON with the priority in front that systemd's journal takes from standard error.

    Source: sd-daemon(3), "Log levels".
    """

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelname, 5)}>{super().format(record)}"


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    for name, variable in (("correlation_id", CORRELATION_ID), ("run_id", RUN_ID)):
        value = variable.get()
        if value:
            fields.setdefault(name, value)
    return fields


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> Mapping[str, str]:
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, _ = record.exc_info
        trace = formatter.formatException(record.exc_info)
        return {"class": kind.__name__, "message": str(error), "traceback": _shorten(trace)}
    if record.stack_info:
        return {"class": "", "message": "", "traceback": _shorten(record.stack_info)}
    return {}


def _shorten(text: str) -> str:
    if len(text) <= LINE_CHARACTERS_MAX:
        return text
    half = LINE_CHARACTERS_MAX // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _bounded(value: object) -> object:
    if isinstance(value, Mapping):  # the member `error`; others are cut as the text they make
        return {str(name): _shorten(_plain(part)) for name, part in value.items()}
    return _shorten(_plain(value)) if not isinstance(value, int | float) else value


def _value(value: object) -> str:
    text = _shorten(value if isinstance(value, str) else str(value))
    is_plain = bool(text) and text.isprintable() and not set(text) & set(" =\"'")
    return text if is_plain else f'"{_one_line(text).replace(chr(34), chr(92) + chr(34))}"'


def _one_line(text: str) -> str:
    """Escape what does not print, so that nobody's text can forge a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
