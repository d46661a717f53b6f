"""Where the A2A door is: its paths, and the address that cards name."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from aiohttp import web

from agency.errors import HostRefused
from agency.web.access import host_name

BASE = "/a2a"
CARD = "/.well-known/agent-card.json"
KEYS = "/.well-known/jwks.json"
AGENT = BASE + "/{agent}"
HTTP = "/v1"
"""Below an agent's address: its HTTP+JSON interface, of both versions."""


def agent_url(address: str, name: str) -> str:
    """Give the address of an agent: of its JSON-RPC, and what its other places begin with."""
    return f"{address}{BASE}/{quote(name, safe='')}"


def address_of(request: web.Request, base_url: str) -> str:
    """Give the address under which the caller reaches this daemon, without a slash at its end.

    Raises:
        HostRefused: the Host of the request is no host; its name has been checked by the guard
            where names count.
    """
    if base_url:
        return base_url.rstrip("/")
    host = request.host
    if not host_name(host):
        raise HostRefused(host)
    return f"{request.scheme}://{host}"


def grpc_address(address: str, port: int) -> str:
    """Give the address of the gRPC interface, which has no scheme: ``host:port``."""
    name = urlsplit(address).hostname or ""
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
