"""Core memory on SQLite; the promises are those of `agency.ports.memory.CoreStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.domain.memory import CORE_BLOCKS_MAX, CORE_VERSIONS_MAX, Block, NewBlock, Scope
from agency.errors import BlockChanged, BlockNotFound, TooManyBlocks
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_NUMBER_MAX = (1 << 63) - 1


class SqliteCore:
    """Core memory in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def blocks(self, scope: Scope) -> Sequence[Block]:
        """Read the blocks there are; see `CoreStore.blocks`."""
        return [_block_of(row) for row in await self._readers.all("list_core", (scope.key,))]

    async def history(
        self, scope: Scope, name: str, *, before: int | None, limit: int
    ) -> Sequence[Block]:
        """Read versions of a block; see `CoreStore.history`."""
        parameters = {
            "scope": scope.key,
            "name": name,
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
        }
        return [_block_of(row) for row in await self._readers.all("page_core", parameters)]

    async def version(self, scope: Scope, name: str, version: int) -> Block:
        """Read one version; see `CoreStore.version`."""
        parameters = {"scope": scope.key, "name": name, "version": version}
        row = await self._readers.one("get_core_version", parameters)
        if row is None:
            raise BlockNotFound(name, version)
        return _block_of(row)

    async def made_by(self, scope: Scope, call_key: str) -> Block | None:
        """Find what a call has made; see `CoreStore.made_by`."""
        parameters = {"scope": scope.key, "call_key": call_key}
        row = await self._readers.one("find_core_call", parameters)
        return None if row is None else _block_of(row)

    async def change(self, scope: Scope, new: NewBlock, *, now: datetime) -> Block:
        """Record a version; see `CoreStore.change`."""
        self._space.check()
        work = partial(_change, scope=scope.key, new=new, now=to_micros(now))
        return _block_of(await self._writer.submit(work))


def _change(tx: Transaction, scope: str, new: NewBlock, now: int) -> Row:
    if new.call_key is not None:
        known = tx.one("find_core_call", {"scope": scope, "call_key": new.call_key})
        if known is not None:
            return known
    newest = tx.one("newest_core", {"scope": scope, "name": new.name})
    version, text = (0, None) if newest is None else newest[1:3]
    # A block that was removed is one that is not there, for whoever has only seen that.
    seen = {version} if text is not None else {version, 0}
    if new.expected is not None and new.expected not in seen:
        raise BlockChanged(new.name, version, new.expected)
    if newest is not None and text == new.text:
        return newest
    if text is None and new.text is None:
        raise BlockNotFound(new.name)
    if text is None and len(tx.all("list_core", (scope,))) >= CORE_BLOCKS_MAX:
        raise TooManyBlocks(CORE_BLOCKS_MAX)
    row = tx.one(
        "add_core_version",
        {
            "scope": scope,
            "name": new.name,
            "version": version + 1,
            "text": new.text,
            "now": now,
            "principal": new.principal,
            "run_id": new.run_id,
            "reason": new.reason,
            "call_key": new.call_key,
        },
    )
    assert row is not None
    tx.change("prune_core", {"scope": scope, "name": new.name, "upto": row[1] - CORE_VERSIONS_MAX})
    return row


def _block_of(row: Row) -> Block:
    name, version, text, changed_at, principal, run_id, reason = row
    return Block(
        name=name,
        version=version,
        text=text,
        changed_at=from_micros(changed_at),
        principal=principal,
        run_id=run_id,
        reason=reason,
    )
