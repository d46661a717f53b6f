"""The schema, made by numbered files that are applied once each, in order.

What was applied is recorded with the hash of its text: a file that was changed afterwards is an
error, not a difference to live with. A database with something in it is copied before it is
changed. There is no way back but that copy.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from agency.core.clock import Clock, to_micros
from agency.core.records import dataclass
from agency.errors import DatabaseForeign, MigrationChanged, SchemaNewer
from agency.storage.sqlite.statements import load_statements

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "migrations"
BACKUPS = "backups"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered change of the schema. ``hash`` is the SHA-256 of its text, hexadecimal."""

    number: int
    name: str
    text: str
    hash: str


def load_migrations(folder: Path = FOLDER) -> Sequence[Migration]:
    """Read all migrations, in order. Their files are named ``0001_what_it_does.sql``.

    Raises:
        ValueError: a number is missing or there twice.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        number, _, name = path.stem.partition("_")
        text = path.read_text("utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        found.append(Migration(int(number), name, text, digest))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"The migrations in {folder} are not numbered from 1 without gaps.")
    return found


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that another program has made, before anything is written to it.

    Raises:
        DatabaseForeign: it has tables, and none of ours.
    """
    tables = _list_tables(connection)
    if tables and "migrations" not in tables:
        raise DatabaseForeign(str(path), f"it holds tables of another program ({tables[0]} …)")


def apply(
    connection: sqlite3.Connection,
    path: Path,
    *,
    clock: Clock,
    backups_max: int,
    known: Sequence[Migration] | None = None,
) -> None:
    """Apply what was not applied yet, each file in one transaction.

    A database that is not empty is copied into the folder ``backups`` beside it first; the newest
    ``backups_max`` copies are kept.

    Raises:
        SchemaNewer: the database has migrations that are not known here.
        MigrationChanged: one was applied with another text.
    """
    known = load_migrations() if known is None else known
    statements = load_statements()
    is_empty = not _list_tables(connection)
    connection.execute(statements["create_migrations"])
    applied: dict[int, str] = dict(connection.execute(statements["list_migrations"]).fetchall())
    newest = max(applied, default=0)
    if newest > len(known):
        raise SchemaNewer(str(path), newest, len(known))
    for migration in known:
        if applied.get(migration.number, migration.hash) != migration.hash:
            raise MigrationChanged(str(path), migration.number)

    wanted = [migration for migration in known if migration.number > newest]
    if wanted and not is_empty and newest:
        _back_up(connection, path, clock=clock, newest=newest, backups_max=backups_max)
    for migration in wanted:
        _apply_one(connection, migration, applied_at=to_micros(clock.now()))
        log.info("schema migrated", extra={"number": migration.number, "change": migration.name})


def _apply_one(connection: sqlite3.Connection, migration: Migration, *, applied_at: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in split(migration.text):
            connection.execute(statement)
        connection.execute(
            load_statements()["add_migration"],
            (migration.number, migration.name, migration.hash, applied_at),
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def split(text: str) -> Iterator[str]:
    """Split a script into its statements; a trigger with its body is one.

    ``executescript`` is not used because it commits whatever is open.
    """
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
        raise ValueError(f"The last statement is not complete: {statement.strip()[:80]}")


def _back_up(
    connection: sqlite3.Connection, path: Path, *, clock: Clock, newest: int, backups_max: int
) -> None:
    folder = path.parent / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    stamp = clock.now().strftime("%Y%m%dT%H%M%S%fZ")
    copy = folder / f"{path.stem}-{stamp}-schema{newest}.db"
    # A copy that was cut off must not look like a good one, so it gets its name at the end.
    partial = copy.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    target = sqlite3.connect(partial)
    try:
        connection.backup(target)
    finally:
        target.close()
    partial.rename(copy)
    log.info("database copied before its migration", extra={"path": str(copy)})
    copies = sorted(folder.glob(f"{path.stem}-*-schema*.db"))
    for old in copies[:-backups_max]:
        old.unlink()


def _list_tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(load_statements()["list_tables"]).fetchall()
    return [name for (name,) in rows]
