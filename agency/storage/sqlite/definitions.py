"""Stored definitions on SQLite; the promises are those of `agency.ports.definition`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.definition import StoredDefinition
from agency.domain.run import RunKind
from agency.errors import DefinitionInUse, DefinitionNotFound, TooManyDefinitions
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer


class SqliteDefinitions:
    """Definitions in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def define(
        self, new: StoredDefinition, *, names_max: int, versions_max: int
    ) -> tuple[StoredDefinition, bool]:
        """Store a version and make it current; see `DefinitionStore.define`."""
        self._space.check()
        row, is_changed = await self._writer.submit(
            partial(
                _define,
                columns=_columns(new),
                body=encode(new.body),
                names_max=names_max,
                versions_max=versions_max,
            )
        )
        return _definition_of(row), is_changed

    async def keep(self, new: StoredDefinition) -> None:
        """Keep a version for its runs; see `DefinitionStore.keep`."""
        await self._writer.submit(partial(_keep, columns=_columns(new), body=encode(new.body)))

    async def find(self, name: str) -> StoredDefinition | None:
        """Read the current version of a name; see `DefinitionStore.find`."""
        row = await self._readers.one("find_current_definition", (name,))
        return None if row is None else _definition_of(row)

    async def list(
        self, kind: RunKind, *, after: str | None, limit: int
    ) -> Sequence[StoredDefinition]:
        """Read the current definitions of a kind; see `DefinitionStore.list`."""
        parameters = {"kind": kind.value, "after": after or "", "limit": limit}
        rows = await self._readers.all("list_current_definitions", parameters)
        return [_definition_of(row) for row in rows]

    async def load(self, *, after: int, limit: int) -> Sequence[tuple[int, StoredDefinition]]:
        """Read a page of all versions; see `DefinitionStore.load`."""
        rows = await self._readers.all("load_definitions", {"after": after, "limit": limit})
        return [(row[0], _definition_of(row)) for row in rows]

    async def delete(self, name: str, *, now: datetime) -> None:
        """Forget a definition; see `DefinitionStore.delete`."""
        await self._writer.submit(partial(_delete, name=name))


def _define(
    tx: Transaction, columns: dict[str, Any], body: bytes, names_max: int, versions_max: int
) -> tuple[Row, bool]:
    name = columns["name"]
    current = tx.one("find_current_definition", (name,))
    if current is not None and current[2] == columns["version"]:
        return current, False
    # Before this one is retired: runs of it may be on their way to here, until it is known that
    # there is a newer one.
    _drop_blobs(tx, tx.all("prune_definitions", (name,)))
    tx.change("retire_definition", (name,))
    tx.change("add_definition", {**columns, "body": tx.keep(body)})
    if current is None:
        _check(tx.one("count_current_definitions"), names_max, "definitions are stored")
    _check(
        tx.one("count_definition_versions", (name,)),
        versions_max,
        f"versions of {name!r} are needed by runs",
    )
    row = tx.one("find_current_definition", (name,))
    assert row is not None, name
    return row, True


def _check(counted: Row | None, most: int, what: str) -> None:
    assert counted is not None
    if counted[0] > most:
        raise TooManyDefinitions(f"{most} {what}, which is the limit.")


def _keep(tx: Transaction, columns: dict[str, Any], body: bytes) -> None:
    tx.change("keep_definition", {**columns, "body": tx.keep(body)})


def _delete(tx: Transaction, name: str) -> None:
    row = tx.one("find_run_needing_definition", (name,))
    if row is not None:
        raise DefinitionInUse(name, row[0])
    deleted = tx.all("delete_definition", (name,))
    if not deleted:
        raise DefinitionNotFound(name)
    _drop_blobs(tx, deleted)


def _drop_blobs(tx: Transaction, deleted: Sequence[Row]) -> None:
    for (blob,) in deleted:
        if blob is not None:
            tx.change("delete_lonely_blob", {"hash": blob})


def _columns(new: StoredDefinition) -> dict[str, Any]:
    return {
        "name": new.name,
        "version": new.version,
        "kind": new.kind.value,
        "created_at": to_micros(new.created_at),
        "created_by": new.created_by,
    }


def _definition_of(row: Row) -> StoredDefinition:
    _, name, version, kind, is_current, created_at, created_by, body = row
    return StoredDefinition(
        name=name,
        version=version,
        kind=RunKind(kind),
        body=decode(body),
        created_at=from_micros(created_at),
        created_by=created_by,
        is_current=bool(is_current),
    )
