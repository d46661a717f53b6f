"""The write connection as a whole: opened, kept small, closed."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

from agency.config.schema import Store
from agency.core.clock import Clock
from agency.errors import DatabaseForeign, StoreBroken, StoreFull
from agency.storage.sqlite import faults, migrations
from agency.storage.sqlite.statements import load_statements

log = logging.getLogger(__name__)

_FREE_PAGES_MIN = 1024
"""Free pages from which some are given back to the disk: 4 MiB, so that reuse comes first."""


def connect(path: Path, *, settings: Store, clock: Clock) -> sqlite3.Connection:
    """Open the write connection, and bring the schema up to date.

    The file is made, readable by its owner only, if there is none.

    Raises:
        SchemaNewer, MigrationChanged: as `migrations.apply`.
        DatabaseForeign: the file is another program's, or no database.
        StoreFull: there is no room to open it.
        StoreBroken: the disk or the file is damaged.
    """
    # SQLite gives the log and its index the permissions of the database itself.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, isolation_level=None, cached_statements=512, check_same_thread=False
    )
    try:
        _set_up(connection, path, settings)
        migrations.apply(connection, path, clock=clock, backups_max=settings.backups_max)
    except sqlite3.DatabaseError as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise DatabaseForeign(str(path), "it is no SQLite database") from error
        if faults.is_full(error):
            what = f"There is no room on the disk to open {str(path)!r}."
            raise StoreFull(what, hint="Free space on it, then start the daemon again.") from error
        if faults.is_fatal(error):
            raise StoreBroken(f"The database {str(path)!r} cannot be opened: {error}.") from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path, settings: Store) -> None:
    statements = load_statements()
    migrations.refuse_foreign(connection, path)
    connection.executescript(statements["open_writer"])
    name = "synchronous_full" if settings.synchronous == "FULL" else "synchronous_normal"
    connection.execute(statements[name])
    (mode,) = connection.execute(statements["show_journal_mode"]).fetchone()
    if mode != "wal":
        raise DatabaseForeign(str(path), f"its journal mode stays {mode}, and wal is needed")


def tidy(connection: sqlite3.Connection) -> bool:
    """Copy the write-ahead log into the database and give back free pages, waiting for nobody.

    Returns:
        Whether nothing is left to copy; a reader may have been in the way.
    """
    statements = load_statements()
    _, logged, copied = connection.execute(statements["checkpoint"]).fetchone()
    (free_pages,) = connection.execute(statements["count_free_pages"]).fetchone()
    if free_pages >= _FREE_PAGES_MIN:
        # Each step gives one page back, and only a script is stepped to its end.
        connection.executescript(statements["give_back_pages"])
        return False
    return bool(logged == copied)


def close(connection: sqlite3.Connection) -> None:
    """Leave one tidy file behind. What fails here is logged: all that was promised is durable."""
    statements = load_statements()
    try:
        connection.execute(statements["optimize_bounds"])
        connection.execute(statements["optimize"])
        connection.execute(statements["checkpoint_all"])
    except sqlite3.Error as error:
        log.warning(
            "database was not tidied at its close",
            extra={"reason": str(error), "is_full": faults.is_full(error)},
        )
    finally:
        connection.close()
