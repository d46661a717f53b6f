"""Applying what a claimed run records, inside a transaction that has passed its fence."""

from __future__ import annotations

import sqlite3

from agency.errors import Fenced, JournalKeyTaken
from agency.ports.store import Claim
from agency.storage.sqlite import starts, waits
from agency.storage.sqlite.forms import WritesForm, entry_values
from agency.storage.sqlite.transaction import Row, Transaction


def apply(tx: Transaction, claim: Claim, form: WritesForm, *, now: int) -> list[int]:
    """Record all of it.

    What loses goes first, so that an event that is given back can be taken by a wait of the same
    commit; children go before the waits for them.

    Returns:
        Numbers of the waits that were resolved by this commit.

    Raises:
        JournalKeyTaken: the run has an entry or a wait of that key.
        NameTaken, SessionBusy: of a child.
    """
    for key in form.superseded:
        tx.change("supersede", (claim.number, key))
        void = {"run": claim.number, "key": key, "now": now, "number": tx.next_resolution()}
        tx.change("supersede_waits", void)
    _insert_entries(tx, claim, form)
    resolved = waits.close_waits(tx, claim.number, form.closed_waits, now=now)
    for child in form.children:
        starts.start_child(tx, child, claim.run_id)
    for wait in form.waits:
        number = waits.open_wait(tx, claim, wait, now=now)
        if number is not None:
            resolved.append(number)
    for message in form.messages:
        tx.change("add_session", (message.session_id, now))
        tx.change(
            "append_message",
            {
                "session_id": message.session_id,
                "role": message.role,
                "run": claim.number,
                "now": now,
                "content": tx.keep(message.content),
            },
        )
    if form.has_progress:
        progress = {"number": claim.number, "progress": form.progress, "now": now}
        tx.change("set_progress", progress)
    if form.phase is not None:
        phase = {"number": claim.number, "phase": form.phase, "error": form.cause}
        tx.change("set_phase", phase)
    return resolved


def apply_before(tx: Transaction, claim: Claim, form: WritesForm, *, now: int) -> None:
    """Record what a run has left to record before its status changes, in the order of numbers.

    The statement that changes the status is the fence of its transaction; only if there is
    something to be recorded before it, another one is needed.

    Raises:
        Fenced: the claim is over.
        whatever `apply` raises.
    """
    if form.is_empty:
        return
    if tx.one("fence", (claim.number, claim.epoch)) is None:
        raise Fenced(claim.run_id, claim.epoch)
    apply(tx, claim, form, now=now)


def _insert_entries(tx: Transaction, claim: Claim, form: WritesForm) -> None:
    if not form.entries:
        return
    rows = [entry_values(claim, entry, tx.keep(entry.body)) for entry in form.entries]
    try:
        tx.many("insert_entry", rows)
    except sqlite3.IntegrityError as error:
        raise JournalKeyTaken(claim.run_id, [entry.key for entry in form.entries]) from error
    if form.has_at_end:
        tx.change("mark_at_end", (claim.number,))


def load_waits(tx: Transaction, numbers: list[int]) -> list[Row]:
    """Read waits by their numbers, as ``wait_columns``."""
    rows = []
    for number in numbers:
        row = tx.one("get_wait", (number,))
        assert row is not None, number
        rows.append(row)
    return rows
