"""Starting runs inside a transaction: insert, or find what is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind
from agency.errors import (
    AgencyError,
    IdempotencyMismatch,
    MessageIdTaken,
    NameTaken,
    QueueFull,
    SessionBusy,
)
from agency.storage.sqlite import holds, task_starts
from agency.storage.sqlite.forms import StartForm
from agency.storage.sqlite.rows import RUN_COLUMNS
from agency.storage.sqlite.transaction import Row, Transaction

RUN_INLINE_BYTES_MAX = 4096
"""Inputs and outputs above this live in the blob table: a run's row is rewritten with each change
of its status, and what is long would be rewritten with it."""


_NO_LIMIT = 1 << 62

_GOES_ON = frozenset({WaitKind.TIMER, WaitKind.RESOURCE, WaitKind.CHILD})
"""Waits that end without anybody's answer: a message queues behind a run that has only these."""


def start(tx: Transaction, form: StartForm) -> int | Row:
    """Store a run as pending.

    Returns:
        The number of the new run, or the ``run_columns`` of the one that was found.

    Raises:
        NameTaken, IdempotencyMismatch, SessionBusy, QueueFull: as the port says.
    """
    size_max, room = _find_room(tx, form.new.queue)
    if form.message is not None and (said := task_starts.find_said(tx, form.message)) is not None:
        return said
    if room <= 0:
        found = _find(tx, form)
        if found is None:
            raise QueueFull(form.new.queue, size_max)
        return found
    return _start(tx, form)


def start_all(tx: Transaction, forms: Sequence[StartForm]) -> list[int | Row | AgencyError]:
    """Store runs as pending, in this order: plain ones that follow one another in one statement.

    Each stands for itself: one that is refused changes nothing.

    Returns:
        For each of them what `start` returns or raises.
    """
    outcomes: list[int | Row | AgencyError] = []
    plain: list[StartForm] = []
    rooms: dict[str, int] = {}
    messages: set[str] = set()
    for form in forms:
        queue = form.new.queue
        if form.message is not None and form.message.once is not None:
            if form.message.once in messages:
                # The one before is to be found.
                outcomes += _start_plain(tx, plain)
                plain = []
            messages.add(form.message.once)
        if form.is_plain:
            if rooms.get(queue, 0) <= 0:
                # Of those before some may have been there already: they have taken no room.
                outcomes += _start_plain(tx, plain)
                plain = []
                _, rooms[queue] = _find_room(tx, queue)
            if rooms[queue] > 0:
                plain.append(form)
                rooms[queue] -= 1
                continue
        outcomes += _start_plain(tx, plain)
        plain = []
        try:
            with tx.protected():
                outcomes.append(start(tx, form))
        except AgencyError as error:
            outcomes.append(error)
        rooms.pop(queue, None)
    return outcomes + _start_plain(tx, plain)


def _start_plain(tx: Transaction, forms: Sequence[StartForm]) -> list[int | Row | AgencyError]:
    """Store runs that want nothing of others and whose queue takes any number of them."""
    if not forms:
        return []
    values: list[Any] = []
    known: dict[int, Row | AgencyError] = {}
    for place, form in enumerate(forms):
        said = _said(tx, form)
        if said is not None:
            known[place] = said
            continue
        values += form.columns.values()
        values.append(tx.keep(form.input, RUN_INLINE_BYTES_MAX))
    numbers = tx.insert_runs(values, len(forms) - len(known))
    outcomes: list[int | Row | AgencyError] = []
    for place, form in enumerate(forms):
        if place in known:
            outcomes.append(known[place])
            continue
        # A run that is there twice has been started by the first.
        number = numbers.pop(form.new.id, None)
        try:
            outcomes.append(_refused(tx, form) if number is None else number)
        except AgencyError as error:
            outcomes.append(error)
        if number is not None:
            task_starts.add(tx, form, number)
    return outcomes


def _said(tx: Transaction, form: StartForm) -> Row | MessageIdTaken | None:
    """Find what became of a message that asks for a task, if it was stored before."""
    if form.message is None:
        return None
    try:
        return task_starts.find_said(tx, form.message)
    except MessageIdTaken as error:
        return error


def start_child(tx: Transaction, form: StartForm, parent_id: str) -> None:
    """Start a child of a claimed run, unless it was started before.

    What an ancestor has is not waited for: the ancestor waits for this child. Nor is a child
    refused because its queue is full: its parent was accepted, and goes on.

    Raises:
        NameTaken, IdempotencyMismatch, SessionBusy: as `start`.
    """
    form.columns["parent_id"] = parent_id
    if tx.one("find_run_by_id", (form.new.id,)) is not None:
        return
    _find_room(tx, form.new.queue)
    _start(tx, form, parent_id=parent_id)


