"""A cheap look whether Ollama answers, without the ``ollama`` client.

The client costs some 15 MB and 0.4 s to import. An idle daemon, and one that only waits for
its server to come back, look with aiohttp, which serves the doors anyway.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp

from agency.core import json
from agency.models.address import ServerAddress
from agency.ports.model import Health

ANSWER_BYTES_MAX = 64 * 1024
"""The answer wanted has some twenty bytes; a web page in its place need not be read whole."""


async def look(address: ServerAddress, *, limit_s: float) -> Health:
    """Ask ``GET /api/version`` once. Never raises, except when it is cancelled.

    Args:
        address: The server.
        limit_s: Seconds for everything, name resolution included.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await _ask(address)
    except TimeoutError:
        return Health(reachable=False, reason=f"no answer within {limit_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Health(reachable=False, reason=_reason(error))


async def _ask(address: ServerAddress) -> Health:
    # A proxy from the environment must not stand between us and this very machine.
    trust_env = not address.is_loopback
    async with (
        aiohttp.ClientSession(trust_env=trust_env) as session,
        session.get(f"{address.url}/api/version", allow_redirects=False) as answer,
    ):
        body = await answer.content.read(ANSWER_BYTES_MAX)
    if answer.status == 403 and not body:
        return Health(reachable=False, reason="it refuses our Host header (status 403)")
    if answer.status != 200:
        return Health(reachable=False, reason=f"it answers with status {answer.status}")
    try:
        found = json.decode(body)
    except json.NotJson:
        found = None
    version = found.get("version") if isinstance(found, dict) else None
    if not isinstance(version, str):
        return Health(reachable=False, reason="what answers there is not Ollama")
    return Health(reachable=True, version=version)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        # asyncio writes the address into `strerror`; the errors of name lookups are below 0.
        if cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno).lower()
        return cause.strerror or str(cause)
    return str(error) or type(error).__name__
