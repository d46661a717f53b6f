from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from agency.daemon.listener import address_of, bind, serving
from agency.daemon.occupant import find_occupant
from agency.errors import AddressUnusable, PortTaken


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def test_port_0_takes_a_free_one_and_the_address_says_which() -> None:
    sockets = await bind("127.0.0.1", 0)

    port = sockets[0].getsockname()[1]
    assert f"http://127.0.0.1:{port}" == address_of("127.0.0.1", sockets)
    assert f"http://127.0.0.1:{port}" == address_of("0.0.0.0", sockets)
    for bound in sockets:
        bound.close()


async def test_all_addresses_of_a_name_get_the_same_port() -> None:
    sockets = await bind("localhost", 0)

    assert 1 == len({bound.getsockname()[1] for bound in sockets})
    for bound in sockets:
        bound.close()


async def test_taken_port_is_refused_and_says_by_whom(taken: int) -> None:
    with pytest.raises(PortTaken) as caught:
        await bind("127.0.0.1", taken)

    if Path("/proc/net/tcp").exists():
        assert f"process {os.getpid()} (" in caught.value.message


async def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(AddressUnusable):
        await bind("192.0.2.1", 0)


async def test_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(AddressUnusable):
        await bind("no.such.name.invalid", 0)


def test_nobody_is_found_on_a_free_port() -> None:
    assert "" == find_occupant(1)


async def test_connection_beyond_the_limit_is_told_so() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", hello)
    sockets = await bind("127.0.0.1", 0)
    host, port = sockets[0].getsockname()
    async with asyncio.timeout(5), serving(application, sockets, connections_max=1):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()

        async with ClientSession() as session, session.get(f"http://{host}:{port}/") as refused:
            assert 503 == refused.status

        writer.close()
        await writer.wait_closed()
