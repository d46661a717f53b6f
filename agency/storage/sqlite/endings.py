"""How runs end inside a transaction: by themselves, by a wish, or with their parent."""

from __future__ import annotations

from dataclasses import dataclass, field

from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind
from agency.errors import Fenced, RunEnded, RunNotFound
from agency.ports.store import Claim, Wake
from agency.storage.sqlite import starts, waits, writes
from agency.storage.sqlite.forms import StartForm, WritesForm
from agency.storage.sqlite.rows import wake_of
from agency.storage.sqlite.transaction import Row, Transaction


@dataclass(frozen=True, slots=True)
class Finish:
    """A run's own end, encoded."""

    status: RunStatus
    output: bytes | None
    error: bytes | None
    successor: StartForm | None
    now: int


@dataclass(slots=True)
class Ended:
    """What came of the wish to end a run and its descendants."""

    ended: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)


def finish(tx: Transaction, claim: Claim, form: WritesForm, end: Finish) -> list[Wake]:
    """Record, and end a claimed run.

    Raises:
        Fenced: the claim is over.
    """
    output = end.output
    row = tx.one(
        "finish_run",
        {
            "number": claim.number,
            "epoch": claim.epoch,
            "status": end.status.value,
            "output": None if output is None else tx.keep(output, starts.RUN_INLINE_BYTES_MAX),
            "error": end.error,
            "now": end.now,
            "steps": tx.steps.settle(claim.run_id, claim.epoch) + form.steps,
        },
    )
    if row is None:
        raise Fenced(claim.run_id, claim.epoch)
    name, session_id, session_place, parent_id = row
    writes.apply(tx, claim, form, now=end.now)
    if end.successor is None:
        return settle(
            tx,
            claim.number,
            claim.run_id,
            session_id=session_id,
            session_place=session_place,
            now=end.now,
        )
    waits.close_open_waits(tx, claim.number, now=end.now)
    number = starts.start_successor(
        tx,
        end.successor,
        name=name,
        session_id=session_id,
        session_place=session_place,
        parent_id=parent_id,
    )
    successor_id = end.successor.new.id
    tx.change("hand_over_child", {"run_id": claim.run_id, "successor": successor_id})
    return [wake_of(number, successor_id, RunStatus.PENDING)]


def settle(
    tx: Transaction,
    number: int,
    run_id: str,
    *,
    session_id: str | None,
    session_place: int | None,
    now: int,
) -> list[Wake]:
    """Close what a run that has just ended leaves: its waits, its parent's, its session."""
    waits.close_open_waits(tx, number, now=now)
    wakes = waits.answer_parent(tx, run_id, now=now)
    if session_place is not None:
        following = tx.one("unblock_session", (session_id,))
        if following is not None and following[2] == RunStatus.PENDING:
            wakes.append(wake_of(*following))
    return wakes


def end(tx: Transaction, run_id: str, *, status: RunStatus, error: bytes, now: int) -> Ended:
    """End a run and its live descendants, or record that their end is wanted.

    Parents go first: a child that ends then finds its parent's wait closed if the parent has ended.

    Raises:
        RunNotFound, RunEnded: of the run itself.
    """
    line = tx.all("list_line", (run_id,))
    if not line or line[0][1] != run_id:
        state = tx.one("find_state", (run_id,))
        if state is None:
            raise RunNotFound(run_id)
        raise RunEnded(run_id, state[2])
    result = Ended()
    for row in line:
        _end_one(tx, row, result, status=status, error=error, now=now)
    # A run that was woken for its parent's sake may have ended after it.
    gone = set(result.ended)
    result.wakes = [wake for wake in dict.fromkeys(result.wakes) if wake.run_id not in gone]
    return result


def _end_one(
    tx: Transaction, row: Row, result: Ended, *, status: RunStatus, error: bytes, now: int
) -> None:
    number, run_id, current, has_at_end = row
    has_decision = tx.one("find_open_of_kind", (number, WaitKind.DECISION.value)) is not None
    if current != RunStatus.RUNNING and not has_at_end and not has_decision:
        result.wakes += end_now(tx, number, run_id, status=status, error=error, now=now)
        result.ended.append(run_id)
        return
    ask = {"number": number, "status": status.value, "error": error}
    tx.change("ask_end", ask)
    waits.close_operator_waits(tx, number, now=now)
    result.asked.append(run_id)
    if current == RunStatus.RUNNING:
        result.wakes.append(wake_of(number, run_id, RunStatus.RUNNING))
    elif current == RunStatus.PENDING or not has_decision:
        tx.change("requeue_for_end", {"number": number, "now": now})
        result.wakes.append(wake_of(number, run_id, RunStatus.PENDING))


def end_now(
    tx: Transaction, number: int, run_id: str, *, status: RunStatus, error: bytes | None, now: int
) -> list[Wake]:
    """End a run that is pending or suspended."""
    row = tx.one("end_run", {"number": number, "status": status.value, "error": error, "now": now})
    assert row is not None, run_id
    return settle(tx, number, run_id, session_id=row[0], session_place=row[1], now=now)
