"""What servers have said in HTTP statuses, which the SDK tells in words of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agency.tools.mcp.oauth.challenge import Challenge

UNAUTHORIZED = 401
NO_ENTRY = frozenset({UNAUTHORIZED, 403})
"""Statuses with which credentials are refused: trying again with the same is of no use."""


class Refusals:
    """What was refused in one life of a connection.

    Attributes:
        status: The last status from 400, 0 before.
        reason: Why the last request could not be sent; empty before.
        challenge: What the server has last demanded of a login; None before.
        login: What is to be done about that, one sentence; empty where nobody can log in.
    """

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.challenge: Challenge | None = None
        self.login = ""

    @property
    def needs_login(self) -> bool:
        """Tell whether a login was demanded.

        Not only last: after the first question of the newer era was refused, the SDK asks in the
        older one, which such a server refuses for another reason.
        """
        return bool(self.login) and self.challenge is not None

    @property
    def has_refused(self) -> bool:
        """Tell whether the last status was a demand for a login."""
        challenge = self.challenge
        return bool(self.login) and challenge is not None and challenge.status == self.status

    def sentence(self) -> str:
        """Say it; empty when nothing was refused."""
        if self.reason or not self.status:
            return self.reason
        if self.needs_login:
            return self.login
        if self.status in NO_ENTRY:
            return f"it answered with HTTP {self.status}: are the credentials right?"
        return f"it answered with HTTP {self.status}"
