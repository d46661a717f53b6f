"""Taking events from topics and giving them back, inside a transaction."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from agency.core.json import decode
from agency.domain.filter import Where, fits
from agency.domain.topic import TopicMode
from agency.storage.sqlite.forms import WaitForm
from agency.storage.sqlite.transaction import Row, Transaction

Stored = bytes | str | None

_PAGE_ROWS = 100
"""Events that are looked at together when the first one did not fit."""


class Body:
    """A payload in its stored form, read when a filter first asks for it."""

    def __init__(self, tx: Transaction, stored: Stored) -> None:
        self._tx = tx
        self._stored = stored

    @cached_property
    def value(self) -> Any:  # noqa: ANN401  JSON value
        """What it holds."""
        body = self._tx.load(self._stored)
        return None if body is None else decode(body)


def where_of(show: bytes | None) -> Where | None:
    """Read the filter of a wait for an event out of what the wait shows."""
    if show is None:
        return None
    shown = decode(show)
    where: Where | None = shown.get("where") if isinstance(shown, dict) else None
    return where


def filter_hash(show: bytes | None) -> str:
    """Name the filter of a wait, for the position of its run; empty without one."""
    return "" if show is None else hashlib.sha256(show).hexdigest()[:16]


def take(tx: Transaction, run: int, wait: int, form: WaitForm, *, now: int) -> Stored:
    """Let a wait that is being opened take the oldest kept event of its topic that it fits.

    Returns:
        The payload in its stored form, or None: there is no such event.
    """
    new = form.new
    topic = tx.one("find_topic", (new.target,))
    if topic is None:
        return None
    hashed = filter_hash(form.show)
    position = tx.one("find_position", (run, new.target, new.name, hashed))
    asked = {"topic": topic[0], "name": new.name, "run": run, "now": now}
    where = where_of(form.show)
    queued = _first(tx, "find_queued", asked, 0, where)
    broadcast = _first(tx, "find_broadcasts", asked, position[0] if position else 0, where)
    if broadcast is not None and (queued is None or broadcast[0] < queued[0]):
        note_position(
            tx, run, wait, topic=new.target, name=new.name, hashed=hashed, event=broadcast[0]
        )
        payload: Stored = broadcast[1]
        return payload
    if queued is None:
        return None
    number, payload, size_bytes = queued
    take_queued(tx, number, wait, topic=topic[0], size_bytes=size_bytes)
    return payload


def _first(
    tx: Transaction, statement: str, asked: dict[str, Any], after: int, where: Where | None
) -> Row | None:
    """Find the first event that fits; how many are looked at is bounded by what a topic keeps."""
    page = {**asked, "after": after, "limit": 1}
    while rows := tx.all(statement, page):
        for row in rows:
            if where is None or fits(where, Body(tx, row[1]).value):
                return row
        page |= {"after": rows[-1][0], "limit": _PAGE_ROWS}
    return None


def take_queued(tx: Transaction, number: int, wait: int, *, topic: int, size_bytes: int) -> None:
    """Note that a wait has a queue-style event; its payload is the wait's from now on."""
    tx.change("take_topic_event", {"number": number, "wait": wait})
    tx.change("count_topic", {"topic": topic, "events": -1, "bytes": -size_bytes})


def note_position(
    tx: Transaction, run: int, wait: int, *, topic: str, name: str, hashed: str, event: int
) -> None:
    """Note how far a run has read the broadcasts of a name."""
    tx.change(
        "set_position",
        {"run": run, "topic": topic, "name": name, "filter": hashed, "event": event, "wait": wait},
    )


def give_back(tx: Transaction, run: int, wait: int, taken: Row) -> None:
    """Give back what a wait whose branch has lost had taken.

    Args:
        tx: The transaction.
        run: Number of the run.
        wait: Number of the wait.
        taken: Row of ``get_topic_wait`` from before the wait was closed.
    """
    topic, name, show, payload = taken
    given_back = tx.one("give_topic_event_back", {"wait": wait, "payload": payload})
    if given_back is not None:
        number, size_bytes = given_back
        tx.change("count_topic", {"topic": number, "events": 1, "bytes": size_bytes})
        return
    tx.change(
        "set_position_back",
        {"run": run, "topic": topic, "name": name, "filter": filter_hash(show), "wait": wait},
    )


assert set(TopicMode) == {"queue", "broadcast"}, "the statements name the modes"
