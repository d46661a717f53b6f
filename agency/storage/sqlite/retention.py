"""Deleting what has expired, inside a transaction.

A run goes with its children, the youngest generation first: so a child is never there without its
parent, and a tree of any size is taken apart in bounded transactions, each of which leaves whole
runs. Only a journal may be too long for one: its run goes first, and the rest of the journal, which
nobody can reach any more, is swept up later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from agency.core.records import dataclass
from agency.storage.sqlite import memory_sweep
from agency.storage.sqlite.transaction import Row, Transaction

_NUMBER, _ID, _STATUS, _ENDED_AT, _PARENT = range(5)


@dataclass(frozen=True, slots=True)
class BoundForm:
    """Which ended runs of a status have expired, encoded; as `agency.domain.retention.Bound`."""

    ended_before: int | None
    through: int

    def covers(self, number: int, ended_at: int) -> bool:
        """Tell whether a run has expired."""
        is_old = self.ended_before is not None and ended_at < self.ended_before
        return is_old or number <= self.through


@dataclass(slots=True)
class Work:
    """What a transaction has deleted so far, and how much it may.

    Attributes:
        told: As in `agency.ports.upkeep.UpkeepStore.retire`.
    """

    rows_max: int
    told: int | None = None
    runs: int = 0
    rows: int = 0
    kept: int = 0
    left: list[int] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Nothing more is to be begun."""
        return self.rows >= self.rows_max


def retire(
    tx: Transaction,
    numbers: Sequence[int],
    bounds: Mapping[str, BoundForm],
    *,
    rows_max: int,
    told: int | None,
) -> Work:
    """Delete the given runs with their children, those that may be deleted."""
    work = Work(rows_max, told)
    for place, number in enumerate(numbers):
        if work.is_full:
            work.left = list(numbers[place:])
            break
        root = tx.one("get_retiring", (number,))
        if root is None or root[_PARENT] is not None:
            continue
        if not _retire_tree(tx, root, bounds, work):
            work.left = list(numbers[place:])
            break
    return work


def _retire_tree(tx: Transaction, root: Row, bounds: Mapping[str, BoundForm], work: Work) -> bool:
    """Delete a run from its leaves up; tell whether it was come to an end, of whichever sort."""
    line = [root]
    while line:
        if work.is_full:
            return False
        run = line[-1]
        if not _may_go(tx, run, bounds, work.told):
            work.kept += len(line)
            return True
        child = tx.one("find_first_child", (run[_ID],))
        if child is not None:
            line.append(child)
            continue
        _delete_run(tx, run, work)
        line.pop()
    return True


def _may_go(tx: Transaction, run: Row, bounds: Mapping[str, BoundForm], told: int | None) -> bool:
    number, run_id, status, ended_at, _ = run
    bound = bounds.get(status)
    if bound is None or ended_at is None or not bound.covers(number, ended_at):
        return False
    if tx.one("is_needed", {"id": run_id, "number": number}) is not None:
        return False
    return told is None or tx.one("is_untold", (number, told)) is None


def _delete_run(tx: Transaction, run: Row, work: Work) -> None:
    number, run_id = run[_NUMBER], run[_ID]
    blobs = {blob for (blob,) in tx.all("list_blobs_of", {"number": number})}
    rows = 1
    for statement in (
        "delete_events_of",  # they name the waits that have taken them
        "delete_waits_of",
        "delete_snapshots_of",
        "delete_retries_of",
        "delete_receipts_of",
        "delete_size_of",
        "delete_versions_of",
        "leave_messages",
    ):
        rows += tx.change(statement, (number,))
    rows += tx.change("delete_successions_of", {"id": run_id})
    deleted = tx.change("delete_ended_run", (number,))
    assert deleted == 1, run_id
    work.runs += 1
    work.rows += rows
    entries, is_done = _delete_entries(tx, number, blobs, max(1, work.rows_max - work.rows))
    work.rows += entries
    if not is_done:
        tx.change("add_leftover", (number,))
    _delete_blobs(tx, blobs)


