"""Conversations on SQLite; the promises are those of `agency.ports.session.SessionStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.domain.message import Message
from agency.domain.session import EXCERPT_CHARACTERS, Session
from agency.errors import SessionInUse, SessionNotFound
from agency.storage.sqlite import session_forks
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.retention import sweep_sessions
from agency.storage.sqlite.rows import message_of
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

DELETE_ROWS_MAX = 2000
"""Messages that go in the transaction that deletes a session; the rest is swept up later."""

_NUMBER_MAX = (1 << 63) - 1


class SqliteSessions:
    """Messages in a SQLite database; they are appended with what a run records."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def messages(self, session_id: str, *, limit: int) -> Sequence[Message]:
        """Read the newest messages, oldest first; see `SessionStore.messages`."""
        parameters = {"session_id": session_id, "limit": limit}
        found = await self._readers.all("list_messages", parameters)
        return [message_of(row) for row in reversed(found)]

    async def page(self, session_id: str, *, after: int, limit: int) -> Sequence[Message]:
        """Read the messages that follow a position; see `SessionStore.page`."""
        parameters = {"session_id": session_id, "after": after, "limit": limit}
        return [message_of(row) for row in await self._readers.all("page_session", parameters)]

    async def get(self, session_id: str) -> Session:
        """Read one; see `SessionStore.get`."""
        parameters = {"id": session_id, "excerpt": EXCERPT_CHARACTERS}
        return _found(await self._readers.one("get_session", parameters), session_id)

    async def list(self, *, before: int | None, limit: int) -> Sequence[Session]:
        """Read sessions, the newest first; see `SessionStore.list`."""
        parameters = {
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
            "excerpt": EXCERPT_CHARACTERS,
        }
        return [_session_of(row) for row in await self._readers.all("list_sessions", parameters)]

    async def fork(
        self, session_id: str, *, at: int | None, new_id: str, title: str | None, now: datetime
    ) -> Session:
        """Fork a session; see `SessionStore.fork`."""
        self._space.check()
        work = partial(
            _fork, session_id=session_id, at=at, new_id=new_id, title=title, now=to_micros(now)
        )
        return _found(await self._writer.submit(work), new_id)

    async def rename(self, session_id: str, title: str) -> Session:
        """Give a session another title; see `SessionStore.rename`."""
        row = await self._writer.submit(partial(_rename, session_id=session_id, title=title))
        return _found(row, session_id)

    async def delete(self, session_id: str, *, now: datetime) -> int:
        """Delete a session; see `SessionStore.delete`."""
        work = partial(_delete, session_id=session_id, now=to_micros(now))
        return await self._writer.submit(work)


def _fork(
    tx: Transaction, session_id: str, at: int | None, new_id: str, title: str | None, now: int
) -> Row | None:
    session_forks.fork(tx, session_id, at=at, new_id=new_id, title=title, now=now)
    return tx.one("get_session", {"id": new_id, "excerpt": EXCERPT_CHARACTERS})


def _rename(tx: Transaction, session_id: str, title: str) -> Row | None:
    tx.change("rename_session", {"id": session_id, "title": title})
    return tx.one("get_session", {"id": session_id, "excerpt": EXCERPT_CHARACTERS})


def _delete(tx: Transaction, session_id: str, now: int) -> int:
    live = tx.one("find_live_run_of_session", (session_id,))
    if live is not None:
        raise SessionInUse(session_id, live[0])
    hidden = tx.one("hide_session", {"id": session_id, "now": now})
    if hidden is None:
        raise SessionNotFound(session_id)
    sweep_sessions(tx, rows_max=DELETE_ROWS_MAX)
    forks: int = hidden[1]
    return forks


def _found(row: Row | None, session_id: str) -> Session:
    if row is None:
        raise SessionNotFound(session_id)
    return _session_of(row)


def _session_of(row: Row) -> Session:
    (
        number,
        id_,
        title,
        first,
        created_at,
        parent_id,
        forked_at,
        newest,
        last_at,
        live_run_id,
        forks,
    ) = row
    return Session(
        number=number,
        id=id_,
        title=title,
        first=first if isinstance(first, str) else "",
        created_at=from_micros(created_at),
        parent_id=parent_id,
        forked_at=forked_at,
        newest=newest,
        last_at=from_micros(last_at),
        live_run_id=live_run_id,
        forks=forks,
    )
