"""HTTP to addresses that were judged, and to nothing that a name may mean a moment later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agency.core.addresses import Endpoint

if TYPE_CHECKING:
    from aiohttp import ClientSession


def judged_session(
    endpoints: Sequence[Endpoint], *, connect_s: float | None = None
) -> ClientSession:
    """Make a session for one request, that connects only to what `resolve_checked` has let through.

    It keeps no cookies, heeds no proxy of the environment and unpacks nothing. The one request has
    to be made to the very address object whose host was judged, without redirects.

    Args:
        endpoints: What its host has resolved to.
        connect_s: Longest time to connect; the whole is bounded by whoever calls.
    """
    import aiohttp

    class Judged(aiohttp.abc.AbstractResolver):
        """Hands out what was judged, and never asks again."""

        async def resolve(
            self, host: str, port: int = 0, family: int = 0
        ) -> list[aiohttp.abc.ResolveResult]:
            del family
            return [
                {
                    "hostname": host,
                    "host": one.address,
                    "port": port,
                    "family": one.family,
                    "proto": 0,
                    "flags": 0,
                }
                for one in endpoints
            ]

        async def close(self) -> None:
            """Nothing is open."""

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=Judged(), use_dns_cache=False, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
