"""The guard in front of connections that a model, a page or a command asks for."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from agency.core.addresses import (
    Endpoint,
    Lookup,
    is_public,
    parse_rule,
    resolve_checked,
)
from agency.errors import AddressRefused, HostNotFound

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]

NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.0.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "fe80::1",
    "fec0::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
]


def looked_up(*addresses: str) -> Lookup:
    async def look_up(host: str, port: int) -> Sequence[Endpoint]:
        return [
            Endpoint(socket.AF_INET6 if ":" in each else socket.AF_INET, each, port)
            for each in addresses
        ]

    return look_up


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_private_and_disguised_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_with_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        await resolve_checked("rebinding.example", 80, lookup=looked_up(address))

    assert [address] == refused.value.addresses


async def test_only_the_public_addresses_of_a_mixed_name_are_handed_back() -> None:
    mixed = looked_up("127.0.0.1", "1.1.1.1", "::1")

    found = await resolve_checked("mixed.example", 443, lookup=mixed)

    assert ["1.1.1.1"] == [each.address for each in found]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "localhost"],
    ids=["plain", "v6", "decimal", "hexadecimal", "short", "name"],
)
async def test_every_spelling_of_loopback_is_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises(AddressRefused):
        await resolve_checked(host, 80)


@pytest.mark.parametrize(
    ("rule", "host", "address"),
    [
        ("internal.example", "internal.example", "10.0.0.1"),
        ("Internal.Example.", "INTERNAL.example", "10.0.0.1"),
        ("*.example", "a.b.example", "10.0.0.1"),
        ("internal.example:8080", "internal.example", "10.0.0.1"),
        ("10.0.0.0/8", "any.example", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("[fd00::1]:8080", "six.example", "fd00::1"),
        ("fd00::1", "six.example", "fd00::1"),
        ("127.0.0.1", "mapped.example", "::ffff:127.0.0.1"),
        ("169.254.169.254", "169.254.169.254", "169.254.169.254"),
    ],
)
async def test_a_private_address_is_reached_where_a_rule_allows_it(
    rule: str, host: str, address: str
) -> None:
    found = await resolve_checked(host, 8080, private=[parse_rule(rule)], lookup=looked_up(address))

    assert [address] == [each.address for each in found]


@pytest.mark.parametrize(
    ("rule", "host", "address"),
    [
        ("other.example", "internal.example", "10.0.0.1"),
        ("*.example", "example", "10.0.0.1"),
        ("*.example", "badexample", "10.0.0.1"),
        ("internal.example:81", "internal.example", "10.0.0.1"),
        ("10.0.0.0/8:81", "any.example", "10.0.0.1"),
        ("10.0.0.0/8", "any.example", "192.168.0.1"),
        ("169.254.0.0/16", "cloud.example", "169.254.169.254"),
        ("169.254.0.0/16", "cloud.example", "::ffff:169.254.169.254"),
        ("64:ff9b::/96", "cloud.example", "64:ff9b::a9fe:a9fe"),
        ("cloud.example", "cloud.example", "169.254.169.254"),
        ("cloud.example", "cloud.example", "::ffff:169.254.169.254"),
        ("cloud.example", "cloud.example", "fd00:ec2::254"),
    ],
)
async def test_a_rule_for_something_else_allows_nothing(rule: str, host: str, address: str) -> None:
    with pytest.raises(AddressRefused):
        await resolve_checked(host, 8080, private=[parse_rule(rule)], lookup=looked_up(address))


@pytest.mark.parametrize("text", ["", "a b", "x:0", "x:65536", "x:http", "-/-", "a..b", "http://x"])
def test_what_is_no_host_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no host|names no port"):
        parse_rule(text)


async def test_a_name_that_does_not_resolve_is_told_from_one_that_is_refused() -> None:
    async def fail(host: str, port: int) -> Sequence[Endpoint]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(HostNotFound, match="Name or service not known"):
        await resolve_checked("nothing.invalid", 80, lookup=fail)


async def test_names_are_looked_up_while_the_loops_own_threads_are_busy() -> None:
    loop = asyncio.get_running_loop()
    over = threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(asyncio.to_thread(over.wait))
    private = [parse_rule("localhost")]

    try:
        found = await resolve_checked("localhost", 80, private=private, timeout_s=5.0)
    finally:
        over.set()
        await busy

    assert {80} == {one.port for one in found}
