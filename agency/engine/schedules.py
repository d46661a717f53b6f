"""Schedules: runs that the clock starts, each expected firing once, and each with a record.

The timer asks here what is due whenever it looks at the clock; between its looks nothing is done.
What is to become of the firings is decided by `agency.domain.catching_up`, and carried out by one
transaction of the store, which refuses when the schedule has changed since it was read. So a crash
leaves a firing either recorded with its run, or still to be dealt with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agency.core import ids, json
from agency.core.clock import Clock, to_micros, to_text
from agency.core.records import dataclass
from agency.domain.catching_up import Planned, make_plan
from agency.domain.firing import check_timing, due_time, expected_times, next_time
from agency.domain.run import NewRun, Run, RunError, RunStatus
from agency.domain.schedule import (
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    ScheduleSpec,
    SkipReason,
)
from agency.engine.queues import Queues
from agency.engine.runs import Runs, StartRequest
from agency.engine.timers import Timer
from agency.errors import (
    Fault,
    InvalidInput,
    LimitExceeded,
    QueueFull,
    QueueNotFound,
    ScheduleNotFound,
    ShuttingDown,
    ValueTooLarge,
    WorkflowDisabled,
    WorkflowNotFound,
)
from agency.ports.schedule import Fired, NewFiring, ScheduleStore

log = logging.getLogger(__name__)

BATCH_SCHEDULES_MAX = 100
"""Schedules that are read at one look; the others follow at once."""
INPUT_BYTES_MAX = 64 * 1024
"""Input of a schedule: it is stored again with each of its runs."""

_OVERTAKEN = RunError(
    code="cancelled", message="Cancelled: the next run of its schedule takes its place."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNow:
    """A request to run a schedule at once. As in `StartRequest`."""

    idempotency_key: str | None = None
    request_hash: str | None = None
    correlation_id: str = ""
    principal: str = "local"


class Schedules:
    """Make, change and fire schedules. All methods raise the errors of ``agency.errors``."""

    def __init__(
        self, *, store: ScheduleStore, runs: Runs, clock: Clock, timer: Timer, queues: Queues
    ) -> None:
        self._store = store
        self._runs = runs
        self._queues = queues
        self._clock = clock
        self._timer = timer
        # Nothing is due before this (None: never), once the store was asked.
        self._due_at: datetime | None = None
        self._is_known = False
        # What was made due while the store was being asked, which may not have seen it.
        self._earlier: datetime | None = None
        self._firing = asyncio.Lock()

    async def put(self, spec: ScheduleSpec, *, principal: str) -> tuple[Schedule, bool]:
        """Make a schedule, or replace the one of that name; tell whether it is new.

        The same spec again changes nothing. Another one counts from now on, but nothing that was
        dealt with is fired again, whatever the clock says.

        Raises:
            InvalidInput: something of it is wrong; ``faults`` has all of that.
            WorkflowNotFound, WorkflowDisabled, QueueNotFound, ValueTooLarge, TooManySchedules,
            StoreFull.
        """
        self._check(spec)
        while True:
            now = self._clock.now()
            seen = await self._find(spec.name)
            if seen is not None and seen.spec == spec:
                return seen, False
            # The anchor of intervals is the schedule's own creation, so it must be known first.
            next_at, due_at = self._first(spec, seen, now=now)
            moments = {"next_at": next_at, "due_at": due_at}
            if seen is None:
                made = await self._store.add(
                    spec, id=ids.new_id(), created_by=principal, now=now, **moments
                )
            else:
                made = await self._store.replace(seen, spec, now=now, **moments)
            if made is not None:
                break
        self._expect(made)
        log.info(
            "schedule made" if seen is None else "schedule changed",
            extra={"schedule": spec.name, "workflow": spec.workflow},
        )
        return made, seen is None

    @staticmethod
    def _check_timing(spec: ScheduleSpec) -> None:
        faults = check_timing(spec)
        if faults:
            first = faults[0]
            more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
            what = f"The schedule is not valid: {first.where}: {first.what}{more}"
            raise InvalidInput(what, faults=faults, hint=first.hint or None)

    def _check(self, spec: ScheduleSpec) -> None:
        self._check_timing(spec)
        size = len(json.encode(spec.input))
        if size > INPUT_BYTES_MAX:
            raise ValueTooLarge("The input of the schedule", size, INPUT_BYTES_MAX)
        try:
            self._prepare(spec, principal="")
        except InvalidInput as error:
            found = error.faults or (Fault("", error.message, error.hint),)
            moved = [replace(one, where=f"/input{one.where.removesuffix('/')}") for one in found]
            what = f"The workflow does not take this input: {moved[0].where}: {moved[0].what}"
            raise InvalidInput(what, faults=moved, hint=error.hint or None) from error

    def _prepare(self, spec: ScheduleSpec, *, principal: str) -> NewRun:
        """Make a run of a schedule, but for its id.

        Raises:
            WorkflowNotFound, WorkflowDisabled, QueueNotFound, InvalidInput, ValueTooLarge.
        """
        new = self._runs.prepare(
            StartRequest(
                workflow=spec.workflow,
                input=spec.input,
                principal=principal,
                tags=spec.tags,
                priority=spec.priority,
                queue=spec.queue,
            )
        )
        is_exclusive = spec.overlap is not Overlap.SKIP
        return replace(
            new,
            schedule=spec.name,
            max_attempts=spec.max_attempts or new.max_attempts,
            concurrency_key=f"schedule:{spec.name}" if is_exclusive else new.concurrency_key,
        )

    async def _find(self, name: str) -> Schedule | None:
        try:
            return await self._store.get(name)
        except ScheduleNotFound:
            return None

    @staticmethod
    def _first(
        spec: ScheduleSpec, seen: Schedule | None, *, now: datetime
    ) -> tuple[datetime | None, datetime | None]:
        """Tell the first moment from now on, and the same with its jitter."""
        schedule = _sketch(spec, seen, now=now)
        after = now if schedule.last_at is None else max(now, schedule.last_at)
        next_at = next_time(schedule, after=after)
        return next_at, None if next_at is None else due_time(schedule, next_at)

    async def get(self, name: str) -> Schedule:
        """Read one schedule. Raises: ScheduleNotFound."""
        return await self._store.get(name)

    async def list(
        self, *, workflow: str | None, after: str | None, limit: int
    ) -> Sequence[Schedule]:
        """Read schedules by name."""
        return await self._store.list(workflow=workflow, after=after, limit=limit)

    async def delete(self, name: str) -> None:
        """Delete a schedule with its ledger; its runs stay. Raises: ScheduleNotFound."""
        await self._store.delete(name)
        log.info("schedule deleted", extra={"schedule": name})

    async def pause(self, name: str, *, reason: str) -> Schedule:
        """Let a schedule fire nothing until it is resumed; what it would have is recorded.

        Raises:
            ScheduleNotFound: there is none.
        """
        schedule = await self._store.pause(name, reason=reason, now=self._clock.now())
        log.info("schedule paused", extra={"schedule": name, "reason": reason})
        return schedule

    async def resume(self, name: str) -> Schedule:
        """Let a schedule fire again, from the next expected moment on.

        What came due while it was paused is recorded as that first.

        Raises:
            ScheduleNotFound: there is none.
            InvalidInput: its time zone is not known any more.
        """
        seen = await self._store.get(name)
        self._check_timing(seen.spec)
        now = self._clock.now()
        await self.fire(now)
        schedule = await self._store.resume(name, now=now)
        if schedule.next_at is None:
            # Its time zone was lost for a while, or it has come to its end.
            next_at, due_at = self._first(schedule.spec, schedule, now=now)
            if next_at is not None:
                changed = await self._store.replace(
                    schedule, schedule.spec, next_at=next_at, due_at=due_at, now=now
                )
                schedule = changed or await self._store.get(name)
        self._expect(schedule)
        log.info("schedule resumed", extra={"schedule": name})
        return schedule

    async def run_now(self, name: str, wanted: RunNow) -> tuple[Run, bool]:
        """Start a run of a schedule at once, paused or not; tell whether it is new.

        Raises:
            ScheduleNotFound, WorkflowNotFound, WorkflowDisabled, QueueNotFound, QueueFull,
            InvalidInput, IdempotencyMismatch, ShuttingDown, StoreFull.
        """
        if self._runs.is_closed:
            raise ShuttingDown
        schedule = await self._store.get(name)
        new = replace(
            self._prepare(schedule.spec, principal=wanted.principal),
            idempotency_key=wanted.idempotency_key,
            request_hash=wanted.request_hash,
            correlation_id=wanted.correlation_id,
        )
        try:
            fired = await self._store.run_now(name, new, error=_OVERTAKEN, now=self._clock.now())
        except QueueFull as full:
            raise self._queues.explain_full(full) from None
        self._tell(name, fired)
        run = fired.started[0]
        return run, run.id == new.id

    async def next_times(self, name: str, *, limit: int) -> Sequence[datetime]:
        """List the next moments at which a schedule is expected to fire, jitter left out.

        Raises:
            ScheduleNotFound: there is none.
        """
        schedule = await self._store.get(name)
        if schedule.next_at is None:
            return []
        found = expected_times(schedule, after=schedule.next_at, until=None, limit=limit)
        return [schedule.next_at, *found][:limit]

    async def firings(self, name: str, *, before: int | None, limit: int) -> Sequence[Firing]:
        """Read a schedule's ledger, newest first. Raises: ScheduleNotFound."""
        return await self._store.firings(name, before=before, limit=limit)

    # --- what the timer asks -------------------------------------------------------------------

    async def fire(self, now: datetime) -> datetime | None:
        """Fire what is due, and tell when to look again, or None for never.

        Raises:
            StoreFull, ReadTooLong: the store cannot now; what is due stays so.
        """
        async with self._firing:
            if self._is_known and (self._due_at is None or self._due_at > now):
                return self._due_at
            self._earlier = None
            due = await self._store.due(now=now, limit=BATCH_SCHEDULES_MAX)
            moments = [await self._fire(schedule, now) for schedule in due.schedules]
            known = (*moments, due.next_at, self._earlier)
            self._due_at = min((one for one in known if one is not None), default=None)
            self._is_known = True
            return self._due_at

    async def _fire(self, schedule: Schedule, now: datetime) -> datetime | None:
        """Deal with one schedule, and tell when it is due again."""
        name = schedule.spec.name
        try:
            plan = make_plan(schedule, now=now)
        except LookupError as error:
            # The system has lost the zone: told, and shown, until somebody resumes it.
            log.error("schedule paused", extra={"schedule": name, "reason": str(error)})  # noqa: TRY400
            try:
                await self._store.pause(name, reason=str(error), now=now)
            except ScheduleNotFound:
                return None  # somebody has just deleted it
            await self._store.replace(schedule, schedule.spec, next_at=None, due_at=None, now=now)
            return None
        if not plan.firings:
            return plan.due_at
        fired = await self._store.fire(
            schedule,
            [self._new_firing(schedule, planned, now) for planned in plan.firings],
            next_at=plan.next_at,
            due_at=plan.due_at,
            error=_OVERTAKEN,
            now=now,
        )
        if fired is None:
            return now  # it has changed meanwhile: look again
        self._tell(name, fired)
        return plan.due_at

    def _new_firing(self, schedule: Schedule, planned: Planned, now: datetime) -> NewFiring:
        new = NewFiring(
            expected_at=planned.expected_at,
            through_at=planned.through_at,
            firings=planned.firings,
            outcome=planned.outcome,
            reason=planned.reason,
        )
        if planned.outcome is FiringOutcome.SKIPPED:
            return new
        spec = schedule.spec
        try:
            run = self._prepare(spec, principal=schedule.created_by)
        except WorkflowNotFound as error:
            return _skipped(new, SkipReason.WORKFLOW_UNKNOWN, error.message)
        except WorkflowDisabled as error:
            return _skipped(new, SkipReason.WORKFLOW_DISABLED, error.message)
        except QueueNotFound as error:
            return _skipped(new, SkipReason.QUEUE_UNKNOWN, error.message)
        except (InvalidInput, LimitExceeded) as error:
            return _skipped(new, SkipReason.INVALID_INPUT, error.message)
        run_id = ids.derive_id(
            schedule.id, str(schedule.generation), str(to_micros(planned.expected_at))
        )
        run = replace(
            run,
            id=run_id,
            created_at=now,
            available_at=now,
            correlation_id=run_id,
            tags={**run.tags, "expected_at": to_text(planned.expected_at)},
        )
        return replace(new, run=run)

    def _tell(self, name: str, fired: Fired) -> None:
        """Let the worker know what was started and cancelled, and the log what was not."""
        for ending in fired.ended:
            self._runs.ended(ending, RunStatus.CANCELLED, _OVERTAKEN)
        for run in fired.started:
            self._runs.expect(run)
        for firing in fired.firings:
            fields = {
                "schedule": name,
                "expected_at": to_text(firing.expected_at),
                "outcome": firing.outcome.value,
                "run_id": firing.run_id,
            }
            if firing.outcome is not FiringOutcome.SKIPPED:
                log.info("schedule fired", extra=fields)
            elif firing.reason == SkipReason.PAUSED:
                log.debug("schedule skipped", extra={**fields, "reason": firing.reason})
            else:
                log.warning("schedule skipped", extra={**fields, "reason": firing.reason})

    def _expect(self, schedule: Schedule) -> None:
        """Look at a schedule in time. One that is due later than before costs one look in vain."""
        due_at = schedule.due_at
        if due_at is None:
            return
        if self._due_at is None or due_at < self._due_at:
            self._due_at = due_at
        if self._earlier is None or due_at < self._earlier:
            self._earlier = due_at
        self._timer.expect(due_at)


def _skipped(new: NewFiring, reason: SkipReason, detail: str) -> NewFiring:
    return replace(new, outcome=FiringOutcome.SKIPPED, reason=reason, detail=detail)


def _sketch(spec: ScheduleSpec, seen: Schedule | None, *, now: datetime) -> Schedule:
    """Make what a schedule will be, to tell when it fires."""
    if seen is not None:
        return replace(seen, spec=spec)
    return Schedule(
        number=0,
        id="",
        spec=spec,
        generation=0,
        paused=None,
        next_at=None,
        due_at=None,
        last_at=None,
        fired=0,
        caught_up=0,
        skipped=0,
        manual=0,
        created_at=now,
        updated_at=now,
        created_by="",
    )
