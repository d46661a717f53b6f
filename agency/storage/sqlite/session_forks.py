"""Forks of sessions inside a transaction: what is shared is read through the chain, not copied."""

from __future__ import annotations

from agency.domain.session import FORKS_DEEP_MAX
from agency.errors import MessageNotFound, SessionExists, SessionNotFound, SessionTooDeep
from agency.storage.sqlite.transaction import Row, Transaction


def fork(
    tx: Transaction, session_id: str, *, at: int | None, new_id: str, title: str | None, now: int
) -> None:
    """Fork a session at a position; see `SessionStore.fork`.

    Raises:
        SessionNotFound, MessageNotFound, SessionExists, SessionTooDeep.
    """
    source = tx.one("find_session_to_fork", (session_id,))
    if source is None:
        raise SessionNotFound(session_id)
    number, parent, forked_at, newest, known_title, root = source
    position = newest if at is None else at
    # The fork hangs below the one that has the message itself, so that chains stay short.
    while position <= forked_at and parent is not None:
        number, parent, forked_at = _parent(tx, parent)
    if tx.one("find_message", (number, position)) is None:
        raise MessageNotFound(session_id, position)
    if _depth(tx, number) > FORKS_DEEP_MAX:
        raise SessionTooDeep(session_id, FORKS_DEEP_MAX)
    row = {
        "id": new_id,
        "now": now,
        "title": (known_title if title is None else title) or None,
        "parent": number,
        "forked_at": position,
        "root": root,
    }
    if tx.one("fork_session", row) is None:
        raise SessionExists(new_id)


def fork_for_run(
    tx: Transaction, session_id: str, *, new_id: str, run: int, fork: int, moment: int, now: int
) -> None:
    """Give the fork of a run a session with all that was said until ``moment``.

    What the run itself has said becomes the fork's own and is copied; what was said before is
    shared. A session that is not there yet has nothing to share.

    Args:
        run: Number of the source.
        fork: Number of its fork.
    """
    source = tx.one("find_session_to_fork", (session_id,))
    shared = 0
    if source is not None:
        number, *_ = source
        shared = _shared(tx, source, run=run, moment=moment)
        if _depth(tx, number) > FORKS_DEEP_MAX:
            shared = 0
    row = {
        "id": new_id,
        "now": now,
        "title": source[4] if source is not None else None,
        "parent": number if shared else None,
        "forked_at": shared or None,
        "root": source[5] if source is not None and shared else None,
    }
    added = tx.one("fork_session", row)
    if source is None or added is None:
        return
    tx.change(
        "copy_messages",
        {
            "source": number,
            "target": added[0],
            "after": shared,
            "run": run,
            "fork": fork,
            "moment": moment,
        },
    )


def _shared(tx: Transaction, source: Row, *, run: int, moment: int) -> int:
    """Find the newest position that a run and its fork have in common, or 0."""
    number, parent, forked_at, newest, *_ = source
    first = tx.one("find_first_message_of_run", {"run": run, "session": number})
    upto = newest
    if first is not None and first[0] is not None:
        upto = min(upto, first[0] - 1)
    while True:
        asked = {"session": number, "upto": upto, "moment": moment}
        found = tx.one("find_message_by", asked)
        if found is not None:
            position: int = found[0]
            return position
        if parent is None:
            return 0
        upto = min(upto, forked_at)
        number, parent, forked_at = _parent(tx, parent)


def _parent(tx: Transaction, number: int) -> Row:
    row = tx.one("find_parent_session", (number,))
    assert row is not None, number
    return row


def _depth(tx: Transaction, number: int) -> int:
    row = tx.one("count_session_depth", {"number": number})
    assert row is not None
    depth: int = row[0]
    return depth
