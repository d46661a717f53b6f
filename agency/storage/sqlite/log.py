"""The write-ahead log, kept from growing for ever.

SQLite begins the log anew once all of it was copied into the database and nobody reads it any more.
Two things prevent that: readers that never all pause at once, and one reader that never ends. For
the first the writer asks for a pause when the log is long; the second is told, with how long it has
been so, because a reader of another program cannot be ended from here. Our own end by themselves:
see `agency.storage.sqlite.readers`.
Source: https://sqlite.org/wal.html, section 6, "Avoiding Excessively Large WAL Files".
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agency.core.clock import monotonic_s
from agency.storage.sqlite.statements import load_statements

log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often the length is looked at while there are commits."""
_TELL_S = 60.0
"""How often it is told that a reader is in the way."""


class Log:
    """Watches the log beside a database.

    Args:
        path: The database.
        bytes_max: Beyond this the log is to begin anew.

    Attributes:
        reading_s: Tells for how long the oldest of our own reads has been under way, or 0.
    """

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path.with_name(f"{path.name}-wal")
        self._bytes_max = bytes_max
        self.reading_s: Callable[[], float] = float
        self._looked_s = float("-inf")
        self._told_s = float("-inf")
        self._blocked_since_s: float | None = None
        self._statements = load_statements()

    @property
    def blocked_s(self) -> float:
        """For how long a reader has been seen to keep the log from beginning anew, or 0."""
        since_s = self._blocked_since_s
        return 0.0 if since_s is None else monotonic_s() - since_s

    def size(self) -> int:
        """Tell how many bytes the log has."""
        with suppress(FileNotFoundError):  # there is none before the first commit
            return self._path.stat().st_size
        return 0

    def look(self, connection: sqlite3.Connection) -> None:
        """Let the log begin anew if it is long; in the writer's thread, between transactions.

        Raises:
            sqlite3.Error: it could not be copied.
        """
        now_s = monotonic_s()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        if self.size() <= self._bytes_max:
            self._blocked_since_s = None
            return
        connection.execute(self._statements["wait_briefly"])
        try:
            is_blocked, *_ = connection.execute(self._statements["checkpoint_all"]).fetchone()
        finally:
            connection.execute(self._statements["wait_long"])
        if not is_blocked:
            self._blocked_since_s = None
            return
        if self._blocked_since_s is None:
            self._blocked_since_s = now_s
        if now_s - self._told_s >= _TELL_S:
            self._told_s = now_s
            log.warning(
                "a reader keeps the write-ahead log from being copied",
                extra={
                    "log_bytes": self.size(),
                    "blocked_s": round(self.blocked_s, 1),
                    "own_read_s": round(self.reading_s(), 1),
                },
            )
