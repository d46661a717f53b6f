"""Counting what SQLite does: statements, and instructions of its virtual machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

_INSTRUCTIONS = 100
"""Instructions from one look to the next; a statement's own are summed up over its executions."""


@contextmanager
def traced() -> Iterator[Callable[[], Mapping[str, int]]]:
    """Count on all connections that are opened meanwhile, in all threads.

    Statements within triggers count as well. Gives what tells the counts so far.
    """
    counts = {"statements": 0, "instructions": 0}
    connect = sqlite3.connect

    def count_statement(_: str) -> None:
        counts["statements"] += 1

    def count_instructions() -> int:
        counts["instructions"] += _INSTRUCTIONS
        return 0

    def connect_traced(*given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **named)
        connection.set_trace_callback(count_statement)
        connection.set_progress_handler(count_instructions, _INSTRUCTIONS)
        return connection

    with mock.patch.object(sqlite3, "connect", connect_traced):
        yield lambda: dict(counts)
