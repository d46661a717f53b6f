"""How runs leave the worker without an end, inside a transaction: suspended, released, held."""

from __future__ import annotations

from collections.abc import Sequence

from agency.core.json import encode
from agency.core.records import dataclass
from agency.domain.run import RunStatus
from agency.domain.wait import NewWait, WaitKind
from agency.errors import Fenced, RunEnded, RunNotFound
from agency.ports.store import Claim, Wake
from agency.storage.sqlite import endings, waits, writes
from agency.storage.sqlite.forms import WaitForm, WritesForm
from agency.storage.sqlite.rows import wake_of
from agency.storage.sqlite.transaction import Row, Transaction


@dataclass(frozen=True, slots=True)
class Suspend:
    """The wish to suspend a claimed run."""

    blocked_on: Sequence[str]
    snapshot_id: str
    reason: str
    now: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """What became of it: a snapshot, or waits that have their outcome, as ``wait_columns``."""

    has_snapshot: bool
    resolved: list[Row]
    wakes: list[Wake]


def suspend(tx: Transaction, claim: Claim, form: WritesForm, wish: Suspend) -> Suspended:
    """Record, and suspend a claimed run unless it can go on.

    Raises:
        Fenced: the claim is over.
    """
    fence = tx.one("fence", (claim.number, claim.epoch))
    if fence is None:
        raise Fenced(claim.run_id, claim.epoch)
    hold, ending, ending_epoch = fence
    writes.apply(tx, claim, form, now=wish.now)
    if hold is None:
        keys = encode(list(wish.blocked_on)).decode()
        resolved = tx.all("list_resolved_of", {"run": claim.number, "keys": keys})
        if resolved or not wish.blocked_on:
            tx.steps.note(claim.run_id, claim.epoch, form.steps)
            return Suspended(has_snapshot=False, resolved=resolved, wakes=[])
    else:
        open_operator_wait(tx, claim.number, hold, now=wish.now)
    # Before the status changes: its update tells the snapshot's reason.
    insert_snapshot(tx, claim.number, wish.snapshot_id, wish.reason, now=wish.now)
    tx.change(
        "suspend_run",
        {
            "number": claim.number,
            "epoch": claim.epoch,
            "snapshot_id": wish.snapshot_id,
            "steps": tx.steps.settle(claim.run_id, claim.epoch) + form.steps,
            "now": wish.now,
        },
    )
    wakes: list[Wake] = []
    if ending is not None and ending_epoch == claim.epoch:
        wakes = _carry_out_end(tx, claim, RunStatus(ending), now=wish.now)
    return Suspended(has_snapshot=True, resolved=[], wakes=wakes)


def _carry_out_end(tx: Transaction, claim: Claim, ending: RunStatus, *, now: int) -> list[Wake]:
    """Do what `endings.end` would have done had it come after the suspension.

    The wish for the end met a claimed run, whose worker suspended it before it was told, perhaps
    in the commit that has started its children.
    """
    row = tx.one("load_error", (claim.number,))
    assert row is not None
    result = endings.end(tx, claim.run_id, status=ending, error=row[0], now=now)
    children = [ended for ended in result.ended if ended.run_id != claim.run_id]
    return children + result.wakes


def insert_snapshot(tx: Transaction, run: int, snapshot_id: str, reason: str, *, now: int) -> None:
    """Store a snapshot with all open waits of the run."""
    newest = tx.one("newest_entry", (run,))
    assert newest is not None
    keys = [key for (key,) in tx.all("list_open_keys", (run,))]
    tx.change("insert_snapshot", (snapshot_id, run, newest[0], reason, now, encode(keys).decode()))


def open_operator_wait(tx: Transaction, run: int, reason: str, *, now: int) -> str:
    """Open the wait for the operator who holds the run, and give its key."""
    row = tx.one("count_operator_waits", (run,))
    assert row is not None
    new = NewWait(key=f"!operator#{row[0] + 1}", kind=WaitKind.OPERATOR, name=reason)
    waits.insert_wait(tx, run, WaitForm(new, None, None), now=now)
    return new.key


def release(
    tx: Transaction,
    claim: Claim,
    form: WritesForm,
    *,
    available_at: int,
    failed: bytes | None,
    now: int,
) -> None:
    """Record, and put a claimed run back to pending.

    Raises:
        Fenced: the claim is over.
    """
    parameters = {
        "number": claim.number,
        "epoch": claim.epoch,
        "available_at": available_at,
        "not_before": available_at if available_at > now else None,
        "now": now,
        "steps": tx.steps.settle(claim.run_id, claim.epoch) + form.steps,
    }
    writes.apply_before(tx, claim, form, now=now)
    if failed is None:
        changed = tx.change("release_run", parameters)
    else:
        changed = tx.change("release_failed_run", {**parameters, "error": failed})
    if not changed:
        raise Fenced(claim.run_id, claim.epoch)


def hold(
    tx: Transaction, run_id: str, *, reason: str, snapshot_id: str, now: int
) -> tuple[Row | None, list[Wake]]:
    """Ask for a run to be suspended until an operator lets it go on.

    Returns:
        The snapshot as ``snapshot_columns`` unless the run is claimed, and then its wake.

    Raises:
        RunNotFound, RunEnded: as the port says.
    """
    state = tx.one("find_state", (run_id,))
    if state is None:
        raise RunNotFound(run_id)
    number, _, status, held, newest = state
    match RunStatus(status):
        case RunStatus.RUNNING:
            if held is None:
                tx.change("hold_run", {"number": number, "reason": reason})
            return None, [wake_of(number, run_id, status)]
        case RunStatus.PENDING:
            newest = snapshot_id
            open_operator_wait(tx, number, reason, now=now)
            insert_snapshot(tx, number, snapshot_id, reason, now=now)
            held_run = {"number": number, "reason": reason, "snapshot_id": snapshot_id, "now": now}
            tx.change("suspend_held_run", held_run)
        case RunStatus.SUSPENDED:
            if held is None:
                tx.change("hold_run", {"number": number, "reason": reason})
                key = open_operator_wait(tx, number, reason, now=now)
                tx.change("add_snapshot_hold", {"id": newest, "key": key, "reason": reason})
        case _:
            raise RunEnded(run_id, status)
    return tx.one("get_snapshot", (newest,)), []
