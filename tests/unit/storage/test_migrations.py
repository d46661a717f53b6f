"""The schema and its changes."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agency.core.clock import SystemClock
from agency.errors import DatabaseForeign, MigrationChanged, SchemaNewer
from agency.storage.sqlite import migrations
from agency.storage.sqlite.migrations import Migration, load_migrations, split
from tests.contract.making import start
from tests.unit.storage.conftest import Opener


def make_migration(number: int, text: str) -> Migration:
    return Migration(number, f"change{number}", text, hashlib.sha256(text.encode()).hexdigest())


def apply(path: Path, known: list[Migration], *, backups_max: int = 5) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.apply(
            connection, path, clock=SystemClock(), backups_max=backups_max, known=known
        )


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {name for (name,) in rows}


FIRST = make_migration(1, "CREATE TABLE a (x TEXT) STRICT;\n")
SECOND = make_migration(2, "CREATE TABLE b (x TEXT) STRICT;\nINSERT INTO a VALUES ('2');\n")


def test_migrations_are_applied_once_each(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    apply(path, [FIRST])
    apply(path, [FIRST, SECOND])
    apply(path, [FIRST, SECOND])

    assert {"a", "b", "migrations"} == tables(path)


def test_new_database_is_not_copied(tmp_path: Path) -> None:
    apply(tmp_path / "x.db", [FIRST, SECOND])

    assert not (tmp_path / "backups").exists()


def test_database_is_copied_before_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    apply(path, [FIRST])

    apply(path, [FIRST, SECOND])

    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.name.endswith("-schema1.db")
    assert {"a", "migrations"} == tables(copy)


def test_only_the_newest_copies_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    known = [make_migration(n, f"CREATE TABLE t{n} (x TEXT) STRICT;\n") for n in range(1, 7)]
    for count in range(1, 7):
        apply(path, known[:count], backups_max=2)

    copies = sorted(copy.name for copy in (tmp_path / "backups").iterdir())

    assert ["schema4.db", "schema5.db"] == [name.rpartition("-")[2] for name in copies]


def test_migration_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    apply(path, [FIRST])
    broken = make_migration(2, "CREATE TABLE b (x TEXT) STRICT;\nINSERT INTO nowhere VALUES (1);\n")

    with pytest.raises(sqlite3.OperationalError):
        apply(path, [FIRST, broken])

    assert {"a", "migrations"} == tables(path)
    apply(path, [FIRST, SECOND])


def test_changed_migration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    apply(path, [FIRST])

    with pytest.raises(MigrationChanged) as refused:
        apply(path, [make_migration(1, "CREATE TABLE other (x TEXT) STRICT;\n"), SECOND])

    assert 1 == refused.value.number
    assert {"a", "migrations"} == tables(path)


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    apply(path, [FIRST, SECOND])

    with pytest.raises(SchemaNewer) as refused:
        apply(path, [FIRST])

    assert (2, 1) == (refused.value.found, refused.value.known)


def test_trigger_is_one_statement() -> None:
    text = "-- A comment.\nCREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a\nBEGIN\n"
    text += "    DELETE FROM a;\nEND;\n\n"

    assert 2 == len(list(split(text)))
    with pytest.raises(ValueError, match="not complete"):
        list(split("CREATE TABLE a (x)"))


def test_numbers_have_no_gaps(tmp_path: Path) -> None:
    (tmp_path / "0002_late.sql").write_text("SELECT 1;\n")

    with pytest.raises(ValueError, match="gaps"):
        load_migrations(tmp_path)


async def test_foreign_database_is_refused_untouched(opener: Opener, path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()

    with pytest.raises(DatabaseForeign):
        async with opener():
            pass

    assert before == path.read_bytes()


async def test_file_that_is_no_database_is_refused(opener: Opener, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("# not a database, but a rather long text file\n" * 100)

    with pytest.raises(DatabaseForeign):
        async with opener():
            pass


async def test_new_database_is_set_up_for_good(opener: Opener, path: Path) -> None:
    async with opener() as store:
        await start(store)

    with closing(sqlite3.connect(path)) as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "auto_vacuum", "application_id")
        }
        strict = connection.execute("SELECT name FROM pragma_table_list WHERE NOT strict")
        # Those of the index of words are the full-text search's own.
        own = ("sqlite_", "passage_words")
        loose = {name for (name,) in strict if not name.startswith(own)}
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
    assert {"journal_mode": "wal", "auto_vacuum": 2, "application_id": 1097294713} == pragmas
    assert set() == loose
    assert 0o600 == path.stat().st_mode & 0o777


async def test_closed_store_leaves_one_file(opener: Opener, path: Path) -> None:
    async with opener() as store:
        await start(store)
        assert path.with_name("agency.db-wal").exists()

    assert ["agency.db", "agency.lock"] == sorted(file.name for file in path.parent.iterdir())


@pytest.mark.parametrize(("setting", "mode"), [("FULL", 2), ("NORMAL", 1)])
async def test_synchronous_is_as_set(opener: Opener, setting: str, mode: int) -> None:
    async with opener(synchronous=setting) as store:
        found = await store._writer.submit(
            lambda tx: tx._connection.execute("PRAGMA synchronous").fetchone()[0]
        )

    assert mode == found
