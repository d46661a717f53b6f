"""Opening, resolving and closing waits inside a transaction, and waking who waited.

The rule that keeps wakes from being lost: whoever resolves a wait and whoever suspends a run are
transactions of the same writer, and each looks at what the other has written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from agency.core.json import encode
from agency.domain.filter import fits
from agency.domain.run import ENDED, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import JournalKeyTaken
from agency.ports.store import Claim, Wake
from agency.storage.sqlite import questions, topic_mail
from agency.storage.sqlite.forms import WaitForm
from agency.storage.sqlite.rows import wake_of
from agency.storage.sqlite.transaction import Row, Transaction

Stored = bytes | str | None

_PAGE_ROWS = 100
"""Waits or events that are looked at together when the first one did not fit."""


def open_wait(tx: Transaction, claim: Claim, form: WaitForm, *, now: int) -> int | None:
    """Open a wait of a claimed run, and resolve it if it can be answered at once.

    Returns:
        The number of the wait if it was resolved.

    Raises:
        JournalKeyTaken: the run has a wait of that key.
    """
    new = form.new
    if tx.one("find_wait", (claim.number, new.key)) is not None:
        raise JournalKeyTaken(claim.run_id, [new.key])
    wait = insert_wait(tx, claim.number, form, now=now)
    match new.kind:
        case WaitKind.EVENT:
            is_resolved = _take_event(tx, claim.number, wait, form, now=now)
        case WaitKind.CHILD:
            is_resolved = _take_ending(tx, wait, new.target, now=now)
        case WaitKind.APPROVAL | WaitKind.INPUT:
            is_resolved = _ask(tx, claim.number, wait, form, now=now)
        case (
            WaitKind.TIMER
            | WaitKind.RESOURCE
            | WaitKind.OPERATOR
            | WaitKind.DECISION
            | WaitKind.VERSION
        ):
            is_resolved = False
        case _:
            assert_never(new.kind)
    if not is_resolved and form.due_at is not None and form.due_at <= now:
        resolve(tx, wait, due_outcome(new.kind), None, now=now)
        is_resolved = True
    return wait if is_resolved else None


def insert_wait(tx: Transaction, run: int, form: WaitForm, *, now: int) -> int:
    """Open a wait and give its number."""
    new = form.new
    return tx.insert(
        "insert_wait",
        (run, new.key, new.kind.value, new.name, form.due_at, new.target, now, form.show),
    )


def due_outcome(kind: WaitKind) -> WaitOutcome:
    """Tell how a wait ends whose moment has come."""
    return WaitOutcome.FIRED if kind is WaitKind.TIMER else WaitOutcome.TIMED_OUT


def resolve(tx: Transaction, wait: int, outcome: WaitOutcome, payload: Stored, *, now: int) -> None:
    """Give an open wait its outcome."""
    tx.change(
        "resolve_wait",
        {
            "id": wait,
            "outcome": outcome.value,
            "payload": payload,
            "now": now,
            "number": tx.next_resolution(),
        },
    )


def take_open_event(
    tx: Transaction, run: int, event: int, name: str, payload: Stored, *, now: int
) -> int | None:
    """Let the oldest open wait that it fits take an event of a run's mailbox.

    Returns:
        The number of the wait, or None if it fits none.
    """
    body = topic_mail.Body(tx, payload)
    page = {"run": run, "name": name, "after": 0, "limit": 1}
    while rows := tx.all("find_open_event", page):
        for wait, show in rows:
            if show is None or fits(topic_mail.where_of(show), body.value):
                tx.change("take_event", {"number": event, "wait": wait})
                resolve(tx, wait, WaitOutcome.ANSWERED, payload, now=now)
                return int(wait)
        page |= {"after": rows[-1][0], "limit": _PAGE_ROWS}
    return None


def _take_event(tx: Transaction, run: int, wait: int, form: WaitForm, *, now: int) -> bool:
    new = form.new
    if new.target:
        payload = topic_mail.take(tx, run, wait, form, now=now)
        if payload is None:
            return False
        resolve(tx, wait, WaitOutcome.ANSWERED, payload, now=now)
        return True
    where = None if form.show is None else topic_mail.where_of(form.show)
    page = {"run": run, "name": new.name, "after": 0, "limit": 1}
    while rows := tx.all("find_untaken_event", page):
        for event, payload in rows:
            if where is None or fits(where, topic_mail.Body(tx, payload).value):
                tx.change("take_event", {"number": event, "wait": wait})
                resolve(tx, wait, WaitOutcome.ANSWERED, payload, now=now)
                return True
        page |= {"after": rows[-1][0], "limit": _PAGE_ROWS}
    return False


def _ask(tx: Transaction, run: int, wait: int, form: WaitForm, *, now: int) -> bool:
    payload = questions.open_approval(tx, run, wait, form.new, now=now)
    if payload is None:
        return False
    resolve(tx, wait, WaitOutcome.ANSWERED, payload, now=now)
    return True


def _take_ending(tx: Transaction, wait: int, child_id: str, *, now: int) -> bool:
    row = tx.one("load_ending", (child_id,))
    if row is None:
        return False
    resolve(tx, wait, WaitOutcome.ANSWERED, tx.keep(_ending_body(tx, row)), now=now)
    return True


def _ending_body(tx: Transaction, row: Row) -> bytes:
    status, output, error = row
    # The parts are JSON already; reading them to write them again would cost their whole length.
    return b'{"status":%b,"output":%b,"error":%b}' % (
        encode(status),
        tx.load(output) or b"null",
        error or b"null",
    )


def close_waits(tx: Transaction, run: int, keys: Iterable[str], *, now: int) -> list[int]:
    """Close waits whose branch has lost; events that they had taken go back where they were.

    Those of a topic are spread anew, by whoever calls `TopicStore.spread` next.

    Returns:
        Numbers of other waits of the run that have taken an event of its mailbox.
    """
    names: dict[str, None] = {}
    for key in keys:
        taken = tx.one("get_topic_wait", (run, key))
        parameters = {"run": run, "key": key, "now": now, "number": tx.next_resolution()}
        row = tx.one("close_wait", parameters)
        if row is None:
            continue
        if taken is not None:
            topic_mail.give_back(tx, run, row[0], taken)
            continue
        given_back = tx.one("give_event_back", (row[0],))
        if given_back is not None:
            names[given_back[0]] = None
    resolved = []
    for name in names:
        resolved += _take_all(tx, run, name, now=now)
    return resolved


def _take_all(tx: Transaction, run: int, name: str, *, now: int) -> list[int]:
    """Offer all events of that name in the mailbox to the open waits of the run."""
    resolved = []
    page = {"run": run, "name": name, "after": 0, "limit": _PAGE_ROWS}
    while tx.all("find_open_event", {**page, "after": 0, "limit": 1}):
        rows = tx.all("find_untaken_event", page)
        if not rows:
            break
        for event, payload in rows:
            wait = take_open_event(tx, run, event, name, payload, now=now)
            if wait is not None:
                resolved.append(wait)
        page["after"] = rows[-1][0]
    return resolved


def close_open_waits(tx: Transaction, run: int, *, now: int) -> None:
    """Close all open waits of a run that has ended."""
    parameters = {"run": run, "now": now, "number": tx.next_resolution()}
    tx.change("close_open_waits", parameters)


def close_operator_waits(tx: Transaction, run: int, *, now: int) -> None:
    """Close the waits for an operator of a run whose hold was lifted by its end."""
    parameters = {"run": run, "now": now, "number": tx.next_resolution()}
    tx.change("close_operator_waits", parameters)


def answer_parent(tx: Transaction, run_id: str, *, now: int) -> list[Wake]:
    """Answer whoever waits for a run that has just ended, and wake it."""
    waiting = tx.all("list_waiting_for_child", (run_id,))
    if not waiting:
        return []
    row = tx.one("load_ending", (run_id,))
    assert row is not None, run_id
    body = tx.keep(_ending_body(tx, row))
    for wait, _ in waiting:
        resolve(tx, wait, WaitOutcome.ANSWERED, body, now=now)
    return wake_all(tx, [run for _, run in waiting], now=now)


def wake(tx: Transaction, state: Row, *, now: int) -> Wake | None:
    """Let a run go on, unless it has ended or an operator holds it.

    Args:
        tx: The transaction.
        state: Row of ``find_state`` or ``get_state``.
        now: Microseconds since 1970.

    Returns:
        The run if it is pending now, or claimed and to be told.
    """
    number, run_id, status, hold, _ = state
    if status == RunStatus.SUSPENDED:
        if hold is not None:
            return None
        tx.change("wake_run", {"number": number, "now": now})
        status = RunStatus.PENDING
    if status in ENDED:
        return None
    return wake_of(number, run_id, status)


def wake_all(tx: Transaction, runs: Sequence[int], *, now: int) -> list[Wake]:
    """Let runs go on, each once, in this order."""
    wakes = []
    for number in dict.fromkeys(runs):
        state = tx.one("get_state", (number,))
        assert state is not None, number
        woken = wake(tx, state, now=now)
        if woken is not None:
            wakes.append(woken)
    return wakes
