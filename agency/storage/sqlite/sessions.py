"""Conversations on SQLite; the promises are those of `agency.ports.store.SessionStore`."""

from __future__ import annotations

from collections.abc import Sequence

from agency.domain.message import Message
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import message_of


class SqliteSessions:
    """Messages in a SQLite database; they are appended with what a run records."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def messages(self, session_id: str, *, limit: int) -> Sequence[Message]:
        """Read the newest messages, oldest first; see `SessionStore.messages`."""
        found = await self._readers.all("list_messages", (session_id, limit))
        return [message_of(row) for row in reversed(found)]
