"""The HTTP side of the process: sockets, the limit on connections, the end of it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agency.daemon.occupant import find_occupant
from agency.errors import AddressUnusable, PortTaken

if TYPE_CHECKING:
    from aiohttp import web

BACKLOG = 1024
"""Connections that the system holds until they are accepted."""

SHUTDOWN_S = 5.0
"""Time for answers that are being written when the site closes; waiting requests end at once."""


async def bind(host: str, port: int) -> Sequence[socket.socket]:
    """Bind the sockets of all addresses of ``host``, without listening yet.

    ``port`` 0 takes a free one, the same for all.

    Raises:
        PortTaken: somebody listens there.
        AddressUnusable: the name means nothing, or is not of this machine, or the port is not
            for this user.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise AddressUnusable(host, port, error.strerror or str(error)) from error
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            taken = sockets[0].getsockname()[1] if sockets else port
            bound = _bind_one(family, (address[0], taken, *address[2:]), host)
            if bound is not None:
                sockets.append(bound)
    except BaseException:
        for bound in sockets:
            bound.close()
        raise
    if not sockets:
        raise AddressUnusable(host, port, "this machine has no such kind of address")
    return sockets


def _bind_one(
    family: socket.AddressFamily, address: tuple[object, ...], host: str
) -> socket.socket | None:
    """Bind one address; None when the machine does not have its family (no IPv6)."""
    port = int(str(address[1]))
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        bound.setblocking(False)  # noqa: FBT003  the standard library's signature
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6 and host != address[0]:
            return None
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, find_occupant(port)) from error
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AddressUnusable(host, port, reason) from error
    return bound


def address_of(host: str, sockets: Sequence[socket.socket]) -> str:
    """Write the URL that people can open, with the port that was really taken."""
    port = sockets[0].getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  not bound here
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}"


@asynccontextmanager
async def serving(
    application: web.Application, sockets: Sequence[socket.socket], *, connections_max: int
) -> AsyncIterator[None]:
    """Answer requests on bound sockets until the end of the block.

    Connections beyond ``connections_max`` are told so and closed. A burst may go beyond it by
    `BACKLOG` at most: what is accepted in one sweep is counted after it.
    """
    from aiohttp import web

    from agency.web.connection import Connection, Refusal
    from agency.web.correlation import CorrelationIds

    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    server = runner.server
    assert server is not None
    ids = CorrelationIds()

    def accept() -> asyncio.BaseProtocol:
        is_free = len(server.connections) < connections_max
        return Connection(server, ids=ids) if is_free else Refusal(connections_max, ids=ids)

    loop = asyncio.get_running_loop()
    listeners: list[asyncio.Server] = []
    try:
        for bound in sockets:
            listeners.append(await loop.create_server(accept, sock=bound, backlog=BACKLOG))
        yield
    finally:
        for listener in listeners:
            listener.close()
        await runner.cleanup()
