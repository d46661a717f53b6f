"""Logins at servers of tools: what a person is told of them. Nothing here is secret."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from agency.core.records import dataclass


class LoginFlow(StrEnum):
    """How this daemon comes by a token for a server over HTTP."""

    LOGIN = "login"
    """A person logs in, once, when the server demands it (authorization code with PKCE)."""
    CLIENT_CREDENTIALS = "client_credentials"
    """The daemon itself logs in, with a client's secret or key."""
    OFF = "off"
    """Not at all; headers may still hold credentials."""


class LoginState(StrEnum):
    """How a connection stands with the login at its server."""

    NONE = "none"
    """There was none, and none is known to be needed."""
    NEEDED = "needed"
    """The server demands one."""
    WAITING = "waiting"
    """It was begun, and the browser has not come back yet."""
    DONE = "done"
    """There is a token, or what is needed to get the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginView:
    """How a connection stands with its login.

    Attributes:
        reason: What is to be done, or why the last login has failed; empty when all is well.
        issuer: Authorization server; empty before it is known.
        scope: What was granted, or is asked for, parted by spaces; empty for none.
        expires_at: When the login that was begun is too old, or the token is renewed; None if it
            is not said.
    """

    state: LoginState
    reason: str = ""
    issuer: str = ""
    scope: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginStarted:
    """A login that was begun.

    Attributes:
        url: What a person opens in a browser.
        redirect_uri: Where the browser is sent afterwards; to be pasted if it cannot get there.
        expires_at: When it must have come back.
    """

    url: str
    redirect_uri: str
    issuer: str
    scope: str
    expires_at: datetime
