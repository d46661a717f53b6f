"""Schedules on SQLite; the promises are those of `agency.ports.schedule.ScheduleStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import to_micros
from agency.core.json import encode
from agency.domain.run import NewRun, RunError
from agency.domain.schedule import Firing, FiringOutcome, Schedule, ScheduleSpec
from agency.errors import ScheduleNotFound, TooManySchedules
from agency.ports.schedule import DueSchedules, Fired, NewFiring
from agency.ports.store import Ending
from agency.storage.sqlite import firing, forms
from agency.storage.sqlite.firing import FiringForm
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.rows import run_of
from agency.storage.sqlite.schedule_rows import firing_of, micros_of, moment_of, schedule_of
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

SCHEDULES_MAX = 10_000
"""Schedules of one store: each look at what is due and each list stays short."""

_NUMBER_MAX = (1 << 63) - 1


class SqliteSchedules:
    """Schedules in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def add(
        self,
        spec: ScheduleSpec,
        *,
        id: str,
        created_by: str,
        next_at: datetime | None,
        due_at: datetime | None,
        now: datetime,
    ) -> Schedule | None:
        """Store a new schedule; see `ScheduleStore.add`."""
        self._space.check()
        columns = {
            "id": id,
            "name": spec.name,
            "workflow": spec.workflow,
            "next_at": micros_of(next_at),
            "due_at": micros_of(due_at),
            "now": to_micros(now),
            "created_by": created_by,
            "spec": encode(spec),
        }
        row = await self._writer.submit(partial(_add, columns=columns))
        return None if row is None else schedule_of(row)

    async def replace(
        self,
        seen: Schedule,
        spec: ScheduleSpec,
        *,
        next_at: datetime | None,
        due_at: datetime | None,
        now: datetime,
    ) -> Schedule | None:
        """Give a schedule another spec; see `ScheduleStore.replace`."""
        columns = {
            "id": seen.id,
            "generation": seen.generation,
            "last_at": micros_of(seen.last_at),
            "workflow": spec.workflow,
            "spec": encode(spec),
            "next_at": micros_of(next_at),
            "due_at": micros_of(due_at),
            "now": to_micros(now),
        }
        row = await self._writer.submit(lambda tx: tx.one("replace_schedule", columns))
        return None if row is None else schedule_of(row)

    async def get(self, name: str) -> Schedule:
        """Read one schedule; see `ScheduleStore.get`."""
        row = await self._readers.one("get_schedule", (name,))
        if row is None:
            raise ScheduleNotFound(name)
        return schedule_of(row)

    async def list(
        self, *, workflow: str | None, after: str | None, limit: int
    ) -> Sequence[Schedule]:
        """Read schedules by name; see `ScheduleStore.list`."""
        statement = "list_schedules" if workflow is None else "list_schedules_of_workflow"
        parameters = {"workflow": workflow, "after": after or "", "limit": limit}
        return [schedule_of(row) for row in await self._readers.all(statement, parameters)]

    async def delete(self, name: str) -> None:
        """Delete a schedule with its ledger; see `ScheduleStore.delete`."""
        await self._writer.submit(partial(_delete, name=name))

    async def pause(self, name: str, *, reason: str, now: datetime) -> Schedule:
        """Let a schedule fire nothing; see `ScheduleStore.pause`."""
        columns = {"name": name, "reason": reason, "now": to_micros(now)}
        row = await self._writer.submit(lambda tx: tx.one("pause_schedule", columns))
        return _found(row, name)

    async def resume(self, name: str, *, now: datetime) -> Schedule:
        """Let a schedule fire again; see `ScheduleStore.resume`."""
        columns = {"name": name, "now": to_micros(now)}
        row = await self._writer.submit(lambda tx: tx.one("resume_schedule", columns))
        return _found(row, name)

    async def due(self, *, now: datetime, limit: int) -> DueSchedules:
        """Read schedules that are due; see `ScheduleStore.due`."""
        micros = to_micros(now)
        rows = await self._readers.all("list_due_schedules", (micros, limit))
        schedules = [schedule_of(row) for row in rows]
        if len(rows) == limit:
            return DueSchedules(schedules=schedules, next_at=now)
        row = await self._readers.one("next_due_schedule", (micros,))
        assert row is not None
        return DueSchedules(schedules=schedules, next_at=moment_of(row[0]))

    async def fire(
        self,
        seen: Schedule,
        firings: Sequence[NewFiring],
        *,
        next_at: datetime | None,
        due_at: datetime | None,
        error: RunError,
        now: datetime,
    ) -> Fired | None:
        """Record firings and start their runs; see `ScheduleStore.fire`."""
        if any(one.run is not None for one in firings):
            self._space.check()
        last = firings[-1]
        move = {
            "id": seen.id,
            "generation": seen.generation,
            "seen_at": micros_of(seen.next_at),
            "paused": seen.paused,
            "next_at": micros_of(next_at),
            "due_at": micros_of(due_at),
            "last_at": micros_of(last.through_at or last.expected_at),
            "rows": len(firings),
        }
        work = partial(
            firing.fire,
            move=move,
            name=seen.spec.name,
            overlap=seen.spec.overlap,
            firings=[_form(one) for one in firings],
            error=encode(error),
            now=to_micros(now),
        )
        done = await self._writer.submit(work)
        return None if done is None else _fired(done)

    async def run_now(self, name: str, run: NewRun, *, error: RunError, now: datetime) -> Fired:
        """Start a run of a schedule by hand; see `ScheduleStore.run_now`."""
        self._space.check()
        form = _form(NewFiring(expected_at=now, outcome=FiringOutcome.MANUAL, run=run))
        work = partial(
            firing.run_now, name=name, form=form, error=encode(error), now=to_micros(now)
        )
        return _fired(await self._writer.submit(work))

    async def firings(self, name: str, *, before: int | None, limit: int) -> Sequence[Firing]:
        """Read a schedule's ledger, newest first; see `ScheduleStore.firings`."""
        parameters = {
            "name": name,
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
        }
        rows = await self._readers.all("page_firings", parameters)
        if not rows:
            raise ScheduleNotFound(name)
        return [firing_of(row) for row in rows if row[0] is not None]


def _add(tx: Transaction, columns: Mapping[str, object]) -> Row | None:
    counted = tx.one("count_schedules")
    assert counted is not None
    if counted[0] >= SCHEDULES_MAX and tx.one("get_schedule", (columns["name"],)) is None:
        raise TooManySchedules(SCHEDULES_MAX)
    return tx.one("insert_schedule", columns)


def _delete(tx: Transaction, name: str) -> None:
    tx.change("delete_firings", (name,))
    if tx.change("delete_schedule", (name,)) == 0:
        raise ScheduleNotFound(name)


def _found(row: Row | None, name: str) -> Schedule:
    if row is None:
        raise ScheduleNotFound(name)
    return schedule_of(row)


def _form(new: NewFiring) -> FiringForm:
    return FiringForm(
        expected_at=to_micros(new.expected_at),
        through_at=micros_of(new.through_at),
        firings=new.firings,
        outcome=new.outcome,
        reason=new.reason,
        detail=new.detail,
        run=None if new.run is None else forms.start_form(new.run),
    )


def _fired(done: firing.Done) -> Fired:
    return Fired(
        firings=[firing_of(row) for row in done.firings],
        started=[run_of(row) for row in done.started],
        ended=[
            Ending(ended=[one.run_id for one in ended.ended], asked=ended.asked, wakes=ended.wakes)
            for ended in done.ended
        ],
    )
