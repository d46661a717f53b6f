"""Starting runs inside a transaction: insert, or find what is there already."""

from __future__ import annotations

from collections.abc import Sequence

from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind
from agency.errors import AgencyError, IdempotencyMismatch, NameTaken, QueueFull, SessionBusy
from agency.storage.sqlite import holds
from agency.storage.sqlite.forms import StartForm
from agency.storage.sqlite.rows import RUN_COLUMNS
from agency.storage.sqlite.transaction import Row, Transaction

RUN_INLINE_BYTES_MAX = 4096
"""Inputs and outputs above this live in the blob table: a run's row is rewritten with each change
of its status, and what is long would be rewritten with it."""


_GOES_ON = frozenset({WaitKind.TIMER, WaitKind.RESOURCE, WaitKind.CHILD})
"""Waits that end without anybody's answer: a message queues behind a run that has only these."""


def start(tx: Transaction, form: StartForm) -> int | Row:
    """Store a run as pending.

    Returns:
        The number of the new run, or the ``run_columns`` of the one that was found.

    Raises:
        NameTaken, IdempotencyMismatch, SessionBusy, QueueFull: as the port says.
    """
    size_max = _find_full(tx, form.new.queue)
    if size_max is not None:
        found = _find(tx, form)
        if found is None:
            raise QueueFull(form.new.queue, size_max)
        return found
    return _start(tx, form)


def start_many(tx: Transaction, forms: Sequence[StartForm]) -> list[int | Row | AgencyError]:
    """Store runs as pending; each stands for itself.

    Returns:
        For each of them, in this order, what `start` returns or raises.
    """
    outcomes: list[int | Row | AgencyError] = []
    for form in forms:
        try:
            with tx.protected():
                outcomes.append(start(tx, form))
        except AgencyError as error:
            outcomes.append(error)
    return outcomes


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
    _find_full(tx, form.new.queue)
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


def _find_full(tx: Transaction, queue: str) -> int | None:
    """Give the limit of the queue's size if that is reached; a queue that is new is made."""
    room = tx.one("check_room", (queue,))
    if room is None:
        tx.change("add_queue", (queue,))
        return None
    size_max, is_full = room
    return size_max if is_full else None


def _insert(tx: Transaction, form: StartForm, columns: dict[str, object]) -> int | Row:
    row = tx.one("insert_run", columns)
    if row is not None:
        number: int = row[0]
        return number
    found = _find(tx, form)
    if found is None:
        name = str(columns["name"])
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
