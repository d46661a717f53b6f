"""What every connection needs of the daemon."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from urllib.parse import urlsplit

from agency.core.addresses import HostRule
from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.ports.connection import ConnectionStore
from agency.ports.sandbox import Sandbox
from agency.ports.vault import Secrets
from agency.tools.mcp.logins import Logins


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every connection needs.

    Attributes:
        environ: The daemon's own environment, of which servers get `INHERITED` and nothing else.
        folder: Where servers have folders of their own.
        private: Private places that stored connections may lead to.
        own_port: Port that this daemon listens on.
        own_hosts: Names and addresses, beside the loopback, under which it is reached.
        timeout_s, connect_timeout_s, concurrency: Where a connection says nothing.
        login_url: Under which browsers reach this daemon, when a person has logged in somewhere.
    """

    clock: Clock
    store: ConnectionStore
    vault: Secrets
    sandbox: Sandbox
    environ: Mapping[str, str]
    folder: Path
    private: Sequence[HostRule]
    own_port: int
    own_hosts: frozenset[str]
    timeout_s: float
    connect_timeout_s: float
    concurrency: int
    login_url: str = ""
    logins: Logins = field(default_factory=Logins)

    def redirect_uri(self, connection: str) -> str:
        """Give where browsers are sent after a login for a connection.

        Each connection has a place of its own, so that an answer of one authorization server is
        not taken for one of another (RFC 9700, section 4.4).
        """
        base = self.login_url.rstrip("/") or f"http://127.0.0.1:{self.own_port}"
        return f"{base}/api/v1/connections/{connection}/callback"

    def is_own(self, url: str) -> bool:
        """Tell whether an address is this daemon's own."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").rstrip(".")
        return port == self.own_port and (host in self.own_hosts or _is_loopback(host))


INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR")
"""Variables of the daemon that servers get, too: what programs need to run at all."""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Connected to, the unspecified address is the machine itself.
    return address.is_loopback or address.is_unspecified
