"""API tokens without a daemon: the first one is made before a daemon may listen to a network.

The store is opened with the lock of its folder, so that this never writes beside a live daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agency.config.schema import Settings
from agency.core.clock import SystemClock
from agency.daemon.compose import open_store
from agency.daemon.place import make_data_directory
from agency.domain.principal import Token, make_token
from agency.ports.store import TokenStore


async def add_token(settings: Settings, name: str) -> tuple[Token, str]:
    """Make a token; durable when this returns. The secret is kept nowhere.

    Raises:
        InvalidInput: the name cannot be one.
        TokenNameTaken: a token that works has the name.
        DataDirectoryLocked: a daemon runs.
        PlaceNotWritable: the data directory cannot be used.
    """
    token, secret = make_token(name, at=SystemClock().now())
    async with _open_tokens(settings) as tokens:
        await tokens.add(token)
    return token, secret


async def list_tokens(settings: Settings) -> Sequence[Token]:
    """Read the tokens that work, oldest first.

    Raises:
        DataDirectoryLocked: a daemon runs.
        PlaceNotWritable: the data directory cannot be used.
    """
    async with _open_tokens(settings) as tokens:
        return await tokens.list()


async def revoke_token(settings: Settings, name: str) -> None:
    """Revoke a token.

    Raises:
        TokenNotFound: no token that works has the name.
        DataDirectoryLocked: a daemon runs.
        PlaceNotWritable: the data directory cannot be used.
    """
    async with _open_tokens(settings) as tokens:
        await tokens.revoke(name, now=SystemClock().now())


@asynccontextmanager
async def _open_tokens(settings: Settings) -> AsyncIterator[TokenStore]:
    make_data_directory(Path(settings.server.data_dir))
    async with open_store(settings, SystemClock()) as store:
        yield store.tokens
