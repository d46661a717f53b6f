"""Starting runs inside a transaction: insert, or find what is there already."""

from __future__ import annotations

from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind
from agency.errors import IdempotencyMismatch, NameTaken, SessionBusy
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
        NameTaken, IdempotencyMismatch, SessionBusy: as the port says.
    """
    new = form.new
    columns = {**form.columns, "input": tx.keep(form.input, RUN_INLINE_BYTES_MAX)}
    if new.session_id is not None:
        tail = tx.one("session_tail", (new.session_id,))
        if tail is not None and tail[1] == RunStatus.SUSPENDED:
            wait = _answerable(tx, tail[3])
            if wait is not None:
                found = _find(tx, form)
                if found is None:
                    raise SessionBusy(new.session_id, tail[0], wait)
                return found
        columns |= _last_place(tail)
    return _insert(tx, form, columns)


def start_child(tx: Transaction, form: StartForm, parent_id: str) -> None:
    """Start a child of a claimed run, unless it was started before.

    A session that an ancestor has is not waited for: the ancestor waits for this child.

    Raises:
        NameTaken, IdempotencyMismatch, SessionBusy: as `start`.
    """
    form.columns["parent_id"] = parent_id
    new = form.new
    if tx.one("find_run_by_id", (new.id,)) is not None:
        return
    if new.session_id is not None:
        line = {"run_id": parent_id, "session_id": new.session_id}
        if tx.one("session_in_line", line) is not None:
            columns = {**form.columns, "input": tx.keep(form.input, RUN_INLINE_BYTES_MAX)}
            _insert(tx, form, columns)
            return
    start(tx, form)


def start_successor(
    tx: Transaction,
    form: StartForm,
    *,
    name: str | None,
    session_id: str | None,
    session_place: int | None,
    parent_id: str | None,
) -> int:
    """Start a run in the place of one that has just ended, and give its number."""
    columns = {
        **form.columns,
        "name": name,
        "session_id": session_id,
        "session_place": session_place,
        "parent_id": parent_id,
        # A key belongs to the request that has started the first of them.
        "idempotency_key": None,
        "request_hash": None,
        "input": tx.keep(form.input, RUN_INLINE_BYTES_MAX),
    }
    number = _insert(tx, form, columns)
    assert isinstance(number, int), f"the successor {form.new.id!r} is another run already"
    return number


def _last_place(tail: Row | None) -> dict[str, int]:
    if tail is None:
        return {"session_place": 1, "session_blocked": 0}
    return {"session_place": tail[2] + 1, "session_blocked": 1}


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
        row = tx.one("find_run_by_key", (new.idempotency_key,))
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
