"""Claiming runs, and what becomes of the claims of a dead daemon, inside a transaction.

Ready runs stand in lanes, one for each workflow in each queue, because the limits are those of
queues and workflows. A claim merges the lanes by rank, and leaves out those that are at a limit:
each costs one look, however long it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from agency.core.json import encode
from agency.core.limits import AGEING_S
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
class _Limits:
    """What was looked up of the limits during one claim."""

    tx: Transaction
    now: int
    queues: list[_Allowance] = field(default_factory=list)
    workflows: dict[str, int] = field(default_factory=dict)

    def of_queue(self, name: str) -> _Allowance:
        found = _load_allowance(self.tx, name, self.now)
        self.queues.append(found)
        return found

    def of_workflow(self, name: str) -> int:
        """Tell how many more runs of a workflow may be claimed."""
        if name not in self.workflows:
            row = self.tx.one("load_workflow_limit", (name,))
            self.workflows[name] = _NO_LIMIT if row is None else row[0]
        return self.workflows[name]

    def settle(self) -> int | None:
        """Write down what was taken out of the buckets, and tell when there are tokens again."""
        moments = []
        for queue in self.queues:
            rate = queue.rate
            if rate is None:
                continue
            if queue.taken or rate.is_set_back:
                values = {"name": queue.queue, "tokens": rate.tokens, "now": self.now}
                self.tx.change("set_tokens", values)
            if queue.is_held_up:
                moments.append(rate.next_at(self.now))
        return min(moments, default=None)


@dataclass(slots=True)
class _Lane:
    """The ready runs of one workflow in one queue, in their order."""

    queue: _Allowance
    workflow: str
    runs: Iterator[Row]


def claim(tx: Transaction, *, limit: int, owner: str, now: int) -> ClaimedRows:
    """Claim the runs that are ready, smallest rank first, within all limits."""
    promoted = promote(tx, now=now, limit=PROMOTED_RUNS_MAX)
    limits = _Limits(tx, now)
    numbers = _choose(_open_lanes(tx, limits), limits, limit)
    rows = _claim(tx, numbers, owner=owner, now=now)
    next_at = limits.settle()
    return ClaimedRows(rows, now if promoted == PROMOTED_RUNS_MAX else next_at)


def claim_one(tx: Transaction, run_id: str, *, owner: str, now: int) -> ClaimedRows:
    """Claim one run if it is ready and no limit is in the way."""
    found = tx.one("find_ready", {"run_id": run_id, "now": now})
    if found is None:
        return ClaimedRows([])
    number, queue, workflow = found
    limits = _Limits(tx, now)
    allowance = limits.of_queue(queue)
    numbers = []
    if not allowance.is_used_up and limits.of_workflow(workflow) > 0:
        allowance.take()
        numbers.append(number)
    rows = _claim(tx, numbers, owner=owner, now=now)
    return ClaimedRows(rows, limits.settle())


def promote(tx: Transaction, *, now: int, limit: int) -> int:
    """Make up to ``limit`` runs ready that were put off until now, and tell how many."""
    return tx.change("promote_delayed", {"now": now, "limit": limit})


def _open_lanes(tx: Transaction, limits: _Limits) -> list[_Lane]:
    lanes = []
    queue = ""
    while (found := tx.one("next_ready_queue", (queue,))) is not None:
        queue = found[0]
        allowance = limits.of_queue(queue)
        if allowance.is_used_up:
            continue
        workflow = ""
        while (found := tx.one("next_lane", (queue, workflow))) is not None:
            workflow = found[0]
            if limits.of_workflow(workflow) > 0:
                lanes.append(_Lane(allowance, workflow, tx.each("list_lane", (queue, workflow))))
    return lanes


def _choose(lanes: list[_Lane], limits: _Limits, limit: int) -> list[int]:
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
        if lane.queue.is_used_up or limits.workflows[lane.workflow] <= 0:
            heapq.heappop(heads)
            continue
        chosen.append(number)
        lane.queue.take()
        limits.workflows[lane.workflow] -= 1
        following = next(lane.runs, None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (*following, position))
    return chosen


def _claim(tx: Transaction, numbers: list[int], *, owner: str, now: int) -> list[Row]:
    if not numbers:
        return []
    rows = tx.all("claim_runs", {"numbers": encode(numbers).decode(), "owner": owner, "now": now})
    # RETURNING promises no order.
    rows.sort(key=_rank)
    _mark_alone(tx, rows)
    return rows


def _rank(row: Row) -> tuple[int, int]:
    return row[_AVAILABLE_AT] - row[_PRIORITY] * _AGEING, row[_NUMBER]


def _load_allowance(tx: Transaction, queue: str, now: int) -> _Allowance:
    row = tx.one("load_limits", (queue,))
    if row is None:
        return _Allowance(queue, _NO_LIMIT)
    paused_at, concurrency, rate, period, tokens, refilled_at, running = row
    if paused_at is not None:
        return _Allowance(queue, 0)
    left = _NO_LIMIT if concurrency is None else concurrency - running
    if rate is None:
        return _Allowance(queue, left)
    # A clock that was set back fills nothing, and the bucket goes on from there.
    gained = max(0, now - refilled_at) * rate / period
    filled = min(tokens + gained, capacity(rate))
    return _Allowance(queue, left, _Rate(rate, period, filled, is_set_back=now < refilled_at))


def _mark_alone(tx: Transaction, rows: list[Row]) -> None:
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
