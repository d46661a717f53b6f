"""Who may call: the Host and Origin of a request, and its token.

A daemon on loopback needs no token, because only programs of this machine reach it. Web pages are
such programs, too: a page of another site could point its own name at 127.0.0.1 (DNS rebinding)
or post a form across sites. So the Host must be one of ours and the Origin, if there is one, too.
Every other daemon demands a token with each request, which no page of another site has.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from agency.config.schema import Server
from agency.core.tokens import is_well_formed, secret_hash
from agency.domain.principal import Principal
from agency.errors import (
    HostRefused,
    OriginRefused,
    RequestRefused,
    TokenMissing,
    TokenRefused,
)
from agency.ports.store import TokenStore
from agency.web.answers import LOCAL

_HOSTS_KEPT_MAX = 256
"""Host headers whose check is remembered; callers could otherwise fill the memory with new ones."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def host_name(authority: str) -> str:
    """Cut the port off a ``Host`` header, and bring the name into one form; empty if malformed."""
    if authority.startswith("["):
        name, closed, port = authority[1:].partition("]")
        is_sound = bool(closed) and (not port or _is_port(port))
    else:
        name, _, port = authority.partition(":")
        is_sound = not port or _is_port(":" + port)
    return name.removesuffix(".").lower() if is_sound else ""


def is_loopback(name: str) -> bool:
    """Tell whether a name, without port, can only mean this machine."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Access:
    """Decides whether a request is let in, and as whom."""

    def __init__(self, server: Server, tokens: TokenStore) -> None:
        self._tokens = tokens
        self._is_local = is_loopback(host_name(_bracketed(server.host)))
        self.needs_token = not self._is_local or bool(server.allowed_hosts)
        """Whether every request has to show a token."""
        self._names = {host_name(_bracketed(host)) for host in server.allowed_hosts}
        self._names.add(host_name(_bracketed(server.host)))
        self._checks_host = self._is_local or bool(server.allowed_hosts)
        self._hosts: dict[str, bool] = {}

    def check_host(self, headers: Mapping[str, str], *, is_http_10: bool) -> None:
        """Refuse requests that are addressed to somebody else.

        Raises:
            HostRefused: the name is not one of ours.
            RequestRefused: there is none, which only HTTP/1.0 allows.
        """
        host = headers.get("Host")
        if host is None:
            if is_http_10:
                return
            raise RequestRefused("The request has no Host header.")
        if not self._checks_host:
            # Any name will do where every request must show a token.
            return
        known = self._hosts.get(host)
        if known is None:
            known = self._is_ours(host_name(host))
            if len(self._hosts) < _HOSTS_KEPT_MAX:
                self._hosts[host] = known
        if not known:
            raise HostRefused(host)

    def check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse what pages of other sites would change.

        Raises:
            OriginRefused: the request changes something and comes from another site.
        """
        if method in _READING:
            return
        origin = headers.get("Origin")
        if origin is not None and not self._is_own_origin(origin, headers.get("Host", "")):
            raise OriginRefused(origin)
        if headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
            raise OriginRefused(origin or "cross-site")

    async def principal(self, authorization: str | None) -> Principal:
        """Find out who calls.

        Raises:
            TokenMissing: a token is needed and there is none.
            TokenRefused: the token is unknown, was revoked, or is of another kind.
        """
        if authorization is None:
            if self.needs_token:
                raise TokenMissing
            return LOCAL
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not is_well_formed(secret):
            raise TokenRefused
        shown = secret_hash(secret)
        found: Principal | None = None
        # All of them are compared, so that the time tells nothing about which one fits.
        for token in await self._tokens.list():
            if hmac.compare_digest(shown, token.secret_hash) and token.revoked_at is None:
                found = Principal(name=token.name, has_token=True)
        if found is None:
            raise TokenRefused
        return found

    def _is_ours(self, name: str) -> bool:
        return bool(name) and (name in self._names or is_loopback(name))

    def _is_own_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            name = host_name(parts.netloc)
        except ValueError:
            return False
        if parts.scheme not in {"http", "https"} or not name:
            return False
        return self._is_ours(name) if self._checks_host else name == host_name(host)


def _is_port(text: str) -> bool:
    return text.startswith(":") and (text == ":" or text[1:].isdecimal())


def _bracketed(host: str) -> str:
    """Write a bare IPv6 address as it stands in a Host header."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
