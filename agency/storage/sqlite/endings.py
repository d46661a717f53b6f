"""How runs end inside a transaction: by themselves, by a wish, or with their parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from agency.core.json import encode
from agency.core.records import dataclass
from agency.domain.run import Phase, RunError, RunStatus
from agency.domain.wait import WaitKind
from agency.errors import Fenced, RunEnded, RunNotFound
from agency.ports.store import Claim, Wake
from agency.storage.sqlite import holds, starts, task_starts, waits, writes
from agency.storage.sqlite.forms import StartForm, WritesForm
from agency.storage.sqlite.rows import wake_of
from agency.storage.sqlite.transaction import Row, Transaction

_PARENT_ENDED = encode(
    RunError(code="cancelled", message="Cancelled: the run that has started it has ended.")
)


@dataclass(frozen=True, slots=True)
class Finish:
    """A run's own end, encoded, with what it records before."""

    claim: Claim
    form: WritesForm
    status: RunStatus
    output: bytes | None
    error: bytes | None
    successor: StartForm | None
    now: int


@dataclass(slots=True)
class Ended:
    """What came of the wish to end a run and its descendants.

    Attributes:
        ended: Runs that have ended, with their status.
        asked: Ids of runs whose end was recorded as wanted.
        wakes: Runs to be claimed or told.
        compensating: Ids of runs that are left to their compensation.
    """

    ended: list[Wake] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)
    compensating: list[str] = field(default_factory=list)


def finish(tx: Transaction, ends: Sequence[Finish]) -> list[list[Wake] | Fenced]:
    """Record, and end claimed runs: in one statement those that have nothing left to record.

    Returns:
        For each of them, in this order, who has to hear of it, or that the claim is over.

    Raises:
        whatever `writes.apply` raises.
    """
    outcomes: list[list[Wake] | Fenced] = []
    following: list[Finish] = []
    for end in ends:
        if not end.form.is_empty:
            outcomes += _finish(tx, following)
            following = []
            try:
                writes.apply_before(tx, end.claim, end.form, now=end.now)
            except Fenced as fenced:
                outcomes.append(fenced)
                continue
        following.append(end)
    return outcomes + _finish(tx, following)


def _finish(tx: Transaction, ends: Sequence[Finish]) -> list[list[Wake] | Fenced]:
    values: list[Any] = []
    for end in ends:
        claim, output = end.claim, end.output
        values += (
            claim.number,
            claim.epoch,
            end.status.value,
            None if output is None else tx.keep(output, starts.RUN_INLINE_BYTES_MAX),
            end.error,
            end.now,
            tx.steps.count(claim.run_id, claim.epoch) + end.form.steps,
        )
    ended = tx.finish(values, len(ends)) if ends else {}
    outcomes: list[list[Wake] | Fenced] = []
    for end in ends:
        # A run that is asked for twice has been ended by the first.
        row = ended.pop(end.claim.number, None)
        if row is None:
            outcomes.append(Fenced(end.claim.run_id, end.claim.epoch))
        else:
            tx.steps.forget(end.claim.run_id, end.claim.epoch)
            outcomes.append(_see_to(tx, end, row))
    return outcomes


def _see_to(tx: Transaction, end: Finish, row: Row) -> list[Wake]:
    """See to what a run that has just ended leaves behind."""
    name, session_id, concurrency_key, parent_id, has_waits, has_children = row
    claim, successor = end.claim, end.successor
    has_holds = session_id is not None or concurrency_key is not None
    if not (parent_id or has_holds or has_waits or has_children or successor):
        # By far the most runs leave nothing: one statement has ended them.
        return []
    if successor is None:
        wakes = settle(tx, claim.number, claim.run_id, now=end.now)
        if has_children:
            wakes += end_children(tx, claim.run_id, now=end.now)
        if has_holds or parent_id:
            wakes += holds.leave(tx, claim.number)
        return wakes
    waits.close_open_waits(tx, claim.number, now=end.now)
    number = starts.start_successor(
        tx,
        successor,
        name=name,
        session_id=session_id,
        concurrency_key=concurrency_key,
        parent_id=parent_id,
    )
    holds.hand_over(tx, claim.number, number)
    successor_id = successor.new.id
    heir = {"run_id": claim.run_id, "successor": successor_id}
    tx.change("add_succession", (successor_id, claim.run_id))
    task_starts.hand_over(tx, claim.number, number, now=end.now)
    tx.change("hand_over_child", heir)
    tx.change("hand_over_children", heir)
    wish = tx.one("find_wish", (claim.number,))
    if wish is not None:
        # Who was told that it ends means whatever it goes on as.
        return _end_successor(tx, successor_id, RunStatus(wish[0]), now=end.now)
    return [wake_of(number, successor_id, RunStatus.PENDING)]


