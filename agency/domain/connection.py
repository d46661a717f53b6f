"""Connections: servers of tools that are not ours, how they are reached and how they are now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from agency.core.records import dataclass
from agency.domain.login import LoginFlow
from agency.domain.tool import Permission, ToolEffect

CONNECTION_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,31}")
"""What a connection may be called. It stands before two underscores in the names of its tools, so
that it holds no two itself."""

REFERENCE = re.compile(r"secret://([A-Za-z0-9][A-Za-z0-9._-]*)")
"""A reference to a secret inside of a text, for example ``Bearer secret://github-token``."""

MASK = "***"
"""What is shown of a value that may be a secret."""

_SECRET_KEY = re.compile(
    r"authorization|cookie|token|secret|passw|credential|api[_-]?key|(?:^|[_-])(?:key|pat|pwd)$",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@?#]*:[^/\s@?#]+@", re.IGNORECASE)
"""Beginning of an address with a password, as databases have them."""
_SECRET_OPTION = re.compile(r"--?([A-Za-z0-9_-]+)(?:=(.*))?", re.DOTALL)


class ConnectionKind(StrEnum):
    """How a server is reached."""

    STDIO = "mcp_stdio"
    """A program that is started, and talked with over its standard input and output."""
    HTTP = "mcp_http"
    """MCP's streamable HTTP."""


class ConnectionOrigin(StrEnum):
    """Who has said that there is one."""

    STORED = "stored"
    """Somebody, over REST or the command line; kept in the database."""
    CONFIGURED = "configured"
    """The configuration, or MCP_CONNECTIONS; changed there."""


class ConnectionState(StrEnum):
    """How a connection is now."""

    CONNECTING = "connecting"
    READY = "ready"
    BACKOFF = "backoff"
    """It failed and is tried again soon."""
    LOGIN = "login"
    """Its server demands a login that only a person can do."""
    BROKEN = "broken"
    """It failed too often, or cannot work as it is set up."""
    DISABLED = "disabled"
    """Somebody has switched it off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSetup:
    """How a server is reached, and what is thought of its tools.

    Patterns are of the server's own names of tools, as in `fnmatch`.

    Attributes:
        command, args, env, cwd: Of a program; ``cwd`` is where it starts, and the one folder that
            it may write when it runs in a sandbox; empty for a folder of its own.
        readable: Further files and folders that it may read in the sandbox.
        hosts: ``name`` or ``name:port`` that it may connect to from the sandbox.
        sandbox: Run the program in the sandbox.
        url, headers: Of a server that is spoken with over HTTP.
        oauth: How a token for it is come by.
        oauth_client_id: Client that is registered at the authorization server, or the address of a
            document that describes it; empty to register one.
        oauth_client_secret, oauth_key: What the client shows who it is by; the key is a private
            one, in PEM. References to secrets.
        oauth_algorithm: That is signed with the key; empty for the usual one.
        oauth_scopes: What is asked for; empty for what the server demands.
        oauth_issuer: The one authorization server that will do; empty for the one that the server
            names.
        timeout_s: Longest call; None for the default.
        timeouts_s: The same for single tools, by their names.
        concurrency: Calls at once; None for the default.
        trust_hints: What the server says of its tools (that one only reads) may loosen what holds.
        allow, ask, deny: Tools that need no approval, wait for one, are refused; the last wins.
        repeatable, once: Tools whose interrupted calls are made again, or asked about; the last
            wins.
        elicitation: It may ask people.
        sampling: It may ask the run's model.
        roots: It is told the folder of the run.
    """

    command: str = ""
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    readable: Sequence[str] = ()
    hosts: Sequence[str] = ()
    sandbox: bool = True
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    oauth: LoginFlow = LoginFlow.LOGIN
    oauth_client_id: str = ""
    oauth_client_secret: str = ""
    oauth_key: str = ""
    oauth_algorithm: str = ""
    oauth_scopes: Sequence[str] = ()
    oauth_issuer: str = ""
    timeout_s: float | None = None
    timeouts_s: Mapping[str, float] = field(default_factory=dict)
    concurrency: int | None = None
    trust_hints: bool = False
    allow: Sequence[str] = ()
    ask: Sequence[str] = ()
    deny: Sequence[str] = ()
    repeatable: Sequence[str] = ()
    once: Sequence[str] = ()
    elicitation: bool = True
    sampling: bool = True
    roots: bool = False

    @property
    def kind(self) -> ConnectionKind:
        """What ``url`` says."""
        return ConnectionKind.HTTP if self.url else ConnectionKind.STDIO

    @property
    def logs_in(self) -> bool:
        """Tell whether tokens are come by, and do not stand in a header."""
        has_own = any(name.lower() == "authorization" for name in self.headers)
        return bool(self.url) and self.oauth is not LoginFlow.OFF and not has_own


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolHints:
    """What a server says of a tool. Hints: nobody has checked them.

    Source: MCP 2026-07-28, schema, ToolAnnotations; None is what the server does not say.
    """

    read_only: bool | None = None
    idempotent: bool | None = None
    destructive: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTool:
    """A tool as its server describes it.

    Attributes:
        name: The server's own name for it.
        full_name: ``connection__tool`` in letters that models accept; unique in the connection.
        parameters: JSON Schema of type object.
    """

    name: str
    full_name: str
    description: str
    parameters: Mapping[str, Any]
    hints: ToolHints = field(default_factory=ToolHints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A server of tools.

    Attributes:
        tools: Those that it has offered when it was last asked; empty before.
        tools_at: When that was.
        last_error: Why it was last not to be had, with the moment; empty for never.
    """

    id: str
    name: str
    setup: ConnectionSetup
    origin: ConnectionOrigin
    is_active: bool
    created_at: datetime
    updated_at: datetime
    tools: Sequence[ServerTool] = ()
    tools_at: datetime | None = None
    last_error: str = ""
    last_error_at: datetime | None = None

    @property
    def kind(self) -> ConnectionKind:
        """How it is reached."""
        return self.setup.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStatus:
    """How a connection is now.

    Attributes:
        reason: Why it is not ready, one sentence; empty when it is.
        since: When it came into this state.
        retry_at: When it is tried again; None when it is not waiting for that.
        protocol: Revision of MCP that is spoken; empty before.
        server: Name and version that the server gives itself; empty when it does not.
        pid: Process of a server that is a program; None without one.
        sandbox: Driver of the sandbox that it runs in, ``none`` outside of one; empty over HTTP.
        opened: How often it has become ready since the daemon started.
        calls_running: Calls at this moment.
    """

    state: ConnectionState
    reason: str
    since: datetime
    retry_at: datetime | None = None
    protocol: str = ""
    server: str = ""
    pid: int | None = None
    sandbox: str = ""
    opened: int = 0
    calls_running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A program that was started for a connection, so that a later daemon can end what is left.

    Attributes:
        mark: Random text in the environment of the program and of all that it starts.
        boot: The machine's start: process ids mean nothing in another one. Empty if unknown.
        pid: Leader of the process group; 0 until it is known.
        start_ticks: When that process began, as the system counts; 0 if unknown.
    """

    mark: str
    connection: str
    boot: str
    pid: int
    start_ticks: int
    recorded_at: datetime


def is_connection_name(text: str) -> bool:
    """Tell whether a connection may be called that."""
    return CONNECTION_NAME.fullmatch(text) is not None


def effect_of(tool: ServerTool, setup: ConnectionSetup) -> ToolEffect:
    """Decide what becomes of an interrupted call of a tool.

    The setup decides; what the server says counts only when its hints are trusted, because a hint
    makes calls be repeated unasked.
    """
    if _is_listed(tool.name, setup.once):
        return ToolEffect.ONCE
    if _is_listed(tool.name, setup.repeatable):
        return ToolEffect.REPEATABLE
    is_repeatable = tool.hints.read_only or tool.hints.idempotent
    return ToolEffect.REPEATABLE if setup.trust_hints and is_repeatable else ToolEffect.ONCE


def permission_of(tool: ServerTool, setup: ConnectionSetup) -> Permission:
    """Decide whether a tool may be called when no policy says otherwise.

    A tool that says to be destructive is asked about whatever else it says: a hint may always
    tighten.
    """
    if _is_listed(tool.name, setup.deny):
        return Permission.DENY
    if _is_listed(tool.name, setup.ask):
        return Permission.ASK
    if _is_listed(tool.name, setup.allow):
        return Permission.ALLOW
    is_harmless = tool.hints.read_only and not tool.hints.destructive
    return Permission.ALLOW if setup.trust_hints and is_harmless else Permission.ASK


def _is_listed(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def references_of(setup: ConnectionSetup) -> Sequence[str]:
    """List the secrets that a setup refers to, each once."""
    texts = [*setup.env.values(), *setup.headers.values(), setup.url]
    texts += [setup.oauth_client_secret, setup.oauth_key]
    return list(dict.fromkeys(name for text in texts for name in REFERENCE.findall(text)))


def plain_secrets(setup: ConnectionSetup) -> Sequence[str]:
    """List where values stand that look like secrets and are no references.

    Returns:
        JSON pointers into the setup, ``/env/GITHUB_TOKEN``.
    """
    found = []
    for group, values in (("env", setup.env), ("headers", setup.headers)):
        found += [f"/{group}/{key}" for key, value in values.items() if _is_plain(key, value)]
    found += [f"/args/{number}" for number in _plain_args(setup.args)]
    if masked_url(setup.url) != setup.url:
        found.append("/url")
    found += [
        f"/{name}"
        for name in ("oauth_client_secret", "oauth_key")
        if _is_plain("secret", getattr(setup, name))
    ]
    return found


def masked_url(url: str) -> str:
    """Give an address without its user name and password, and without secrets in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    place = parts.netloc.rpartition("@")[2]
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if place == parts.netloc and not any(_is_plain(key, value) for key, value in pairs):
        return url
    shown = [(key, MASK if _is_plain(key, value) else value) for key, value in pairs]
    return urlunsplit(parts._replace(netloc=place, query=urlencode(shown, safe="*:/")))


def _plain_args(args: Sequence[str]) -> Sequence[int]:
    """Find ``--token=x``, the ``x`` after ``--token``, and addresses with a password."""
    found = [number for number, text in enumerate(args) if _PASSWORD.search(text)]
    for number, text in enumerate(args):
        option = _SECRET_OPTION.fullmatch(text)
        if option is None or not _SECRET_KEY.search(option[1]):
            continue
        if option[2]:
            found.append(number)
        elif option[2] is None and number + 1 < len(args):
            found.append(number + 1)
    return sorted(set(found))


def _is_plain(key: str, value: str) -> bool:
    if not value or REFERENCE.search(value):
        return False
    return bool(_SECRET_KEY.search(key) or _PASSWORD.search(value))


def masked(setup: ConnectionSetup) -> Mapping[str, Any]:
    """Give a setup as JSON in which nothing that may be a secret can be read."""
    return {name: shown(name, value) for name, value in setup_json(setup).items()}


def shown(name: str, value: Any) -> Any:  # noqa: ANN401  JSON
    """Give the value of one field of a setup as it may be shown."""
    match name:
        case "env" | "headers":
            return {key: MASK if _is_plain(key, text) else text for key, text in value.items()}
        case "args":
            hidden = set(_plain_args(value))
            return [_hide(text) if number in hidden else text for number, text in enumerate(value)]
        case "url":
            return masked_url(value)
        case "oauth_client_secret" | "oauth_key":
            return MASK if _is_plain("secret", value) else value
        case _:
            return value


def _hide(text: str) -> str:
    option, sign, _ = text.partition("=")
    return f"{option}={MASK}" if sign and option.startswith("-") else MASK


def setup_json(setup: ConnectionSetup) -> Mapping[str, Any]:
    """Give a setup as JSON, with everything that is in it."""
    return {
        "command": setup.command,
        "args": list(setup.args),
        "env": dict(setup.env),
        "cwd": setup.cwd,
        "readable": list(setup.readable),
        "hosts": list(setup.hosts),
        "sandbox": setup.sandbox,
        "url": setup.url,
        "headers": dict(setup.headers),
        "oauth": setup.oauth.value,
        "oauth_client_id": setup.oauth_client_id,
        "oauth_client_secret": setup.oauth_client_secret,
        "oauth_key": setup.oauth_key,
        "oauth_algorithm": setup.oauth_algorithm,
        "oauth_scopes": list(setup.oauth_scopes),
        "oauth_issuer": setup.oauth_issuer,
        "timeout_s": setup.timeout_s,
        "timeouts_s": dict(setup.timeouts_s),
        "concurrency": setup.concurrency,
        "trust_hints": setup.trust_hints,
        "allow": list(setup.allow),
        "ask": list(setup.ask),
        "deny": list(setup.deny),
        "repeatable": list(setup.repeatable),
        "once": list(setup.once),
        "elicitation": setup.elicitation,
        "sampling": setup.sampling,
        "roots": setup.roots,
    }
