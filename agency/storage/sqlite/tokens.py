"""API tokens on SQLite; the promises are those of `agency.ports.store.TokenStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import to_micros
from agency.domain.principal import Token
from agency.errors import TokenNameTaken, TokenNotFound
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import token_of
from agency.storage.sqlite.transaction import Transaction
from agency.storage.sqlite.writer import Writer


class SqliteTokens:
    """Hashes of tokens in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, token: Token) -> None:
        """Store a token; see `TokenStore.add`."""
        await self._writer.submit(partial(_add, token=token))

    async def list(self) -> Sequence[Token]:
        """Read all tokens that work; see `TokenStore.list`."""
        return [token_of(row) for row in await self._readers.all("list_tokens")]

    async def revoke(self, name: str, *, now: datetime) -> None:
        """Revoke a token; see `TokenStore.revoke`."""
        await self._writer.submit(partial(_revoke, name=name, now=to_micros(now)))


def _add(tx: Transaction, *, token: Token) -> None:
    revoked_at = None if token.revoked_at is None else to_micros(token.revoked_at)
    row = tx.one(
        "add_token",
        (token.name, token.prefix, token.secret_hash, to_micros(token.created_at), revoked_at),
    )
    if row is None:
        raise TokenNameTaken(token.name)


def _revoke(tx: Transaction, *, name: str, now: int) -> None:
    if not tx.change("revoke_token", {"name": name, "now": now}):
        raise TokenNotFound(name)
