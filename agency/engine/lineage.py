"""The verbs for runs that have been worked on: retry, rerun, fork, and resume by the run's id.

Each can be tried first: the preview is made by the same transaction, which is then undone, so that
it refuses what the deed would refuse.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import timedelta
from typing import Any

from agency.core import ids, json
from agency.core.clock import Clock
from agency.core.limits import ATTEMPTS_MAX
from agency.core.records import dataclass
from agency.domain.lineage import EntryLine, ForkPlan, Kin, Outline, Retried
from agency.domain.run import ENDED, RETRYABLE, NewRun, Run, RunKind, RunStatus
from agency.engine.answers import choose, decide
from agency.engine.plans import (
    failed_compensations,
    find_point,
    newest_of,
    plan_fork,
    plan_retry,
    split,
)
from agency.engine.queues import Queues
from agency.engine.registry import Registry
from agency.engine.runs import Runs, StartRequest
from agency.errors import (
    Fault,
    ForkPointNotFound,
    InvalidInput,
    QueueFull,
    RunEnded,
    RunNotRetryable,
    RunNotSuspended,
    ShuttingDown,
    SnapshotNotFound,
)
from agency.ports.store import RunDetail, Store

log = logging.getLogger(__name__)

RETRIES_SHOWN_MAX = 100
"""Retries of one run that are shown: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a verb would do, or has done.

    Attributes:
        run: Of a preview the run that was asked about; else the run that goes on.
        stays: What is recorded and would not be done again.
        again: What is recorded and would be done again, if the code comes to it.
        waits: Keys of the waits that are open again or would be answered.
        is_new: False when an earlier request with the same idempotency key made the run.
    """

    run: Run
    stays: Sequence[EntryLine] = ()
    again: Sequence[EntryLine] = ()
    waits: Sequence[str] = ()
    is_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryWish:
    """How a run is retried; None leaves it as it was.

    Attributes:
        budgets: Of an agent's run what it may use in all from now on, by name; what is not named
            stays as it was. Without any a run that has used one up may use as much once more.
    """

    provider: str | None = None
    max_attempts: int | None = None
    principal: str = "local"
    budgets: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnewWish:
    """How a run is started again, from its start or from a point.

    Attributes:
        at: Of a fork the first entry that is not kept: its number or key, or the id of a snapshot;
            None keeps everything.
        input: Another input, if ``has_input``.
        request_hash: Hash of the whole request; wanted when ``idempotency_key`` is set.
    """

    at: int | str | None = None
    input: Any = None
    has_input: bool = False
    name: str | None = None
    provider: str | None = None
    max_attempts: int | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    correlation_id: str = ""
    principal: str = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A run and those that it belongs to; ``is_whole`` is False if there are more."""

    kin: Sequence[Kin]
    retries: Sequence[Retried] = field(default=())
    is_whole: bool = True


