"""Where conversations are kept: append-only messages, and forks that share them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agency.domain.message import Message
from agency.domain.session import Session


class SessionStore(Protocol):
    """Conversations. Each method is one atomic transaction.

    Messages are appended with what a run records, see `agency.ports.store.Writes`. Those of a fork
    are its parent's up to the position at which it was forked, and then its own; positions go on.
    """

    async def messages(self, session_id: str, *, limit: int) -> Sequence[Message]:
        """Read the newest ``limit`` messages of a session, oldest first; none if unknown."""
        ...

    async def page(self, session_id: str, *, after: int, limit: int) -> Sequence[Message]:
        """Read the messages at the ``limit`` positions that follow ``after``, oldest first.

        Mostly one for each position; none if the session is unknown.
        """
        ...

    async def get(self, session_id: str) -> Session:
        """Read one.

        Raises:
            SessionNotFound: there is none of that id.
        """
        ...

    async def list(self, *, before: int | None, limit: int) -> Sequence[Session]:
        """Read sessions, the ones made last first, those with a number below ``before``."""
        ...

    async def fork(
        self, session_id: str, *, at: int | None, new_id: str, title: str | None, now: datetime
    ) -> Session:
        """Make a session that goes on from the message at position ``at``, or from the newest one.

        What is shared is not copied, so that it costs the same for any length. ``title`` is the
        parent's if None.

        Raises:
            SessionNotFound: there is none of that id.
            MessageNotFound: it has no message at that position.
            SessionExists: there is one of the new id.
            SessionTooDeep: it is a fork of a fork of …, `FORKS_DEEP_MAX` times.
        """
        ...

    async def rename(self, session_id: str, title: str) -> Session:
        """Give a session another title; an empty one takes it away.

        Raises:
            SessionNotFound: there is none of that id.
        """
        ...

    async def delete(self, session_id: str, *, now: datetime) -> int:
        """Delete a session; its id is free at once. Its runs stay.

        Returns:
            How many forks still read its messages, which are deleted with the last of those.

        Raises:
            SessionNotFound: there is none of that id.
            SessionInUse: a live run has it, or waits for it.
        """
        ...
