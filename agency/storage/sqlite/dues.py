"""Waits whose moment has come, inside a transaction."""

from __future__ import annotations

from agency.core.records import dataclass
from agency.domain.wait import WaitKind
from agency.ports.store import Wake
from agency.storage.sqlite import claims, waits
from agency.storage.sqlite.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Fired:
    """What came due; ``next_at`` in microseconds since 1970, or None."""

    wakes: list[Wake]
    overdue: list[str]
    next_at: int | None


def fire_due(tx: Transaction, *, now: int, limit: int) -> Fired:
    """Resolve waits that are due, the longest due first, and wake their runs.

    Pending runs that were put off until now are ready from now on.
    """
    due = tx.all("list_due", (now, limit))
    for wait, _, kind in due:
        waits.resolve(tx, wait, waits.due_outcome(WaitKind(kind)), None, now=now)
    wakes = waits.wake_all(tx, [run for _, run, _ in due], now=now)
    promoted = claims.promote(tx, now=now, limit=limit)
    overdue = [run_id for (run_id,) in tx.all("list_overdue", {"now": now, "limit": limit})]
    if limit in {len(due), len(overdue), promoted}:
        return Fired(wakes, overdue, now)
    moments = (
        tx.one("next_due", (now,)),
        tx.one("next_deadline", (now,)),
        tx.one("next_available", (now,)),
    )
    known = [moment[0] for moment in moments if moment is not None and moment[0] is not None]
    return Fired(wakes, overdue, min(known, default=None))
