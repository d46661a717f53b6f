"""Which addresses may be connected to on behalf of a model, a page or a command.

A name is resolved once, each address is judged, and the connection is made to an address that was
judged: a name that resolves to something else a moment later (DNS rebinding) gains nothing. What
is not a public address is refused unless it was allowed by name or number, because the daemon
stands in a network whose other members trust it: its own ports, routers, databases, and the
metadata services of clouds, which hand out credentials.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from agency.core.records import dataclass
from agency.errors import AddressRefused, HostNotFound

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

RESOLVE_S = 10.0
"""Longest wait for a name to be resolved."""

LOOKUPS_MAX = 16
"""Names that are looked up at once; more wait for their turn."""

ADDRESSES_MAX = 16
"""Addresses of one name that are judged and tried."""

METADATA = frozenset(
    {
        IPv4Address("169.254.169.254"),
        IPv4Address("169.254.170.2"),
        IPv4Address("100.100.100.200"),
        IPv4Address("192.0.0.192"),
        IPv4Address("168.63.129.16"),
        IPv6Address("fd00:ec2::254"),
        IPv6Address("fd20:ce::254"),
    }
)
"""Where clouds hand out credentials to whoever asks (EC2, ECS, Alibaba, Oracle, Azure, Google).

They are refused even where their network is allowed; only the very address itself allows them.
"""

_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_UNICAST = IPv6Network("2000::/3")
_EXAMPLES = IPv6Network("3fff::/20")
"""RFC 9637; the standard library of Python 3.11 takes them for public."""

_Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that was judged, as ``socket.connect`` takes it."""

    family: socket.AddressFamily
    address: str
    port: int


Lookup = Callable[[str, int], Awaitable[Sequence[Endpoint]]]
"""Asks for all addresses of a name; raises OSError."""


