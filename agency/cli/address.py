"""Where the daemon is, and what to show it.

In this order: ``--url`` and ``--token``; ``AGENCY_URL`` and ``AGENCY_TOKEN``; what the daemon of
the configured data directory wrote into it; the configured host and port.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agency.core.json import NotJson, decode
from agency.core.records import dataclass

if TYPE_CHECKING:
    from agency.config.load import Loaded

DAEMON_FILE = "daemon.json"
"""In the data directory, written by a daemon that serves: ``{"url", "pid"}``."""

TOKEN_FILE = "token"  # noqa: S105  the file's name
"""In the data directory, readable by its owner only: the token that the command line shows."""

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  not bound here


@dataclass(frozen=True, slots=True)
class Address:
    """Where to send requests.

    Attributes:
        is_named: Somebody has named this daemon; it is not the one of the data directory.
    """

    url: str
    token: str | None
    is_named: bool


def find_daemon(
    url: str | None,
    token: str | None,
    environ: Mapping[str, str],
    load: Callable[[], Loaded],
) -> Address:
    """Find the daemon that a command is meant for. Nothing is sent.

    The token of the data directory goes only to the daemon of that directory: a token is never
    shown to somebody who was merely named.

    Args:
        url, token: From the command line.
        load: Reads the configuration; not called when the daemon is named.

    Raises:
        ConfigurationInvalid: the daemon is not named and the configuration cannot be read.
    """
    named = url or environ.get("AGENCY_URL")
    shown = token or environ.get("AGENCY_TOKEN") or None
    if named:
        return Address(named, shown, is_named=True)
    loaded = load()
    server = loaded.settings.server
    data_dir = data_dir_of(loaded)
    found = _url_of_live_daemon(data_dir / DAEMON_FILE) or make_url(server.host, server.port)
    return Address(found, shown or _read_token(data_dir / TOKEN_FILE), is_named=False)


def data_dir_of(loaded: Loaded) -> Path:
    """Give the data directory, absolute."""
    return Path(loaded.settings.server.data_dir)


def make_url(host: str, port: int) -> str:
    """Write the address of a daemon on this machine that listens on ``host`` and ``port``."""
    host = _ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _url_of_live_daemon(file: Path) -> str | None:
    """Read the file of a daemon; None when there is none, or when its process has died."""
    try:
        document = decode(file.read_bytes())
    except (OSError, NotJson):
        # Absent, not ours to read, or half written: the configured port is the next best guess.
        return None
    if not isinstance(document, dict):
        return None
    url, pid = document.get("url"), document.get("pid")
    if not isinstance(url, str) or not isinstance(pid, int) or pid <= 0:
        return None
    return url if _is_alive(pid) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_token(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        # Not there, or of another user: then the daemon is asked without a token.
        return None
