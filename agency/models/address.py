"""The address of a model server, as settings spell it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from agency.core.records import dataclass
from agency.errors import ConfigurationInvalid, Fault

OLLAMA_PORT = 11434
"""Port of an address that names neither a scheme nor a port, as in Ollama's own OLLAMA_HOST."""

_SETTING = "llm.base_url"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a model server is.

    Attributes:
        url: Scheme, host, port and path without a slash at the end.
        is_loopback: The server is on this machine, so no proxy may come in between.
        is_tls: The scheme is https.
    """

    url: str
    is_loopback: bool
    is_tls: bool


def parse_address(text: str, *, setting: str = _SETTING) -> ServerAddress:
    """Read an address such as ``http://localhost:11434``, ``localhost`` or ``[::1]:11434``.

    Args:
        text: The address.
        setting: Where it is from, for messages.

    Raises:
        ConfigurationInvalid: it is not the address of an HTTP server.
    """
    spelled = text.strip()
    has_scheme = "://" in spelled
    try:
        parts = urlsplit(spelled if has_scheme else f"http://{spelled}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid(setting, text, str(error)) from error
    if parts.scheme not in {"http", "https"}:
        raise _invalid(setting, text, f"the scheme {parts.scheme!r} is neither http nor https")
    if not host:
        raise _invalid(setting, text, "it names no host")
    if parts.query or parts.fragment or parts.username is not None:
        raise _invalid(setting, text, "user names, query and fragment are not taken")
    if port is None:
        usual = 443 if parts.scheme == "https" else 80
        port = usual if has_scheme else OLLAMA_PORT
    # 0.0.0.0 is a place to listen, copied from OLLAMA_HOST; the server also answers on loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    shown = f"[{host}]" if ":" in host else host
    return ServerAddress(
        url=f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}",
        is_loopback=_is_loopback(host),
        is_tls=parts.scheme == "https",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(setting: str, text: str, reason: str) -> ConfigurationInvalid:
    what = f"{text!r} is not the address of a model server: {reason}."
    section, _, key = setting.rpartition(".")
    return ConfigurationInvalid(
        f"[{section}] {key}: {what}",
        faults=[Fault(setting, what, "Write for example http://localhost:11434.")],
        hint="Write for example http://localhost:11434.",
    )
