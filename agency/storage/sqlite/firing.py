"""Firings of schedules inside a transaction: recorded together with the runs that they start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from agency.core.records import dataclass
from agency.domain.run import RunStatus
from agency.domain.schedule import FiringOutcome, Overlap, SkipReason
from agency.errors import Conflict, InvalidInput, LimitExceeded, ScheduleNotFound
from agency.storage.sqlite import endings, starts
from agency.storage.sqlite.endings import Ended
from agency.storage.sqlite.forms import StartForm
from agency.storage.sqlite.schedule_rows import spec_of
from agency.storage.sqlite.transaction import Row, Transaction

FIRINGS_KEPT = 1000
"""Newest rows of the ledger that are kept of each schedule; the counts go on for ever."""

CANCELLED_MAX = 100
"""Earlier runs that one firing cancels at most; more than one live is rare."""

_SPEC = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringForm:
    """A firing to be recorded, encoded."""

    expected_at: int
    through_at: int | None
    firings: int | None
    outcome: FiringOutcome
    reason: str
    detail: str
    run: StartForm | None


@dataclass(slots=True)
class Done:
    """What became of firings: ``firing_columns``, ``run_columns``, and of cancelled runs."""

    firings: list[Row] = field(default_factory=list)
    started: list[Row] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Way:
    """How the runs of a schedule stand to each other."""

    name: str
    overlap: Overlap
    error: bytes
    now: int


def fire(
    tx: Transaction,
    *,
    move: dict[str, object],
    name: str,
    overlap: Overlap,
    firings: Sequence[FiringForm],
    error: bytes,
    now: int,
) -> Done | None:
    """Move a schedule on, and record what becomes of its firings; None if it has changed."""
    moved = tx.one("move_schedule", move)
    if moved is None:
        return None
    number, newest = moved
    done = Done()
    way = _Way(name, overlap, error, now)
    for place, form in enumerate(firings, newest - len(firings) + 1):
        _record(tx, done, number, place, _resolve(tx, done, way, form), now=now)
    _count(tx, number, done)
    tx.change("forget_firings", (number, newest - FIRINGS_KEPT))
    return done


def run_now(tx: Transaction, *, name: str, form: FiringForm, error: bytes, now: int) -> Done:
    """Start a run because somebody asks for it.

    Raises:
        ScheduleNotFound: there is no such schedule.
        as `starts.start`.
    """
    found = tx.one("get_schedule", (name,))
    if found is None:
        raise ScheduleNotFound(name)
    assert form.run is not None
    done = Done()
    started = starts.start(tx, form.run)
    if not isinstance(started, int):
        done.started.append(started)
        return done
    if spec_of(found[_SPEC]).overlap is Overlap.CANCEL_PREVIOUS:
        way = _Way(name, Overlap.CANCEL_PREVIOUS, error, now)
        _cancel_live(tx, done, way, but=form.run.new.id)
    moved = tx.one("add_schedule_row", (name,))
    assert moved is not None, name
    number, newest = moved
    _take(tx, done, form.run)
    _record(tx, done, number, newest, (form, form.run.new.id), now=now)
    _count(tx, number, done)
    tx.change("forget_firings", (number, newest - FIRINGS_KEPT))
    return done


def _resolve(
    tx: Transaction, done: Done, way: _Way, form: FiringForm
) -> tuple[FiringForm, str | None]:
    """Start a firing's run unless something is in its way; say which run the row names."""
    if form.run is None:
        return form, None
    if way.overlap is Overlap.SKIP:
        live = tx.one("find_live_of_schedule", (way.name,))
        if live is not None:
            return _skipped(form, SkipReason.OVERLAP, "An earlier run has not ended."), live[0]
    try:
        started = starts.start(tx, form.run)
    except (Conflict, LimitExceeded, InvalidInput) as refusal:
        return _skipped(form, refusal.code, refusal.message), None
    if isinstance(started, int) and way.overlap is Overlap.CANCEL_PREVIOUS:
        _cancel_live(tx, done, way, but=form.run.new.id)
    _take(tx, done, form.run)
    return form, form.run.new.id


def _cancel_live(tx: Transaction, done: Done, way: _Way, *, but: str) -> None:
    for (run_id,) in tx.all("list_live_of_schedule", (way.name, CANCELLED_MAX)):
        # One that is asked to end already may end with another of the list.
        state = tx.one("find_state", (run_id,))
        if run_id != but and state is not None and state[2] in _LIVE:
            done.ended.append(
                endings.end(tx, run_id, status=RunStatus.CANCELLED, error=way.error, now=way.now)
            )


_LIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED})


def _take(tx: Transaction, done: Done, form: StartForm) -> None:
    row = tx.one("find_run_by_id", (form.new.id,))
    assert row is not None, form.new.id
    done.started.append(row)


def _skipped(form: FiringForm, reason: str, detail: str) -> FiringForm:
    return FiringForm(
        expected_at=form.expected_at,
        through_at=form.through_at,
        firings=form.firings,
        outcome=FiringOutcome.SKIPPED,
        reason=reason,
        detail=detail,
        run=None,
    )


def _record(
    tx: Transaction,
    done: Done,
    schedule: int,
    number: int,
    resolved: tuple[FiringForm, str | None],
    *,
    now: int,
) -> None:
    form, run_id = resolved
    row = (
        number,
        form.expected_at,
        form.through_at,
        form.firings,
        now,
        form.outcome.value,
        form.reason,
        form.detail,
        run_id,
    )
    tx.change("insert_firing", (schedule, *row))
    done.firings.append(row)


def _count(tx: Transaction, schedule: int, done: Done) -> None:
    counts = dict.fromkeys((outcome.value for outcome in FiringOutcome), 0)
    for _, _, _, firings, _, outcome, *_ in done.firings:
        counts[outcome] += firings or 1
    tx.change("count_firings_of", {**counts, "number": schedule})
