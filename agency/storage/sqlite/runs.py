"""The life of runs on SQLite; the promises are those of `agency.ports.store.RunStore`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from agency.core import limits
from agency.core.clock import from_micros, to_micros
from agency.core.json import decode, encode
from agency.domain.entry import EntryKind
from agency.domain.run import ENDED, NewRun, Phase, Run, RunError, RunStatus, may_become
from agency.domain.snapshot import Snapshot
from agency.domain.wait import Wait
from agency.errors import AgencyError, Fenced, RunNotFound
from agency.ports.store import (
    Claim,
    Claimed,
    Due,
    Ending,
    Recovery,
    RunDetail,
    RunFilter,
    Started,
    Suspension,
    Wake,
    Writes,
)
from agency.storage.sqlite import claims, dues, endings, forms, rows, starts, suspensions, writes
from agency.storage.sqlite.point_reads import PointReads
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

_STRAYS_PAGE_ROWS = 2000
"""Suspended runs that are looked through in one read: a few milliseconds."""

_NUMBER_MAX = (1 << 63) - 1


class SqliteRuns:
    """Runs in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space
        self._details = PointReads(self._load_details)

    async def start(self, new: NewRun) -> Started:
        """Store a run as pending; see `RunStore.start`."""
        self._space.check()
        form = forms.start_form(new)
        found: int | Row = await self._writer.submit_alike(starts.start_all, form)
        return _started(found, form)

    async def start_many(self, new: Sequence[NewRun]) -> Sequence[Started | AgencyError]:
        """Store many runs in one commit; see `RunStore.start_many`."""
        self._space.check()
        if not new:
            return []
        encoded = [forms.start_form(one) for one in new]
        outcomes = await self._writer.submit(partial(starts.start_all, forms=encoded))
        return [
            found if isinstance(found, AgencyError) else _started(found, form)
            for found, form in zip(outcomes, encoded, strict=True)
        ]

    async def claim(
        self, *, limit: int, owner: str, now: datetime, only: str | None = None
    ) -> Claimed:
        """Hand ready runs to the caller; see `RunStore.claim`."""
        if limit < 1:
            return Claimed(())
        micros = to_micros(now)
        if only is None:
            work = partial(claims.claim, limit=limit, owner=owner, now=micros)
        else:
            work = partial(claims.claim_one, run_id=only, owner=owner, now=micros)
        found = await self._writer.submit(work)
        return Claimed(
            [rows.run_of(row) for row in found.rows],
            next_at=None if found.next_at is None else from_micros(found.next_at),
        )

    async def record(self, claim: Claim, writes: Writes, *, now: datetime) -> Sequence[Wait]:
        """Record for a claimed run; see `RunStore.record`."""
        values: list[Any] | None = None
        steps = 0
        if not (
            writes.waits
            or writes.closed_waits
            or writes.children
            or writes.messages
            or writes.superseded
            or writes.has_progress
            or writes.phase is not None
        ):
            values, steps = _fast_values(claim, writes)
        if values:
            resolved: Sequence[Wait] = await self._writer.record(
                claim, values, len(writes.entries), steps
            )
            return resolved
        work = partial(_record, claim=claim, form=forms.writes_form(writes), now=to_micros(now))
        found = await self._writer.submit(work, run=claim.number)
        return [rows.wait_of(row) for row in found]

    async def suspend(
        self,
        claim: Claim,
        writes: Writes,
        *,
        blocked_on: Sequence[str],
        snapshot_id: str,
        reason: str,
        now: datetime,
    ) -> Suspension:
        """Record, and suspend the run unless it can go on; see `RunStore.suspend`."""
        wish = suspensions.Suspend(tuple(blocked_on), snapshot_id, reason, to_micros(now))
        suspended = await self._writer.submit(
            partial(suspensions.suspend, claim=claim, form=forms.writes_form(writes), wish=wish),
            run=claim.number,
        )
        return Suspension(
            snapshot_id=snapshot_id if suspended.has_snapshot else None,
            resolved=[rows.wait_of(row) for row in suspended.resolved],
            wakes=suspended.wakes,
        )

    def finish(
        self,
        claim: Claim,
        writes: Writes,
        *,
        status: RunStatus,
        output: Any,  # noqa: ANN401  JSON value
        error: RunError | None,
        successor: NewRun | None = None,
        now: datetime,
    ) -> Awaitable[Sequence[Wake]]:
        """Record, and end the run; see `RunStore.finish`.

        Raises:
            ValueError: a claimed run cannot end like that; a bug of the caller.
        """
        if status not in ENDED or not may_become(RunStatus.RUNNING, status):
            raise ValueError(f"A claimed run cannot end as {status}.")
        end = endings.Finish(
            claim=claim,
            form=forms.writes_form(writes),
            status=status,
            output=None if output is None else encode(output),
            error=forms.error_form(error),
            successor=None if successor is None else forms.start_form(successor),
            now=to_micros(now),
        )
        return self._writer.submit_alike(endings.finish, end, run=claim.number)

    async def release(
        self,
        claim: Claim,
        writes: Writes,
        *,
        available_at: datetime,
        failed: RunError | None = None,
        now: datetime,
    ) -> None:
        """Record, and put the run back to pending; see `RunStore.release`."""
        await self._writer.submit(
            partial(
                suspensions.release,
                claim=claim,
                form=forms.writes_form(writes),
                available_at=to_micros(available_at),
                failed=forms.error_form(failed),
                now=to_micros(now),
            ),
            run=claim.number,
        )

    async def end(
        self, run_id: str, *, status: RunStatus, error: RunError, now: datetime
    ) -> Ending:
        """Cancel or time out a run and its live descendants; see `RunStore.end`.

        Raises:
            ValueError: the status is neither of the two; a bug of the caller.
        """
        if status not in {RunStatus.CANCELLED, RunStatus.TIMED_OUT}:
            raise ValueError(f"A run cannot be ended from outside as {status}.")
        ended = await self._writer.submit(
            partial(
                endings.end, run_id=run_id, status=status, error=encode(error), now=to_micros(now)
            )
        )
        return Ending(
            ended=[one.run_id for one in ended.ended],
            asked=ended.asked,
            wakes=ended.wakes,
            compensating=ended.compensating,
        )

    async def hold(
        self, run_id: str, *, reason: str, snapshot_id: str, now: datetime
    ) -> tuple[Snapshot | None, Sequence[Wake]]:
        """Ask for a run to be suspended until it is let go; see `RunStore.hold`."""
        row, wakes = await self._writer.submit(
            partial(
                suspensions.hold,
                run_id=run_id,
                reason=reason,
                snapshot_id=snapshot_id,
                now=to_micros(now),
            )
        )
        return None if row is None else rows.snapshot_of(row), wakes

    async def recover(self, *, owner: str, now: datetime) -> Recovery:
        """Put back what a dead daemon had claimed; see `RunStore.recover`."""
        found = await self._writer.submit(partial(claims.recover, owner=owner, now=to_micros(now)))
        return Recovery(
            requeued=found.requeued, suspects=found.suspects, quarantined=found.quarantined
        )

    async def fire_due(self, *, now: datetime, limit: int) -> Due:
        """Resolve waits that are due; see `RunStore.fire_due`."""
        fired = await self._writer.submit(partial(dues.fire_due, now=to_micros(now), limit=limit))
        return Due(
            wakes=fired.wakes,
            overdue=fired.overdue,
            next_at=None if fired.next_at is None else from_micros(fired.next_at),
        )

    async def strays(self, *, owner: str) -> Sequence[str]:
        """Tell which runs have no reason to go on; see `RunStore.strays`."""
        strays = [run_id for (run_id,) in await self._readers.all("list_claimed", (owner,))]
        after = 0
        while page := await self._readers.all("list_strays", (after, _STRAYS_PAGE_ROWS)):
            strays += [run_id for _, run_id, is_stray in page if is_stray]
            after = page[-1][0]
        return strays

    async def get(self, run_id: str) -> RunDetail:
        """Read one run; see `RunStore.get`."""
        detail = await self._details.find(run_id)
        if detail is None:
            raise RunNotFound(run_id)
        return detail

    async def _load_details(self, run_ids: Sequence[str]) -> dict[str, RunDetail]:
        # Before the rows: see `rows.detail_of`.
        steps = {run_id: self._writer.steps.committed(run_id) for run_id in run_ids}
        found = await self._readers.all("get_runs", (encode(run_ids).decode(),))
        details = (rows.detail_of(row, claimed_steps=steps[row[1]]) for row in found)
        return {detail.run.id: detail for detail in details}

    async def find_named(self, name: str) -> RunDetail | None:
        """Read the live run of that name, else the newest ended one; see `RunStore.find_named`."""
        row = await self._readers.one("find_named", (name,))
        if row is None:
            return None
        detail = rows.detail_of(row, claimed_steps=(0, 0))
        if detail.run.status is RunStatus.RUNNING:
            return await self.get(detail.run.id)
        return detail

    async def list(self, which: RunFilter, *, before: int | None, limit: int) -> Sequence[Run]:
        """Read runs, newest first; see `RunStore.list`."""
        parameters = {
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
            "workflow": which.workflow,
            "name": which.name,
            "session_id": which.session_id,
            "parent_id": which.parent_id,
            "principal": which.principal,
            "is_named": which.is_named,
            "statuses": encode(sorted(which.statuses)).decode() if which.statuses else None,
        }
        found = await self._readers.all(_list_statement(which), parameters)
        return [rows.run_of(row) for row in found]

    async def count_by_status(self) -> Mapping[RunStatus, int]:
        """Tell how many runs have each status; see `RunStore.count_by_status`."""
        counted = await self._readers.all("count_by_status")
        return {RunStatus(status): runs for status, runs in counted}


