"""What is kept of the login at one server, and how it is written into the vault. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from datetime import datetime
from typing import Any

from agency.core.clock import from_micros, to_micros
from agency.core.json import NotJson, decode, encode
from agency.core.records import dataclass

VERSION = 1

SECRET_CHARACTERS_MAX = 16 * 1024
"""Longest token, so that several fit into one secret of the vault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A login that was begun.

    Attributes:
        state: Random; whoever brings it back was sent by the authorization server.
        verifier: PKCE's secret, which the code is worth nothing without (RFC 7636).
        redirect_uri: As it was handed over; the exchange must name the same.
        wants_iss: The authorization server has promised to name itself when it sends the browser
            back (RFC 9207).
    """

    state: str
    verifier: str
    redirect_uri: str
    wants_iss: bool
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A client at an authorization server, and what it was granted there.

    Attributes:
        server: Address of the server of tools; the token is for this one, and no other.
        resource: What the token is to be good for (RFC 8707).
        issuer: Authorization server. Client and tokens are bound to it.
        token_endpoint, revocation_endpoint: Of that; empty where it has none.
        client_id, client_secret, method: How the daemon shows there who it is. The secret is empty
            where the settings have it.
        is_registered: The client was registered by this daemon, and is its own to replace.
        redirect_uri: That the client was registered with.
        asked_scope: What was last asked for; None when nothing was said.
        renew_at: When the access token is not to be shown any more; None if it is not said how long
            it lasts.
        failure: Why the last login has failed; empty when it has not.
    """

    server: str
    resource: str = ""
    issuer: str = ""
    token_endpoint: str = ""
    revocation_endpoint: str = ""
    client_id: str = ""
    client_secret: str = ""
    method: str = "none"
    is_registered: bool = False
    redirect_uri: str = ""
    access_token: str = ""
    refresh_token: str = ""
    scope: str = ""
    asked_scope: str | None = None
    renew_at: datetime | None = None
    failure: str = ""
    pending: Pending | None = field(default=None)

    def is_fresh(self, now: datetime) -> bool:
        """Tell whether the access token is worth being shown."""
        if not self.access_token:
            return False
        return self.renew_at is None or now < self.renew_at

    def without_tokens(self) -> Grant:
        """Give what is left when the tokens are of no use any more: who the client is."""
        return replace(self, access_token="", refresh_token="", renew_at=None)


_SECRETS = ("access_token", "refresh_token", "client_secret")
_PENDING_SECRETS = ("state", "verifier")


def to_text(grant: Grant) -> str:
    """Write a grant as a secret of the vault.

    Each token stands alone on a line of its own after the first, which has everything else:
    texts are searched for the lines of secrets, so that a token is found wherever it turns up.
    """
    shown = {name: value for name, value in asdict(grant).items() if name not in _SECRETS}
    hidden = [(name, getattr(grant, name)) for name in _SECRETS]
    shown["renew_at"] = _micros(grant.renew_at)
    if grant.pending is not None:
        pending = shown["pending"]
        hidden += [(f"pending.{name}", pending.pop(name)) for name in _PENDING_SECRETS]
        pending["began_at"] = to_micros(grant.pending.began_at)
    hidden = [(name, value) for name, value in hidden if value]
    head = {"version": VERSION, "lines": [name for name, _ in hidden], **shown}
    return "\n".join([encode(head).decode(), *(value for _, value in hidden)])


def parse_grant(text: str) -> Grant | None:
    """Read what `to_text` has written; None when it is none, as when somebody has changed it."""
    first, *lines = text.split("\n")
    try:
        head = decode(first.encode())
    except NotJson:
        return None
    if not isinstance(head, dict) or head.pop("version", None) != VERSION:
        return None
    names = head.pop("lines", None)
    if not isinstance(names, list) or len(names) != len(lines):
        return None
    hidden = {str(name): line.rstrip("\r") for name, line in zip(names, lines, strict=True)}
    try:
        return _grant_of(head, hidden)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None


def _grant_of(head: dict[str, Any], hidden: Mapping[str, str]) -> Grant:
    known = {one.name for one in fields(Grant)}
    pending = head.pop("pending", None)
    values = {name: value for name, value in head.items() if name in known}
    values |= {name: value for name, value in hidden.items() if name in _SECRETS}
    values["renew_at"] = _moment(values.get("renew_at"))
    if pending is not None:
        values["pending"] = Pending(
            state=hidden["pending.state"],
            verifier=hidden["pending.verifier"],
            redirect_uri=pending["redirect_uri"],
            wants_iss=pending["wants_iss"],
            began_at=from_micros(pending["began_at"]),
        )
    return Grant(**values)


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def is_secret(text: str) -> bool:
    """Tell whether a text can be a token: printable ASCII, on one line, and not too long.

    Source: RFC 6749, appendix A.12 and A.17, VSCHAR.
    """
    return 0 < len(text) <= SECRET_CHARACTERS_MAX and all("!" <= one <= "~" for one in text)
