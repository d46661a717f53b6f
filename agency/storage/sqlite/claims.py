"""Claiming runs, and what becomes of the claims of a dead daemon, inside a transaction."""

from __future__ import annotations

from dataclasses import dataclass

from agency.domain.run import RunError
from agency.storage.sqlite import endings
from agency.storage.sqlite.forms import error_form
from agency.storage.sqlite.transaction import Row, Transaction

PRIORITY_MAX = 1 << 62
SUSPECT_CRASHES = 2
"""Crashes in a row, with nothing recorded since the claim, that make a run a suspect."""

_NUMBER, _PRIORITY, _AVAILABLE_AT, _CRASHES = 0, 15, 20, 32


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a dead daemon; ids in the order of their runs."""

    requeued: int
    suspects: list[str]
    quarantined: list[str]


def claim(tx: Transaction, *, limit: int, owner: str, now: int) -> list[Row]:
    """Claim the runs that are ready, priority by priority, as ``run_columns``."""
    rows: list[Row] = []
    below = PRIORITY_MAX
    while len(rows) < limit:
        level = tx.one("next_priority", (below,))
        if level is None or level[0] is None:
            break
        below = level[0]
        rows += tx.all(
            "claim_priority",
            {"priority": below, "now": now, "limit": limit - len(rows), "owner": owner},
        )
    # RETURNING promises no order.
    rows.sort(key=lambda row: (-row[_PRIORITY], row[_AVAILABLE_AT], row[_NUMBER]))
    _mark_alone(tx, rows)
    return rows


def claim_one(tx: Transaction, run_id: str, *, owner: str, now: int) -> list[Row]:
    """Claim one run if it is ready, as ``run_columns``."""
    rows = tx.all("claim_one", {"run_id": run_id, "owner": owner, "now": now})
    _mark_alone(tx, rows)
    return rows


def _mark_alone(tx: Transaction, rows: list[Row]) -> None:
    if not rows:
        return
    tx.change("not_alone_any_more")
    if len(rows) == 1 and rows[0][_CRASHES] >= SUSPECT_CRASHES:
        running = tx.one("count_running")
        if running == (1,):
            tx.change("runs_alone", (rows[0][_NUMBER],))


def recover(tx: Transaction, *, owner: str, now: int) -> Found:
    """Put the runs that another owner had claimed back to pending, or quarantine them."""
    requeued = 0
    quarantined = []
    for number, run_id, crashes_before, ran_alone in tx.all("list_orphans", (owner,)):
        counted = tx.one("count_steps", (number,))
        assert counted is not None, run_id
        steps, has_recorded = counted
        crashes = 0 if has_recorded else crashes_before + 1
        if crashes > SUSPECT_CRASHES and ran_alone:
            _quarantine(tx, number, run_id, crashes=crashes, steps=steps, now=now)
            quarantined.append(run_id)
        else:
            tx.change("requeue", {"number": number, "crashes": crashes, "steps": steps})
            requeued += 1
    suspects = [run_id for (run_id,) in tx.all("list_suspects")]
    return Found(requeued, suspects, quarantined)


def _quarantine(
    tx: Transaction, number: int, run_id: str, *, crashes: int, steps: int, now: int
) -> None:
    error = RunError(
        code="crash",
        message=f"The daemon crashed {crashes} times while this run was claimed, at last alone.",
        hint="Look at the daemon's log from before its last starts, then start a new run.",
    )
    row = tx.one(
        "quarantine",
        {
            "number": number,
            "crashes": crashes,
            "steps": steps,
            "error": error_form(error),
            "now": now,
        },
    )
    assert row is not None, run_id
    endings.settle(tx, number, run_id, session_id=row[0], session_place=row[1], now=now)
    # Nobody is to be told: no run is worked on while the dead daemon's are looked through.
    endings.end_children(tx, run_id, now=now)