def _record(tx: Transaction, claim: Claim, form: forms.WritesForm, now: int) -> list[Row]:
    if tx.one("fence", (claim.number, claim.epoch)) is None:
        raise Fenced(claim.run_id, claim.epoch)
    resolved = writes.apply(tx, claim, form, now=now)
    tx.steps.note(claim.run_id, claim.epoch, form.steps)
    return writes.load_waits(tx, resolved)


def _fast_values(claim: Claim, writes: Writes) -> tuple[list[Any] | None, int]:
    """Give the parameters for the fast lane and the number of steps, or None if it is too much."""
    values: list[Any] = []
    steps = 0
    for entry in writes.entries:
        body = entry.body
        if len(body) > limits.BLOB_BYTES_MIN or entry.kind is EntryKind.AT_END:
            return None, 0
        values += forms.entry_values(claim, entry, body)
        if entry.kind is EntryKind.STEP:
            steps += 1
    return values, steps


def _list_statement(which: RunFilter) -> str:
    """Choose the statement whose index leaves the least to look through."""
    if which.parent_id is not None:
        return "list_runs_of_parent"
    if which.session_id is not None:
        return "list_runs_of_session"
    if which.name is not None:
        return "list_runs_of_name"
    if which.workflow is not None:
        return "list_runs_of_workflow_and_statuses" if which.statuses else "list_runs_of_workflow"
    if which.statuses:
        return "list_runs_of_statuses"
    if which.is_named:
        return "list_named_runs"
    return "list_runs"


