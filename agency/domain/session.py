"""Sessions: conversations, and their forks."""

from __future__ import annotations

from datetime import datetime

from agency.core.records import dataclass

EXCERPT_CHARACTERS = 200
"""So much of the first message is shown in lists."""

TITLE_CHARACTERS_MAX = 200
"""Longest title: it is shown in one line."""

FORKS_DEEP_MAX = 64
"""Forks of forks: each level is one more look when messages are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation.

    Attributes:
        number: Rises with each session.
        title: What somebody has called it, or empty.
        first: Beginning of its first message, or empty.
        parent_id: The session that it was forked from; None also when that was deleted.
        forked_at: Position of the newest message that it shares with that one; 0 for none.
        newest: Position of its newest message; 0 while it has none.
        last_at: When that was said, or else when the session was made.
        live_run_id: The run that has the session now, or None.
        forks: How many sessions were forked from it.
    """

    number: int
    id: str
    title: str
    first: str
    created_at: datetime
    parent_id: str | None
    forked_at: int
    newest: int
    last_at: datetime
    live_run_id: str | None
    forks: int
