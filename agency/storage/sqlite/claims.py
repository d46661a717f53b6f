"""Claiming runs, and what becomes of the claims of a dead daemon, inside a transaction.

Ready runs stand in lanes, one for each workflow in each queue, because the limits are those of
queues and workflows. A claim merges the lanes by rank, and leaves out those that are at a limit:
each costs one look, however long it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

from agency.core.json import encode
from agency.core.limits import AGEING_S
from agency.core.records import dataclass
from agency.domain.run import RunError
from agency.storage.sqlite import endings, holds
from agency.storage.sqlite.forms import error_form
from agency.storage.sqlite.queues import capacity
from agency.storage.sqlite.transaction import Row, Transaction

PROMOTED_RUNS_MAX = 500
"""Delayed runs that become ready in one claim; the timer sees to the others."""
SUSPECT_CRASHES = 2
"""Crashes in a row, with nothing recorded since the claim, that make a run a suspect."""

_NUMBER, _PRIORITY, _AVAILABLE_AT, _CRASHES = 0, 15, 20, 32
_AGEING = int(AGEING_S * 1_000_000)
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class ClaimedRows:
    """What was claimed, as ``run_columns``.

    Attributes:
        next_at: When a queue whose rate is used up can be claimed from again, in microseconds
            since 1970; None if no rate holds anything up.
    """

    rows: list[Row]
    next_at: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a dead daemon; ids in the order of their runs."""

    requeued: int
    suspects: list[str]
    quarantined: list[str]


@dataclass(slots=True)
class _Rate:
    """A bucket of tokens; ``tokens`` is what it holds now, ``period`` in microseconds."""

    rate: float
    period: int
    tokens: float
    is_set_back: bool

    def next_at(self, now: int) -> int:
        """Tell when there is a token again."""
        return now + int((1 - self.tokens) * self.period / self.rate) + 1


@dataclass(slots=True)
class _Allowance:
    """How many runs of a queue may be claimed now."""

    queue: str
    left: int
    rate: _Rate | None = None
    taken: int = 0
    is_held_up: bool = False

    @property
    def is_used_up(self) -> bool:
        if self.rate is not None and self.rate.tokens < 1:
            self.is_held_up = self.left > 0
            return True
        return self.left <= 0

    def take(self) -> None:
        self.left -= 1
        self.taken += 1
        if self.rate is not None:
            self.rate.tokens -= 1


@dataclass(slots=True)
class _Lane:
    """The ready runs of one workflow in one queue, in their order.

    Attributes:
        left: How many more runs of the workflow may be claimed, in a list that its lanes share.
    """

    queue: _Allowance
    left: list[int]
    runs: Iterator[Row]

    @property
    def is_used_up(self) -> bool:
        return self.left[0] <= 0 or self.queue.is_used_up

    def take(self) -> None:
        self.left[0] -= 1
        self.queue.take()


def claim(tx: Transaction, *, limit: int, owner: str, now: int) -> ClaimedRows:
    """Claim the runs that are ready, smallest rank first, within all limits."""
    promoted = 0
    (next_delayed, has_alone, *_), *found = tx.all("look_for_ready")
    if next_delayed is not None and next_delayed <= now:
        promoted = promote(tx, now=now, limit=PROMOTED_RUNS_MAX)
        (next_delayed, has_alone, *_), *found = tx.all("look_for_ready")
    queues, lanes = _open_lanes(tx, found, limit=limit, now=now)
    rows = _claim(tx, _choose(lanes, limit), owner=owner, now=now, has_alone=bool(has_alone))
    next_at = _settle(tx, queues, now=now)
    return ClaimedRows(rows, now if promoted == PROMOTED_RUNS_MAX else next_at)


def claim_one(tx: Transaction, run_id: str, *, owner: str, now: int) -> ClaimedRows:
    """Claim one run if it is ready and no limit is in the way."""
    found = tx.one("find_ready", {"run_id": run_id, "now": now})
    if found is None:
        return ClaimedRows([])
    number, *lane = found
    queues, lanes = _open_lanes(tx, [lane], limit=0, now=now)
    numbers = []
    if lanes:
        lanes[0].take()
        numbers.append(number)
    rows = _claim(tx, numbers, owner=owner, now=now, has_alone=True)
    return ClaimedRows(rows, _settle(tx, queues, now=now))


def promote(tx: Transaction, *, now: int, limit: int) -> int:
    """Make up to ``limit`` runs ready that were put off until now, and tell how many."""
    return tx.change("promote_delayed", {"now": now, "limit": limit})