def _end_successor(tx: Transaction, run_id: str, status: RunStatus, *, now: int) -> list[Wake]:
    error = RunError(code=status.value, message="Its end was wanted before it went on as this run.")
    ended = end(tx, run_id, status=status, error=encode(error), now=now)
    return ended.ended + ended.wakes


def settle(tx: Transaction, number: int, run_id: str, *, now: int) -> list[Wake]:
    """Close what a run that has just ended leaves: its waits, its parent's.

    What it holds is left with `holds.leave` once its children have been seen to.
    """
    waits.close_open_waits(tx, number, now=now)
    return waits.answer_parent(tx, run_id, now=now)


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
    return _end_line(tx, line, status=status, error=error, now=now)


def end_children(tx: Transaction, run_id: str, *, now: int) -> list[Wake]:
    """Cancel the live descendants of a run that has just ended: nobody waits for them any more.

    Returns:
        All that have ended or are to be claimed or told.
    """
    if tx.one("find_live_child", (run_id,)) is None:
        return []
    line = tx.all("list_line", (run_id,))
    result = _end_line(tx, line, status=RunStatus.CANCELLED, error=_PARENT_ENDED, now=now)
    return result.ended + result.wakes


def _end_line(
    tx: Transaction, line: list[Row], *, status: RunStatus, error: bytes, now: int
) -> Ended:
    """End what can end at once of ``list_line``, and record for the rest that it is wanted."""
    result = Ended()
    for row in line:
        _end_one(tx, row, result, status=status, error=error, now=now)
    for ended in result.ended:
        result.wakes += holds.leave(tx, ended.number)
    # A run that was woken for its parent's sake may have ended after it.
    gone = {ended.run_id for ended in result.ended}
    result.wakes = [wake for wake in dict.fromkeys(result.wakes) if wake.run_id not in gone]
    return result


def _end_one(
    tx: Transaction, row: Row, result: Ended, *, status: RunStatus, error: bytes, now: int
) -> None:
    number, run_id, current, has_at_end, phase = row
    if phase == Phase.COMPENSATING:
        result.compensating.append(run_id)
        return
    has_decision = tx.one("find_open_of_kind", (number, WaitKind.DECISION.value)) is not None
    is_claimed = current == RunStatus.RUNNING
    if not (is_claimed or has_at_end or has_decision or tx.one("find_doubt", (number,))):
        result.wakes += end_now(tx, number, run_id, status=status, error=error, now=now)
        result.ended.append(wake_of(number, run_id, status))
        return
    ask = {"number": number, "status": status.value, "error": error}
    tx.change("ask_end", ask)
    waits.close_operator_waits(tx, number, now=now)
    result.asked.append(run_id)
    if is_claimed:
        result.wakes.append(wake_of(number, run_id, RunStatus.RUNNING))
    elif current == RunStatus.PENDING or not has_decision:
        tx.change("requeue_for_end", {"number": number, "now": now})
        result.wakes.append(wake_of(number, run_id, RunStatus.PENDING))


def end_now(
    tx: Transaction, number: int, run_id: str, *, status: RunStatus, error: bytes | None, now: int
) -> list[Wake]:
    """End a run that is pending or suspended, and `settle` it."""
    end = {"number": number, "status": status.value, "error": error, "now": now}
    changed = tx.change("end_run", end)
    assert changed == 1, run_id
    return settle(tx, number, run_id, now=now)