class Lineage:
    """Let runs go on, or begin again, where they have been before."""

    def __init__(
        self, *, store: Store, registry: Registry, clock: Clock, runs: Runs, queues: Queues
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._runs = runs
        self._queues = queues

    async def retry(self, run_id: str, wish: RetryWish, *, dry_run: bool = False) -> Preview:
        """Let an ended run go on from what has failed; of a dead letter this is its requeue.

        Only the failures that the run's own error names are done again. Attempts count anew, and a
        deadline is put off by the time that the run once had. One that has reached a limit goes on
        with more.

        Raises:
            RunNotFound, RunNotRetryable, RunChanged, RunHasParent, NameTaken, SessionBusy,
            WorkflowNotFound, InvalidInput, ShuttingDown, StoreFull.
        """
        self._check_open()
        if wish.max_attempts is not None and not 1 <= wish.max_attempts <= ATTEMPTS_MAX:
            raise InvalidInput(f"A run has between 1 and {ATTEMPTS_MAX} attempts.")
        outline = await self._store.lineage.outline(run_id)
        run = outline.run
        if run.status not in RETRYABLE:
            raise RunNotRetryable(run_id, run.status)
        if run.status is RunStatus.COMPENSATION_FAILED:
            return await self._retry_compensation(outline, dry_run=dry_run)
        definition = self._registry.get(run.workflow)
        changed = run.input if wish.budgets is None else _with_budgets(run, wish.budgets)
        definition.input_codec.decode(json.encode(changed))
        plan = replace(plan_retry(outline), input=changed, has_input=wish.budgets is not None)
        now = self._clock.now()
        span = await self._span(run)
        deadline_at = None if span is None else now + span
        retried = await self._store.lineage.retry(
            run,
            plan,
            deadline_at=deadline_at,
            max_attempts=wish.max_attempts,
            provider=wish.provider,
            principal=wish.principal,
            now=now,
            dry_run=dry_run,
        )
        stays, again = split(outline, frozenset(plan.entries))
        if dry_run:
            return Preview(run=run, stays=stays, again=again, waits=plan.reopened)
        self._runs.expect(retried)
        self._runs.changed(run_id)
        log.info(
            "run retried",
            extra={
                "run_id": run_id,
                "workflow": run.workflow,
                "was": run.status.value,
                "generation": retried.generation,
            },
        )
        return Preview(run=retried, stays=stays, again=again, waits=plan.reopened)

    async def _retry_compensation(self, outline: Outline, *, dry_run: bool) -> Preview:
        """Let a saga take back what it could not: what was taken back stays so."""
        stays, again = split(outline, failed_compensations(outline))
        run = outline.run
        if not dry_run:
            run = (await self._runs.retry_compensation(run.id)).run
        return Preview(run=run, stays=stays, again=again, waits=())

    async def rerun(self, run_id: str, wish: AnewWish, *, dry_run: bool = False) -> Preview:
        """Start a new run of the workflow as it is now, with the same input or another.

        Of a session it gets a copy from before the run.

        Raises:
            RunNotFound, WorkflowNotFound, InvalidInput, NameTaken, IdempotencyMismatch, QueueFull,
            ShuttingDown, StoreFull.
        """
        self._check_open()
        outline = await self._store.lineage.outline(run_id)
        source = outline.run
        new = replace(await self._anew(source, wish), rerun_of=source.id)
        if wish.provider is not None:
            new = replace(new, provider=wish.provider)
        plan = ForkPlan(moment=source.created_at)
        return await self._begin(outline, new, plan, dry_run=dry_run)

    async def fork(self, run_id: str, wish: AnewWish, *, dry_run: bool = False) -> Preview:
        """Start a new run that has in common what this one had recorded before a point.

        It has the same seed, and idempotency keys of its own after the point. What was waited for
        at the point is waited for anew, and children that had not ended are started anew; the
        mailbox is not copied.

        Raises:
            RunNotFound, ForkPointNotFound, WorkflowNotFound, InvalidInput, NameTaken, RunChanged,
            IdempotencyMismatch, QueueFull, ShuttingDown, StoreFull.
        """
        self._check_open()
        outline = await self._store.lineage.outline(run_id)
        source = outline.run
        plan = await self._plan_fork(outline, wish.at)
        dropped = frozenset(plan.dropped)
        shared = [
            entry.number
            for entry in outline.entries
            if entry.number <= plan.at and entry.number not in dropped
        ]
        new = replace(
            await self._anew(source, wish),
            forked_from=source.id,
            forked_at=max(shared, default=0),
            seed=source.seed,
            provider=wish.provider or source.provider,
        )
        return await self._begin(outline, new, plan, dry_run=dry_run)

    async def _plan_fork(self, outline: Outline, at: int | str | None) -> ForkPlan:
        if at is None:
            return plan_fork(outline, newest_of(outline))
        run_id = outline.run.id
        if isinstance(at, str) and ids.is_id(at):
            try:
                snapshot = await self._store.snapshots.get(at.lower())
            except SnapshotNotFound:
                raise ForkPointNotFound(run_id, at) from None
            if snapshot.run_id != run_id:
                raise ForkPointNotFound(run_id, at)
            open_keys = frozenset(wait.key for wait in snapshot.waits)
            return plan_fork(outline, snapshot.entry_number, open_keys=open_keys)
        newest = find_point(outline, at)
        if newest is None:
            raise ForkPointNotFound(run_id, at)
        return plan_fork(outline, newest)

    async def _span(self, run: Run) -> timedelta | None:
        """Tell how much time a run had until its deadline, counted from its newest retry."""
        if run.deadline_at is None:
            return None
        retries = await self._store.lineage.retries(run.id, limit=1)
        span = run.deadline_at - (retries[-1].at if retries else run.created_at)
        # Of one that was brought in after its deadline there is nothing to be had again.
        return span if span > timedelta(0) else None

    async def _anew(self, source: Run, wish: AnewWish) -> NewRun:
        """Make the run that begins again, with all that does not depend on where it begins."""
        span = await self._span(source)
        return self._runs.prepare(
            StartRequest(
                workflow=source.workflow,
                input=wish.input if wish.has_input else source.input,
                name=wish.name,
                session_id=ids.new_id() if source.session_id is not None else None,
                idempotency_key=wish.idempotency_key,
                request_hash=wish.request_hash,
                correlation_id=wish.correlation_id,
                principal=wish.principal,
                tags=source.tags,
                priority=source.priority,
                timeout_s=None if span is None else span.total_seconds(),
                queue=source.queue,
                concurrency_key=source.concurrency_key,
                max_attempts=wish.max_attempts or source.max_attempts,
            )
        )

    async def _begin(
        self, outline: Outline, new: NewRun, plan: ForkPlan, *, dry_run: bool
    ) -> Preview:
        try:
            run, is_new = await self._store.lineage.fork(new, outline.run, plan, dry_run=dry_run)
        except QueueFull as full:
            raise self._queues.explain_full(full) from None
        stays, again = split(outline, frozenset(plan.dropped), plan.at)
        if dry_run:
            return Preview(run=outline.run, stays=stays, again=again)
        if is_new:
            self._runs.expect(run)
            log.info(
                "run begun again",
                extra={
                    "run_id": run.id,
                    "workflow": run.workflow,
                    "rerun_of": run.rerun_of,
                    "forked_from": run.forked_from,
                },
            )
        return Preview(run=run, stays=stays, again=again, is_new=is_new)

    async def resume(
        self,
        run_id: str,
        *,
        wait: str | None = None,
        input: Any = None,  # noqa: ANN401  the word of the API; JSON value
        has_input: bool = False,
        principal: str = "local",
        dry_run: bool = False,
    ) -> Preview:
        """Answer what a suspended run waits for, as resuming its newest snapshot does.

        A run that has reached a limit is retried: the answer may be ``{"budgets": …}``.

        Raises:
            RunNotFound, RunEnded, RunNotSuspended, SnapshotSpent, WaitNotFound, WaitAmbiguous,
            AnswerNeeded, WaitNotAnswerable, WaitTaken, InvalidInput.
        """
        detail = await self._runs.get(run_id)
        snapshot_id = detail.snapshot_id
        if snapshot_id is None:
            if detail.run.status is RunStatus.LIMIT_REACHED:
                given = RetryWish(principal=principal, budgets=_budgets_in(input))
                return await self.retry(run_id, given, dry_run=dry_run)
            if detail.run.status in ENDED:
                raise RunEnded(run_id, detail.run.status)
            raise RunNotSuspended(run_id, detail.run.status)
        if dry_run:
            return await self._preview_resume(detail, snapshot_id, wait, input, has_input=has_input)
        await self._runs.resume(
            snapshot_id, wait=wait, input=input, has_input=has_input, principal=principal
        )
        return Preview(run=(await self._runs.get(run_id)).run)

    async def _preview_resume(
        self,
        detail: RunDetail,
        snapshot_id: str,
        wait: str | None,
        value: Any,  # noqa: ANN401  JSON value
        *,
        has_input: bool,
    ) -> Preview:
        chosen = choose(await self._runs.snapshot(snapshot_id), wait)
        decide(detail.run.id, chosen, value, has_value=has_input)
        outline = await self._store.lineage.outline(detail.run.id)
        stays, _ = split(outline, frozenset())
        return Preview(run=detail.run, stays=stays, waits=[chosen.key])

    async def family(self, run_id: str, *, limit: int) -> Family:
        """Read what a run comes from and what has come from it, and its newest retries.

        Raises:
            RunNotFound: there is none.
        """
        kin, has_more = await self._store.lineage.kin(run_id, limit=limit)
        retries = await self._store.lineage.retries(run_id, limit=RETRIES_SHOWN_MAX)
        return Family(kin=kin, retries=retries, is_whole=not has_more)

    def changed(self, run_id: str) -> None:
        """Tell whoever watches a run that its status is another."""
        self._runs.changed(run_id)

    def _check_open(self) -> None:
        if self._runs.is_closed:
            raise ShuttingDown


def _with_budgets(run: Run, budgets: Mapping[str, float]) -> Any:  # noqa: ANN401  JSON value
    """Put other budgets into the input of an agent's run.

    Raises:
        InvalidInput: the run is not an agent's.
    """
    if run.kind is not RunKind.AGENT or not isinstance(run.input, dict):
        what = f"The run {run.id} is of kind {run.kind}, which has no budgets."
        raise InvalidInput(what, faults=[Fault("/budgets", what)])
    return {**run.input, "budgets": {**(run.input.get("budgets") or {}), **budgets}}


def _budgets_in(answer: Any) -> Mapping[str, float] | None:  # noqa: ANN401  JSON value
    """Find budgets in what a run that has reached a limit is resumed with.

    Raises:
        InvalidInput: it is something else.
    """
    if answer is None:
        return None
    found = answer.get("budgets") if isinstance(answer, dict) and len(answer) == 1 else None
    if not isinstance(found, dict):
        what = 'A run that has reached a limit takes {"budgets": {"turns": 20}}, or nothing.'
        raise InvalidInput(what, faults=[Fault("/input", what)])
    return found