def _open_lanes(
    tx: Transaction, found: Sequence[Sequence[Any]], *, limit: int, now: int
) -> tuple[list[_Allowance], list[_Lane]]:
    """Read ``lane_columns`` into the lanes that can be claimed from, and their queues."""
    queues: dict[str, _Allowance] = {}
    left: dict[str, list[int]] = {}
    lanes = []
    for queue, workflow, workflow_left, *limits in found:
        allowance = queues.get(queue)
        if allowance is None:
            allowance = queues[queue] = _allowance(queue, limits, now)
        shared = left.setdefault(workflow, [_NO_LIMIT if workflow_left is None else workflow_left])
        # All of those that will be claimed, if there is one lane only; else read as far as needed.
        runs = tx.each("list_lane", (queue, workflow, limit))
        lane = _Lane(allowance, shared, runs)
        if not lane.is_used_up:
            lanes.append(lane)
    return list(queues.values()), lanes


def _settle(tx: Transaction, queues: Sequence[_Allowance], *, now: int) -> int | None:
    """Write down what was taken out of the buckets, and tell when there are tokens again."""
    moments = []
    for queue in queues:
        rate = queue.rate
        if rate is None:
            continue
        if queue.taken or rate.is_set_back:
            tx.change("set_tokens", {"name": queue.queue, "tokens": rate.tokens, "now": now})
        if queue.is_held_up:
            moments.append(rate.next_at(now))
    return min(moments, default=None)


def _choose(lanes: Sequence[_Lane], limit: int) -> list[int]:
    """Choose up to ``limit`` runs by rank, and give their numbers."""
    chosen: list[int] = []
    heads: list[tuple[int, int, int]] = []
    for position, lane in enumerate(lanes):
        first = next(lane.runs, None)
        if first is not None:
            heads.append((*first, position))
    heapq.heapify(heads)
    while heads and len(chosen) < limit:
        _, number, position = heads[0]
        lane = lanes[position]
        if lane.is_used_up:
            heapq.heappop(heads)
            continue
        chosen.append(number)
        lane.take()
        following = next(lane.runs, None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (*following, position))
    return chosen


def _claim(
    tx: Transaction, numbers: list[int], *, owner: str, now: int, has_alone: bool
) -> list[Row]:
    if not numbers:
        return []
    rows = tx.all("claim_runs", {"numbers": encode(numbers).decode(), "owner": owner, "now": now})
    # RETURNING promises no order.
    rows.sort(key=_rank)
    if has_alone:
        tx.change("not_alone_any_more")
    if len(rows) == 1 and rows[0][_CRASHES] >= SUSPECT_CRASHES:
        _mark_alone(tx, rows[0][_NUMBER])
    return rows


def _rank(row: Row) -> tuple[int, int]:
    return row[_AVAILABLE_AT] - row[_PRIORITY] * _AGEING, row[_NUMBER]


def _allowance(queue: str, limits: Sequence[Any], now: int) -> _Allowance:
    paused_at, concurrency, rate, period, tokens, refilled_at, running = limits
    if paused_at is not None:
        return _Allowance(queue, 0)
    left = _NO_LIMIT if concurrency is None else concurrency - running
    if rate is None:
        return _Allowance(queue, left)
    # A clock that was set back fills nothing, and the bucket goes on from there.
    gained = max(0, now - refilled_at) * rate / period
    filled = min(tokens + gained, capacity(rate))
    return _Allowance(queue, left, _Rate(rate, period, filled, is_set_back=now < refilled_at))


def _mark_alone(tx: Transaction, number: int) -> None:
    """Note of a suspect that was claimed that nothing else runs, if so."""
    if tx.one("count_running") == (1,):
        tx.change("runs_alone", (number,))


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
            requeue = {"number": number, "crashes": crashes, "steps": steps, "now": now}
            tx.change("requeue", requeue)
            requeued += 1
    suspects = [run_id for (run_id,) in tx.all("list_suspects")]
    return Found(requeued, suspects, quarantined)


def _quarantine(
    tx: Transaction, number: int, run_id: str, *, crashes: int, steps: int, now: int
) -> None:
    error = RunError(
        code="crash",
        message=f"The daemon crashed {crashes} times while this run was claimed, at last alone.",
        hint="Look at the daemon's log from before its last starts; then `agency dead requeue` it.",
    )
    changed = tx.change(
        "quarantine",
        {
            "number": number,
            "crashes": crashes,
            "steps": steps,
            "error": error_form(error),
            "now": now,
        },
    )
    assert changed == 1, run_id
    # Nobody is to be told: no run is worked on while the dead daemon's are looked through.
    endings.settle(tx, number, run_id, now=now)
    endings.end_children(tx, run_id, now=now)
    holds.leave(tx, number)