def is_public(address: _Address) -> bool:
    """Tell whether an address is one of the public internet, also where it carries another.

    Source: IANA's special-purpose address registries, as `ipaddress` has them; RFC 4291 section
    2.5.5 (mapped), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 6052 and 8215 (NAT64).
    """
    if address in METADATA:
        return False
    if isinstance(address, IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return all(is_public(each) for each in inner)
        # Nothing beyond is handed out to anybody: site-local addresses of old lie there.
        if address not in _UNICAST or any(address in each for each in (_NAT64_LOCAL, _EXAMPLES)):
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _carried(address: IPv6Address) -> tuple[IPv4Address, ...] | None:
    """Find the IPv4 addresses that packets to an IPv6 address may end up at."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    # ::a.b.c.d, deprecated, and still routed by some systems.
    if 1 < int(address) <= 0xFFFFFFFF:
        return (IPv4Address(int(address)),)
    return None


def _ends_of(address: _Address) -> tuple[_Address, ...]:
    """List where packets to an address may end up, itself included."""
    inner = _carried(address) if isinstance(address, IPv6Address) else None
    return (address, *(inner or ()))


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry of a list of hosts: ``name``, ``*.name``, an address or a network, with ``:port``.

    ``*.name`` means everything below the name, and not the name itself.
    """

    name: str
    network: IPv4Network | IPv6Network | None
    port: int | None

    def fits(self, host: str, port: int) -> bool:
        """Tell whether a host that was asked for by this name or number is meant."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            address = literal(host)
            return address is not None and _within(address, self.network)
        host = _plain(host)
        if self.name.startswith("*."):
            return host.endswith(self.name[1:]) and host != self.name[1:]
        return host == self.name

    def allows(self, address: _Address, port: int) -> bool:
        """Tell whether the address itself is named by number."""
        if self.network is None or (self.port is not None and self.port != port):
            return False
        if METADATA.intersection(_ends_of(address)):
            return self.network.num_addresses == 1 and _within(address, self.network)
        return _within(address, self.network)


def _within(address: _Address, network: IPv4Network | IPv6Network) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version == network.version and address in network


def parse_rule(text: str) -> HostRule:
    """Read an entry of a list of hosts.

    Raises:
        ValueError: it is none; the message says what it should be.
    """
    if "://" in text:
        raise ValueError(f"{text!r} is no host, but a whole address: write the host alone.")
    rest, port = _split_port(text.strip())
    network = _network(rest.removeprefix("[").removesuffix("]"))
    if network is not None:
        return HostRule("", network, port)
    name = _plain(rest)
    labels = name.removeprefix("*.").split(".")
    if not all(0 < len(each) <= 63 and _is_label(each) for each in labels) or len(name) > 253:
        raise ValueError(
            f"{text!r} is no host: write `name`, `*.name`, an address or a network, "
            "each with `:port` if only that one is meant."
        )
    return HostRule(name, None, port)


def _is_label(text: str) -> bool:
    return text.replace("-", "").replace("_", "").isalnum()


def _split_port(text: str) -> tuple[str, int | None]:
    """Part a host from its port; an address of IPv6 has one only after brackets."""
    head, colon, tail = text.rpartition(":")
    is_bare_v6 = text.count(":") > 1 and not text.startswith("[")
    if not colon or is_bare_v6 or text.endswith("]"):
        return text, None
    if not (tail.isascii() and tail.isdigit() and 0 < int(tail) < 65536):
        raise ValueError(f"{text!r} names no port between 1 and 65535 after its colon.")
    return head, int(tail)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def literal(host: str) -> _Address | None:
    """Read a host that is an address, with or without brackets; None for a name."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None


def _plain(host: str) -> str:
    """Write a name as it is compared: in small letters, as DNS has it, without the last dot."""
    host = host.rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


async def resolve_checked(
    host: str,
    port: int,
    *,
    private: Sequence[HostRule] = (),
    timeout_s: float = RESOLVE_S,
    lookup: Lookup | None = None,
) -> Sequence[Endpoint]:
    """Resolve a host once, and hand back those of its addresses that may be connected to.

    Connect to what is handed back, and never to the name: it may resolve otherwise the next time.
    Each hop of a redirection is resolved and judged anew.

    Args:
        private: What may be reached although it is not public. A rule by name allows that name's
            private addresses; a rule by number allows these addresses under any name. Addresses of
            metadata services are allowed by their own number only.
        lookup: Asks for addresses in another way than the system's, for tests.

    Raises:
        AddressRefused: none of its addresses may be connected to.
        HostNotFound: the name does not resolve, or not in time.
    """
    import asyncio  # late: rules are read where settings are, before there is a loop

    name = host.removeprefix("[").removesuffix("]")
    try:
        async with asyncio.timeout(timeout_s):
            found = await (lookup or _look_up)(name, port)
    except TimeoutError:
        raise HostNotFound(host, f"it did not resolve within {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HostNotFound(host, reason) from error
    by_name = any(rule.fits(host, port) for rule in private)
    judged = [
        (each, _may_connect(ip_address(each.address.partition("%")[0]), port, private, by_name))
        for each in found[:ADDRESSES_MAX]
    ]
    good = [each for each, may in judged if may]
    if not good:
        raise AddressRefused(host, [each.address for each, _ in judged])
    return good


def _may_connect(
    address: _Address,
    port: int,
    private: Sequence[HostRule],
    is_named: bool,  # noqa: FBT001
) -> bool:
    if is_public(address) or any(rule.allows(address, port) for rule in private):
        return True
    return is_named and not METADATA.intersection(_ends_of(address))


async def _look_up(host: str, port: int) -> Sequence[Endpoint]:
    import asyncio

    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    if literal(host) is not None:
        found = ask(flags=socket.AI_NUMERICHOST)  # nobody is asked
    else:
        found = await asyncio.get_running_loop().run_in_executor(_resolvers(), ask)
    return [
        Endpoint(family, str(place[0]), port)
        for family, _, _, _, place in found
        if family in {socket.AF_INET, socket.AF_INET6}
    ]


@cache
def _resolvers() -> ThreadPoolExecutor:
    """Give the threads that look names up, and do nothing else.

    Whoever names a host may have its names served by somebody who never answers; the system then
    holds a thread for half a minute, whether or not it is still waited for. In the loop's own
    threads, which are few, that would hold up everything else that is done in them.
    """
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(LOOKUPS_MAX, "names")