def _delete_session(tx: Transaction, number: int, rows_max: int) -> tuple[int, bool]:
    """Delete up to so many messages, and with the last one the session; tell both."""
    messages = tx.all("list_oldest_messages", (number, rows_max))
    for message, _ in messages:
        tx.change("delete_message", (message,))
    _delete_blobs(tx, {blob for _, blob in messages if blob is not None})
    return len(messages), tx.change("delete_session", (number,)) == 1


def sweep_sessions(tx: Transaction, *, rows_max: int) -> int:
    """Delete the rows of deleted sessions that no fork reads; tell how many."""
    rows = 0
    # The parent of one that goes may be the next.
    while rows < rows_max and (found := tx.all("list_deleted_sessions", (rows_max,))):
        for (number,) in found:
            if rows >= rows_max:
                return rows
            messages, is_gone = _delete_session(tx, number, max(1, rows_max - rows))
            rows += messages + int(is_gone)
    return rows


def sweep(tx: Transaction, *, rows_max: int) -> int:
    """Delete rows of journals, sessions and documents that are gone; tell how many."""
    rows = 0
    for (number,) in tx.all("list_leftovers", (rows_max,)):
        if rows >= rows_max:
            break
        blobs: set[str] = set()
        entries, is_done = _delete_entries(tx, number, blobs, rows_max - rows)
        rows += entries
        if is_done:
            tx.change("delete_leftover", (number,))
        _delete_blobs(tx, blobs)
    rows += sweep_sessions(tx, rows_max=max(0, rows_max - rows))
    return rows + memory_sweep.sweep(tx, rows_max=max(0, rows_max - rows))


def _delete_entries(
    tx: Transaction, number: int, blobs: set[str], rows_max: int
) -> tuple[int, bool]:
    """Delete up to so many entries of a run; tell how many, and whether none is left.

    The newest row of the whole journal stays: see the trigger ``journal_end_stays``.
    """
    found = tx.all("list_oldest_entries", (number, rows_max + 1))
    chosen = found[:rows_max]
    deleted = 0
    for entry, blob in chosen:
        if tx.change("delete_entry", (entry,)) == 1:
            deleted += 1
            if blob is not None:
                blobs.add(blob)
    return deleted, deleted == len(found)


def _delete_blobs(tx: Transaction, blobs: set[str]) -> None:
    for blob in blobs:
        tx.change("delete_lonely_blob", {"hash": blob})


def retire_snapshots(
    tx: Transaction, *, before: int | None, per_run_max: int, after: int, limit: int
) -> tuple[int, int | None]:
    """Delete old snapshots, and such as are too many of a run; say where to go on."""
    parameters = {"after": after, "limit": limit, "count_max": per_run_max}
    page = tx.all("page_snapshots", parameters)
    deleted = 0
    for number, created_at, is_live, newer, is_awaited in page:
        is_old = before is not None and created_at < before
        is_many = 0 < per_run_max <= newer
        if (is_old or is_many) and not is_live and not is_awaited:
            deleted += tx.change("delete_snapshot_number", (number,))
    return deleted, page[-1][0] if len(page) == limit else None


def retire_sessions(
    tx: Transaction, *, before: int, after: int, limit: int, rows_max: int
) -> tuple[int, int | None]:
    """Delete sessions that nobody has used since; say where to go on."""
    page = tx.all("page_sessions", {"after": after, "limit": limit})
    deleted = 0
    room = rows_max
    for number, used_at, is_needed in page:
        if used_at >= before or is_needed:
            continue
        messages, is_gone = _delete_session(tx, number, room)
        room -= messages
        if not is_gone:
            return deleted, number - 1  # it has more: go on with it
        deleted += 1
        if room <= 0:
            return deleted, number
    return deleted, page[-1][0] if len(page) == limit else None
