"""What SQLite's errors mean for the store.

Source: https://sqlite.org/rescode.html.
"""

from __future__ import annotations

import sqlite3

_FATAL = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def _code(error: BaseException) -> int:
    """Give the extended result code; 0 for errors that SQLite did not raise."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code


def is_full(error: BaseException) -> bool:
    """Tell whether there was no room; nothing of the transaction was kept."""
    code = _code(error)
    # A full disk shows as this one when the index of the write-ahead log cannot grow.
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def is_busy(error: BaseException) -> bool:
    """Tell whether another process holds the database."""
    return _code(error) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_fatal(error: BaseException) -> bool:
    """Tell whether the disk, and not the statement, is at fault, beyond being full."""
    return _code(error) & 0xFF in _FATAL and not is_full(error)