def _started(found: int | Row, form: forms.StartForm) -> Started:
    if isinstance(found, int):
        return Started(run=_new_run(found, form), is_new=True)
    return Started(run=rows.run_of(found), is_new=False)


def _new_run(number: int, form: forms.StartForm) -> Run:
    new = form.new
    created_at, available_at = form.columns["created_at"], form.columns["available_at"]
    return Run(
        number=number,
        id=new.id,
        name=new.name,
        workflow=new.workflow,
        version=new.version,
        kind=new.kind,
        status=RunStatus.PENDING,
        phase=Phase.FORWARD,
        input=decode(form.input),
        output=None,
        error=None,
        session_id=new.session_id,
        parent_id=None,
        forked_from=new.forked_from,
        queue=new.queue,
        priority=new.priority,
        attempt=1,
        max_attempts=new.max_attempts,
        epoch=0,
        owner=None,
        available_at=new.created_at if available_at == created_at else from_micros(available_at),
        deadline_at=new.deadline_at,
        seed=new.seed,
        idempotency_key=new.idempotency_key,
        correlation_id=new.correlation_id,
        principal=new.principal,
        tags=dict(new.tags),
        created_at=new.created_at,
        started_at=None,
        ended_at=None,
        ending=None,
        hold=None,
        crashes=0,
        provider=new.provider,
        progress=None,
        concurrency_key=new.concurrency_key,
        rerun_of=new.rerun_of,
        forked_at=new.forked_at,
        schedule=new.schedule,
        changed_at=new.created_at,
    )
