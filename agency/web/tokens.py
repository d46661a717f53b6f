"""A token store around a token store, so that not every request reads the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from agency.core.clock import monotonic_s
from agency.domain.principal import Token
from agency.ports.store import TokenStore

TOKENS_KEPT_S = 5.0
"""How long the list is believed. Changes through this store count at once; one daemon has a
database, so there are no others while it lives."""


class CachedTokens:
    """Remembers the list of tokens for a moment, and forgets it at each change."""

    def __init__(self, inner: TokenStore, *, now_s: Callable[[], float] = monotonic_s) -> None:
        self._inner = inner
        self._now_s = now_s
        self._kept: Sequence[Token] | None = None
        self._until_s = 0.0
        self._changes = 0

    async def add(self, token: Token) -> None:
        """Store a token; it works at once."""
        try:
            await self._inner.add(token)
        finally:
            self._forget()

    async def list(self) -> Sequence[Token]:
        """Read all tokens that were not revoked, oldest first."""
        if self._kept is not None and self._now_s() < self._until_s:
            return self._kept
        changes = self._changes
        tokens = await self._inner.list()
        if changes == self._changes:
            # Else the list was read before a change and must not outlive it.
            self._kept, self._until_s = tokens, self._now_s() + TOKENS_KEPT_S
        return tokens

    async def revoke(self, name: str, *, now: datetime) -> None:
        """Revoke a token; it stops working at once."""
        try:
            await self._inner.revoke(name, now=now)
        finally:
            self._forget()

    def _forget(self) -> None:
        self._changes += 1
        self._kept = None
