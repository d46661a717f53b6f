"""MCP servers in the settings, and in the environment as other programs write them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from agency.config.schema import McpServer, Settings
from agency.config.values import Unsuitable
from agency.core.json import NotJson, decode
from agency.core.suggestions import nearest
from agency.domain.connection import CONNECTION_NAME, ConnectionSetup, shown
from agency.domain.login import LoginFlow
from agency.domain.setups import setup_faults

GROUP = "mcp.servers"
"""The group of sections, one for each server."""

VARIABLE = "MCP_CONNECTIONS"
"""Environment variable with servers as JSON."""

SERVER_URL_NAME = "mcp"
"""What the connection of ``[mcp] server_url`` is called."""

TEXT_BYTES_MAX = 256 * 1024
"""Longest text of the variable; the system's own limit for one is not far above."""

_HINT = (
    'Write {"files": {"command": "mcp-server-filesystem", "args": ["/data"]}}, the same inside '
    'of {"mcpServers": …}, or a list of objects with a name each.'
)
_LISTS = ("mcpServers", "servers", "connections")
_RENAMED = {"alwaysAllow": "allow", "autoApprove": "allow", "is_active": "enabled"}
_KINDS = {
    "mcp_stdio": "command",
    "stdio": "command",
    "mcp_http": "url",
    "http": "url",
    "streamable-http": "url",
    "streamable_http": "url",
    "streamableHttp": "url",
}
_TOLD_ONLY = frozenset({"name", "id", "description", "kind", "type", "transport", "disabled"})

__all__ = ["GROUP", "SERVER_URL_NAME", "VARIABLE", "faults", "read", "setups_of", "shown"]

Fault = tuple[str, str, str]
"""Name of the setting, what is wrong, and what to write instead."""


def read(text: str) -> Mapping[str, Mapping[str, Any]]:
    """Read the variable: servers by name, with their settings as ``[mcp.servers.NAME]`` has them.

    Understood are ``{"name": {…}}``, the same inside of ``mcpServers`` as other programs have it,
    and a list of objects with ``name``; each with its settings or with ``config`` around them.

    Raises:
        Unsuitable: it is none of these. What it holds is not repeated, because it may be secret.
    """
    if len(text) > TEXT_BYTES_MAX:
        raise Unsuitable(f"It has more than {TEXT_BYTES_MAX} characters.")
    try:
        value = decode(text)
    except NotJson as error:
        raise Unsuitable("It is not JSON.", hint=_HINT) from error
    if isinstance(value, dict):
        for key in _LISTS:
            if key in value and len(value) == 1:
                value = value[key]
                break
    found = {}
    for name, entry in _pairs(value):
        if name in found:
            raise Unsuitable(f"{name!r} is there twice.")
        found[name] = _entries(name, entry)
    return found


def _pairs(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401  JSON
    if isinstance(value, list):
        for number, entry in enumerate(value):
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise Unsuitable(f"Entry {number} of the list has no name.", hint=_HINT)
            yield entry["name"], entry
    elif isinstance(value, dict):
        for name, entry in value.items():
            if not isinstance(entry, dict):
                raise Unsuitable(f"{name[:64]!r} is not an object.", hint=_HINT)
            yield name, entry
    else:
        raise Unsuitable("It is neither an object nor a list.", hint=_HINT)


def _entries(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bring one server into the words of the settings."""
    inner = entry.get("config")
    merged = {**entry, **inner} if isinstance(inner, dict) else dict(entry)
    merged.pop("config", None)
    kind = merged.get("kind", merged.get("type", merged.get("transport")))
    if kind is not None:
        _check_kind(name, kind, merged)
    found = {
        _RENAMED.get(key, key): value for key, value in merged.items() if key not in _TOLD_ONLY
    }
    if isinstance(merged.get("disabled"), bool):
        found["enabled"] = not merged["disabled"]
    return found


def _check_kind(name: str, kind: object, entry: Mapping[str, Any]) -> None:
    if kind == "http_api":
        raise Unsuitable(
            f"{name!r} is of the kind 'http_api', which is not spoken here.",
            hint="Use a server of MCP in front of it, or the tool that makes HTTP requests.",
        )
    if kind == "sse":
        raise Unsuitable(
            f"{name!r} is of the kind 'sse', the older HTTP of MCP, which is not spoken here.",
            hint="Most servers also have streamable HTTP, mostly at /mcp: use that address.",
        )
    needed = _KINDS.get(kind) if isinstance(kind, str) else None
    if needed is None:
        likely = nearest(str(kind), list(_KINDS))
        raise Unsuitable(
            f"{name!r} is of the unknown kind {kind!r}.",
            hint=f"Did you mean {likely!r}?" if likely else "Leave it out.",
        )
    if needed not in entry:
        raise Unsuitable(f"{name!r} is of the kind {kind!r} and has no {needed}.")


def faults(values: Mapping[str, Any], sections: Sequence[str]) -> Iterator[Fault]:
    """Find what is wrong with the sections ``[mcp.servers.NAME]``.

    Args:
        values: All settings by name.
        sections: Names of the sections.
    """
    keys = [part.name for part in fields(McpServer)]
    for name in sections:
        if CONNECTION_NAME.fullmatch(name) is None:
            hint = "Use up to 32 letters, digits, dashes and single underscores."
            what = f"{name!r} cannot be the name of a connection."
            yield f"{GROUP}.{name}.command", what, hint
        server = McpServer(**{key: values[f"{GROUP}.{name}.{key}"] for key in keys})
        key, setup = "timeouts_s", None
        try:
            setup = _setup_of(server)
        except ValueError:
            yield f"{GROUP}.{name}.{key}", "The times must be numbers of seconds.", ""
        for fault in [] if setup is None else setup_faults(setup):
            key = fault.where.split("/")[1]
            yield f"{GROUP}.{name}.{key}", fault.what, fault.hint


def setups_of(settings: Settings) -> Mapping[str, tuple[ConnectionSetup, bool]]:
    """Give the connections that the settings have, by name, with whether they are to be opened."""
    found = {
        name: (_setup_of(server), server.enabled) for name, server in settings.mcp_servers.items()
    }
    if settings.mcp.server_url:
        setup = ConnectionSetup(url=settings.mcp.server_url)
        found.setdefault(SERVER_URL_NAME, (setup, True))
    return found


def _setup_of(server: McpServer) -> ConnectionSetup:
    """Make the setup of a section.

    Raises:
        ValueError: a time is no number.
    """
    own = {part.name: getattr(server, part.name) for part in fields(McpServer)}
    del own["enabled"]
    own["timeout_s"] = server.timeout_s or None
    own["concurrency"] = server.concurrency or None
    own["timeouts_s"] = {name: float(text) for name, text in server.timeouts_s.items()}
    own["oauth"] = LoginFlow(server.oauth)
    return ConnectionSetup(**own)