def start_successor(
    tx: Transaction,
    form: StartForm,
    *,
    name: str | None,
    session_id: str | None,
    concurrency_key: str | None,
    parent_id: str | None,
) -> int:
    """Start a run in the place of one that has just ended, and give its number.

    Its holds are those of the other, to be handed over by the caller.
    """
    columns = {
        **form.columns,
        "name": name,
        "session_id": session_id,
        "concurrency_key": concurrency_key,
        "parent_id": parent_id,
        # A key belongs to the request that has started the first of them.
        "idempotency_key": None,
        "request_hash": None,
        "input": tx.keep(form.input, RUN_INLINE_BYTES_MAX),
    }
    number = _insert(tx, form, columns)
    assert isinstance(number, int), f"the successor {form.new.id!r} is another run already"
    return number


def _start(tx: Transaction, form: StartForm, *, parent_id: str | None = None) -> int | Row:
    new = form.new
    columns = {**form.columns, "input": tx.keep(form.input, RUN_INLINE_BYTES_MAX)}
    if new.session_id is None and new.concurrency_key is None:
        return _insert(tx, form, columns)
    wanted = holds.wanted_by(new.session_id, new.concurrency_key)
    places, columns["blocked"] = holds.choose_places(tx, wanted, parent_id=parent_id)
    if any(kind == holds.SESSION for kind, *_ in places):
        assert new.session_id is not None
        busy = _find_busy(tx, new.session_id)
        if busy is not None:
            found = _find(tx, form)
            if found is None:
                raise busy
            return found
    number = _insert(tx, form, columns)
    if isinstance(number, int):
        holds.take(tx, number, places)
    return number


def refuse_busy(tx: Transaction, session_id: str) -> None:
    """Refuse to let a run stand in line for a session.

    Raises:
        SessionBusy: somebody has to answer the session's newest live run first.
    """
    busy = _find_busy(tx, session_id)
    if busy is not None:
        raise busy


def _find_busy(tx: Transaction, session_id: str) -> SessionBusy | None:
    """Tell why a run cannot stand in line for its session."""
    tail = holds.find_tail(tx, holds.SESSION, session_id)
    if tail is None or tail[1] != RunStatus.SUSPENDED:
        return None
    wait = _answerable(tx, tail[3])
    return None if wait is None else SessionBusy(session_id, tail[0], wait)


def _find_room(tx: Transaction, queue: str) -> tuple[int, int]:
    """Give the limit of the queue's size and how many runs it lets in; a new queue is made."""
    row = tx.one("check_room", (queue,))
    if row is None:
        tx.change("add_queue", (queue,))
    if row is None or row[0] is None:
        return _NO_LIMIT, _NO_LIMIT
    size_max, room = row
    return size_max, room


def _insert(tx: Transaction, form: StartForm, columns: dict[str, Any]) -> int | Row:
    number = tx.insert_runs([*columns.values()], 1).get(form.new.id)
    if number is None:
        return _refused(tx, form)
    task_starts.add(tx, form, number)
    return number


def _refused(tx: Transaction, form: StartForm) -> Row:
    """Find the run that is there already in the place of one that was not inserted.

    Raises:
        NameTaken, IdempotencyMismatch: it is another one.
    """
    found = _find(tx, form)
    if found is None:
        name = str(form.columns["name"])
        holder = tx.one("find_live_name", (name,))
        assert holder is not None, "an insert was refused for no reason that is known"
        raise NameTaken(name, holder[0])
    return found


def _find(tx: Transaction, form: StartForm) -> Row | None:
    new = form.new
    if new.idempotency_key is not None:
        row = tx.one("find_run_by_key", (new.idempotency_key, new.principal))
        if row is not None:
            if row[RUN_COLUMNS] != new.request_hash:
                raise IdempotencyMismatch(new.idempotency_key, row[1])
            return row[:RUN_COLUMNS]
    return tx.one("find_run_by_id", (new.id,))


def _answerable(tx: Transaction, number: int) -> str | None:
    """Key of a wait that somebody has to answer; None if the run goes on by itself."""
    waits = tx.all("list_open_kinds", (number,))
    if not waits:
        return "nothing"
    return next((key for key, kind in waits if kind not in _GOES_ON), None)
