"""What servers have said in HTTP statuses, which the SDK tells in words of its own."""

from __future__ import annotations

NO_ENTRY = frozenset({401, 403})
"""Statuses with which credentials are refused: trying again with the same is of no use."""


class Refusals:
    """What was refused in one life of a connection.

    Attributes:
        status: The last status from 400, 0 before.
        reason: Why the last request could not be sent; empty before.
    """

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""

    def sentence(self) -> str:
        """Say it; empty when nothing was refused."""
        if self.reason or not self.status:
            return self.reason
        if self.status in NO_ENTRY:
            return f"it answered with HTTP {self.status}: are the credentials right?"
        return f"it answered with HTTP {self.status}"
