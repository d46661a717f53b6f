"""The verbs: what every door calls, and nothing that one door has and another lacks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Never, TypeVar

from agency.core import ids, json
from agency.core.clock import Clock
from agency.core.limits import ATTEMPTS_MAX, PRIORITY_MAX, VALUE_BYTES_MAX
from agency.core.records import dataclass
from agency.domain.entry import Entry
from agency.domain.run import ENDED, LIVE, NewRun, Run, RunError, RunKind, RunStatus
from agency.domain.snapshot import Snapshot
from agency.domain.task import NewTask
from agency.domain.wait import Wait, WaitKind, WaitOutcome
from agency.engine.answers import check_value, checked, choose, decide
from agency.engine.definition import Definition
from agency.engine.queues import Queues
from agency.engine.registry import Registry
from agency.engine.retry import NO_RETRY
from agency.engine.timers import Timer
from agency.engine.worker import Worker
from agency.errors import (
    AgencyError,
    InvalidInput,
    QueueFull,
    RunEnded,
    RunNotFound,
    SessionBusy,
    ShuttingDown,
    SnapshotSpent,
    StoreFull,
    ValueTooLarge,
)
from agency.ports.store import (
    Ending,
    RunDetail,
    RunFilter,
    SnapshotFilter,
    Started,
    Store,
    Wake,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

_FULL_PAUSE_S = 1.0
_LOST = "its branch has lost to another"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """A request for work, as a door has checked its shape.

    Attributes:
        workflow: Name of a registered workflow.
        input: JSON value; checked against the workflow's input type.
        request_hash: Hash of the whole request; wanted when ``idempotency_key`` is set.
        available_at: It is not begun before.
        delay_s: The same, counted from now; 0 or more.
        timeout_s: The run is timed out this long after its start, queueing included.
        queue: Where it waits; by default the workflow's queue.
        concurrency_key: Of the live runs with the same key one at a time is worked on.
        max_attempts: Tries of the whole run; by default the workflow's.
        attempts_default: Tries if nothing else is said, neither here nor by the workflow.
        task: It is started as a task of A2A, with the message that asks for it.
    """

    workflow: str
    input: Any
    name: str | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    correlation_id: str = ""
    principal: str = "local"
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    available_at: datetime | None = None
    delay_s: float | None = None
    timeout_s: float | None = None
    queue: str | None = None
    concurrency_key: str | None = None
    max_attempts: int | None = None
    attempts_default: int = 1
    task: NewTask | None = None

    def asked_for(
        self,
        *,
        idempotency_key: str | None,
        request_hash: str | None,
        correlation_id: str,
        principal: str,
    ) -> StartRequest:
        """Say on whose behalf, and by which request; a third of the time of ``replace``."""
        return StartRequest(
            workflow=self.workflow,
            input=self.input,
            name=self.name,
            session_id=self.session_id,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            correlation_id=correlation_id,
            principal=principal,
            tags=self.tags,
            priority=self.priority,
            available_at=self.available_at,
            delay_s=self.delay_s,
            timeout_s=self.timeout_s,
            queue=self.queue,
            concurrency_key=self.concurrency_key,
            max_attempts=self.max_attempts,
            attempts_default=self.attempts_default,
            task=self.task,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """What became of a request for work.

    Attributes:
        is_new: False when an earlier request with the same idempotency key made the run.
        answered: The session's live run waited for input and has taken the message; ``run`` is
            that run.
    """

    run: Run
    is_new: bool
    answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionInfo:
    """A registered workflow, for people and programs."""

    name: str
    kind: str
    version: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    source: str
    is_enabled: bool
    is_built_in: bool = False
    takes_input: bool = True


class Runs:
    """Start, watch and steer runs. All methods raise the errors of ``agency.errors``."""

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        clock: Clock,
        worker: Worker,
        timer: Timer,
        queues: Queues,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._worker = worker
        self._timer = timer
        self._queues = queues
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._awaited: dict[str, set[asyncio.Event]] = {}
        self.is_closed = False

    async def start(self, request: StartRequest) -> StartedRun:
        """Accept work; when this returns it is durable.

        Raises:
            WorkflowNotFound, WorkflowDisabled, InvalidInput, NameTaken, IdempotencyMismatch,
            SessionBusy, QueueNotFound, QueueFull, ShuttingDown, StoreFull, MessageIdTaken.
        """
        if self.is_closed:
            raise ShuttingDown
        new = self.prepare(request)
        try:
            started = await self._store.runs.start(new)
        except SessionBusy as busy:
            if request.task is not None:
                raise  # a message to a task is stored with what it answers
            return await self._answer_session(busy, request)
        except QueueFull as full:
            raise self._queues.explain_full(full) from None
        run = started.run
        if started.is_new:
            self.expect(run)
            log.info("run accepted", extra={"run_id": run.id, "workflow": run.workflow})
        return StartedRun(run=run, is_new=started.is_new)

    async def start_many(
        self, requests: Sequence[StartRequest]
    ) -> Sequence[StartedRun | AgencyError]:
        """Accept work in one commit, in this order; when this returns it is durable.

        Each request stands for itself: one that is refused touches no other.

        Returns:
            For each of them what `start` would return or raise.

        Raises:
            ShuttingDown, StoreFull: nothing was accepted.
        """
        if self.is_closed:
            raise ShuttingDown
        prepared = [self._prepared(request) for request in requests]
        stored = iter(
            await self._store.runs.start_many([one for one in prepared if isinstance(one, NewRun)])
        )
        outcomes: list[StartedRun | AgencyError] = []
        accepted = 0
        for request, new in zip(requests, prepared, strict=True):
            outcome = next(stored) if isinstance(new, NewRun) else new
            if isinstance(outcome, Started):
                if outcome.is_new:
                    self.expect(outcome.run)
                    accepted += 1
                outcomes.append(StartedRun(run=outcome.run, is_new=outcome.is_new))
            elif isinstance(outcome, SessionBusy):
                outcomes.append(await self._answered(outcome, request))
            elif isinstance(outcome, QueueFull):
                outcomes.append(self._queues.explain_full(outcome))
            else:
                outcomes.append(outcome)
        log.info("runs accepted", extra={"runs": accepted, "requests": len(requests)})
        return outcomes

    def _prepared(self, request: StartRequest) -> NewRun | AgencyError:
        try:
            return self.prepare(request)
        except AgencyError as error:
            return error
        except json.NotJson as error:
            return InvalidInput(f"The input is not JSON: {error}.")

    async def _answered(self, busy: SessionBusy, request: StartRequest) -> StartedRun | AgencyError:
        try:
            return await self._answer_session(busy, request)
        except AgencyError as error:
            return error

    def prepare(self, request: StartRequest) -> NewRun:
        """Check a request, and make the run that it asks for; nothing is stored.

        Raises:
            WorkflowNotFound, WorkflowDisabled, QueueNotFound, InvalidInput, ValueTooLarge.
        """
        definition = self._registry.get_enabled(request.workflow)
        queue = self._queues.choose(request.queue, definition)
        max_attempts = request.max_attempts or _attempts_of(definition, request)
        if abs(request.priority) > PRIORITY_MAX or not 1 <= max_attempts <= ATTEMPTS_MAX:
            raise InvalidInput(
                f"The priority {request.priority} or the number of attempts {max_attempts} is out "
                f"of bounds: priorities lie between ±{PRIORITY_MAX}, attempts between 1 and "
                f"{ATTEMPTS_MAX}."
            )
        body = json.encode(request.input)
        if len(body) > VALUE_BYTES_MAX:
            raise ValueTooLarge("The input", len(body), VALUE_BYTES_MAX)
        if definition.takes_input:
            definition.input_codec.decode(body)
        elif request.input not in (None, {}):
            raise InvalidInput(f"The workflow {definition.name!r} takes no input.")
        now = self._clock.now()
        timeout_s = request.timeout_s if request.timeout_s is not None else definition.timeout_s
        return NewRun(
            id=ids.new_id(),
            workflow=definition.name,
            version=definition.version,
            kind=definition.kind,
            input=request.input,
            created_at=now,
            available_at=_moment_of(request, now),
            seed=int.from_bytes(os.urandom(8)) >> 11,  # what every JSON reader keeps exactly
            name=request.name,
            session_id=request.session_id or _own_session(definition),
            queue=queue,
            priority=request.priority,
            concurrency_key=request.concurrency_key,
            max_attempts=max_attempts,
            deadline_at=now + timedelta(seconds=timeout_s) if timeout_s is not None else None,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            correlation_id=request.correlation_id,
            principal=request.principal,
            tags=request.tags,
            provider=definition.provider() if definition.provider is not None else None,
            task=request.task,
        )

    def expect(self, run: Run) -> None:
        """Take note of a run that was stored: it is to be claimed when its moment comes."""
        if run.available_at > self._clock.now():
            self._timer.expect(run.available_at)
        if run.deadline_at is not None:
            self._timer.expect(run.deadline_at)
        self._worker.nudge()

    async def _answer_session(self, busy: SessionBusy, request: StartRequest) -> StartedRun:
        """A message to a session whose live run waits for input is the answer to it."""
        detail = await self._store.runs.get(busy.run_id)
        inputs = [wait for wait in detail.waits if wait.kind is WaitKind.INPUT]
        if len(inputs) != 1 or len(detail.waits) != 1:
            raise busy
        message = request.input.get("message") if isinstance(request.input, dict) else None
        value = message if message is not None else request.input
        await checked(value, partial(check_value, inputs[0], value))
        wakes = await self._store.mail.answer(
            busy.run_id,
            wait=inputs[0].key,
            outcome=WaitOutcome.ANSWERED,
            payload=value,
            snapshot_id=detail.snapshot_id,
            now=self._clock.now(),
            by=request.principal,
        )
        self.woken(busy.run_id, wakes)
        detail = await self._store.runs.get(busy.run_id)
        return StartedRun(run=detail.run, is_new=False, answered=True)

    async def get(self, run_id: str) -> RunDetail:
        """Read one run. Raises: RunNotFound."""
        return await self._store.runs.get(run_id)

    async def get_named(self, name: str) -> RunDetail:
        """Read the live run of that name, else the newest ended. Raises: RunNotFound."""
        detail = await self._store.runs.find_named(name)
        if detail is None:
            raise RunNotFound(name)
        return detail

    async def list(self, which: RunFilter, *, before: int | None, limit: int) -> Sequence[Run]:
        """Read runs, newest first."""
        return await self._store.runs.list(which, before=before, limit=limit)

    async def wait(self, run_id: str, *, timeout_s: float) -> RunDetail:
        """Wait until the run has ended or is suspended, ``timeout_s`` at most; then read it.

        Woken by notification. A run that is suspended only because its model server is away,
        or on a timer or child that goes on by itself, is waited for further.

        Raises:
            RunNotFound: there is none.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        with _watching(self._awaited, run_id) as changed:
            while True:
                changed.clear()
                detail = await self._store.runs.get(run_id)
                remaining = until - loop.time()
                if _is_settled(detail) or remaining <= 0:
                    return detail
                await _until(changed, remaining)

    async def until(
        self,
        run_id: str,
        read: Callable[[], Awaitable[T]],
        is_enough: Callable[[T], bool],
        *,
        timeout_s: float,
        is_fresh: bool = False,
        sees_steps: bool = False,
    ) -> T:
        """Read what somebody makes of a run until it is enough, ``timeout_s`` at most.

        Args:
            read: Reads it as it is.
            is_enough: Tells whether it is what is waited for.
            is_fresh: The run was started by `start` and nothing was awaited since: it is not read
                before something has changed.
            sees_steps: Read also when the run has recorded something and goes on.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        with _watching(self._watched if sees_steps else self._awaited, run_id) as changed:
            if is_fresh:
                await _until(changed, timeout_s)
            while True:
                changed.clear()
                found = await read()
                remaining = until - loop.time()
                if remaining <= 0 or is_enough(found):
                    return found
                await _until(changed, remaining)

    async def watch(self, run_id: str, *, timeout_s: float) -> None:
        """Wait until anything of the run is committed, ``timeout_s`` at most.

        For watchers that have read the run before: read, compare, watch, read again.
        """
        with _watching(self._watched, run_id) as changed:
            await _until(changed, timeout_s)

    def changed(self, run_id: str) -> None:
        """Tell whoever watches or waits for a run that its status may be another."""
        _tell(self._awaited, run_id)
        _tell(self._watched, run_id)

    def recorded(self, run_id: str) -> None:
        """Tell whoever watches a run that it has recorded something and goes on.

        Whoever waits for its end is not woken: each would read the run again for every step.
        """
        _tell(self._watched, run_id)

    async def entries(self, run_id: str, *, after: int, limit: int) -> Sequence[Entry]:
        """Read a page of the run's journal, oldest first. Raises: RunNotFound."""
        return await self._store.journal.entries(run_id, after=after, limit=limit)

    async def cancel(self, run_id: str, *, reason: str = "") -> RunDetail:
        """Cancel the run and its descendants; work in flight is really stopped.

        Returns when the end is recorded as wanted; the run's status says whether it has ended.

        Raises:
            RunNotFound, RunEnded.
        """
        await self._end(
            run_id,
            RunStatus.CANCELLED,
            _cancelled(reason),
        )
        return await self._store.runs.get(run_id)

    async def cancel_if_live(self, run_id: str) -> None:
        """Cancel a run that is not wanted any more; nothing happens if it has ended.

        While the disk has no room it waits.
        """
        while True:
            try:
                await self._end(run_id, RunStatus.CANCELLED, _cancelled(_LOST))
            except (RunEnded, RunNotFound):
                log.debug("run has ended already", extra={"run_id": run_id})
            except StoreFull:
                await asyncio.sleep(_FULL_PAUSE_S)
                continue
            return

    async def time_out(self, run_id: str) -> None:
        """End a run that is past its deadline; nothing happens if it has ended meanwhile."""
        try:
            await self._end(
                run_id,
                RunStatus.TIMED_OUT,
                RunError(code="timed_out", message="The run has reached its deadline."),
            )
        except RunEnded:
            log.debug("run ended before its deadline", extra={"run_id": run_id})

    async def retry_compensation(self, run_id: str) -> RunDetail:
        """Let a saga try once more to take back what it could not.

        Raises:
            RunNotFound, CompensationNotFailed, NameTaken, ShuttingDown.
        """
        if self.is_closed:
            raise ShuttingDown
        wake = await self._store.sagas.retry_compensation(run_id, now=self._clock.now())
        self.woken(run_id, [wake])
        return await self._store.runs.get(run_id)

    async def _end(self, run_id: str, status: RunStatus, error: RunError) -> None:
        ending = await self._store.runs.end(
            run_id, status=status, error=error, now=self._clock.now()
        )
        self.ended(ending, status, error)

    def ended(self, ending: Ending, status: RunStatus, error: RunError) -> None:
        """Tell whoever works on runs or watches them that the store has ended them, or will."""
        for ended in ending.ended:
            self._worker.forget(ended)
            self.changed(ended)
        for asked in ending.asked:
            execution = self._worker.find(asked)
            if execution is not None:
                execution.end(status, error)
            self.changed(asked)
        self._worker.wake(ending.wakes)

    async def suspend(self, run_id: str, *, reason: str, wait_s: float) -> Snapshot | None:
        """Hold the run until it is resumed; None when its safe point is not reached in ``wait_s``.

        Raises:
            RunNotFound, RunEnded.
        """
        with _watching(self._watched, run_id) as changed:
            snapshot, _ = await self._store.runs.hold(
                run_id, reason=reason, snapshot_id=ids.new_id(), now=self._clock.now()
            )
            if snapshot is not None:
                self._worker.forget(run_id)
                self.changed(run_id)
                return snapshot
            execution = self._worker.find(run_id)
            if execution is not None:
                execution.hold()
            loop = asyncio.get_running_loop()
            until = loop.time() + wait_s
            while True:
                changed.clear()
                detail = await self._store.runs.get(run_id)
                if detail.snapshot_id is not None and detail.run.hold is not None:
                    return await self._store.snapshots.get(detail.snapshot_id)
                remaining = until - loop.time()
                if remaining <= 0 or detail.run.status in ENDED:
                    return None
                await _until(changed, remaining)

    async def resume(
        self,
        snapshot_id: str,
        *,
        wait: str | None = None,
        input: Any = None,  # noqa: ANN401  the word of the API; JSON value
        has_input: bool = False,
        principal: str = "local",
    ) -> str:
        """Answer a wait of a suspended run (design section 5), and return the run's id.

        Raises:
            SnapshotNotFound, SnapshotSpent, RunEnded, WaitNotFound, WaitAmbiguous, AnswerNeeded,
            WaitNotAnswerable, WaitTaken, InvalidInput (input does not fit the wait's schema).
        """
        snapshot = await self._store.snapshots.get(snapshot_id)
        if snapshot.spent:
            await self._refuse_spent(snapshot)
        chosen = choose(snapshot, wait)
        judge = partial(decide, snapshot.run_id, chosen, input, has_value=has_input)
        answer = await checked(input, judge)
        wakes = await self._store.mail.answer(
            snapshot.run_id,
            wait=chosen.key,
            outcome=answer.outcome,
            payload=answer.payload,
            snapshot_id=snapshot_id,
            now=self._clock.now(),
            by=principal,
        )
        self.woken(snapshot.run_id, wakes)
        return snapshot.run_id

    async def _refuse_spent(self, snapshot: Snapshot) -> Never:
        detail = await self._store.runs.get(snapshot.run_id)
        if detail.run.status in ENDED:
            raise RunEnded(snapshot.run_id, detail.run.status)
        raise SnapshotSpent(snapshot.id, snapshot.run_id, detail.snapshot_id)

    async def send(
        self,
        run_id: str,
        *,
        name: str,
        payload: Any,  # noqa: ANN401  JSON value
        event_id: str | None = None,
    ) -> str:
        """Send an event to a run, and return the event's id. The same id twice counts once.

        Raises:
            RunNotFound, RunEnded.
        """
        delivery = await self._store.mail.deliver(
            run_id,
            event_id=event_id or ids.new_id(),
            name=name,
            payload=payload,
            now=self._clock.now(),
        )
        self.woken(run_id, delivery.wakes)
        return delivery.event_id

    def woken(self, run_id: str, wakes: Sequence[Wake]) -> None:
        """Hand on what was woken of a run, and tell whoever watches it."""
        self._worker.wake(wakes)
        self.changed(run_id)

    async def snapshot(self, snapshot_id: str) -> Snapshot:
        """Read one snapshot. Raises: SnapshotNotFound."""
        return await self._store.snapshots.get(snapshot_id)

    async def snapshots(
        self, which: SnapshotFilter, *, before: str | None, limit: int
    ) -> Sequence[Snapshot]:
        """Read snapshots, newest first."""
        return await self._store.snapshots.list(which, before=before, limit=limit)

    async def delete_snapshot(self, snapshot_id: str, *, cancel: bool) -> None:
        """Delete a snapshot; with ``cancel`` its live run is cancelled first.

        Raises:
            SnapshotNotFound, SnapshotLive.
        """
        if cancel:
            snapshot = await self._store.snapshots.get(snapshot_id)
            if not snapshot.spent and RunStatus(snapshot.run_status) in LIVE:
                try:
                    await self.cancel(snapshot.run_id, reason="its snapshot was deleted")
                except RunEnded:
                    log.debug("run ended meanwhile", extra={"run_id": snapshot.run_id})
        await self._store.snapshots.delete(snapshot_id)

    def listen_definitions(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` whenever other workflows are there; gives what ends it."""
        return self._registry.listen(changed)

    def definitions(self) -> Sequence[DefinitionInfo]:
        """List the registered workflows by name."""
        return [self._told_of(definition) for definition in self._registry]

    @property
    def definitions_count(self) -> int:
        """How many workflows are registered; to list them makes the schemas of all."""
        return len(self._registry)

    def find_definition(self, name: str) -> DefinitionInfo | None:
        """Find one of them, without a look at the others."""
        definition = self._registry.find(name)
        return None if definition is None else self._told_of(definition)

    def _told_of(self, definition: Definition) -> DefinitionInfo:
        return DefinitionInfo(
            name=definition.name,
            kind=definition.kind,
            version=definition.version,
            description=definition.description,
            input_schema=definition.input_codec.schema() if definition.takes_input else {},
            output_schema=definition.output_codec.schema(),
            source=definition.source,
            is_enabled=self._registry.is_enabled(definition.name),
            is_built_in=not definition.source and not definition.is_stored,
            takes_input=definition.takes_input,
        )


def _cancelled(reason: str) -> RunError:
    return RunError(code="cancelled", message=f"Cancelled: {reason}" if reason else "Cancelled.")


@contextmanager
def _watching(watched: dict[str, set[asyncio.Event]], run_id: str) -> Iterator[asyncio.Event]:
    changed = asyncio.Event()
    watchers = watched.setdefault(run_id, set())
    watchers.add(changed)
    try:
        yield changed
    finally:
        watchers.discard(changed)
        if not watchers:
            watched.pop(run_id, None)


def _tell(watched: Mapping[str, set[asyncio.Event]], run_id: str) -> None:
    watchers = watched.get(run_id)
    if watchers:
        for watcher in watchers:
            watcher.set()


def _attempts_of(definition: Definition, request: StartRequest) -> int:
    attempts = definition.retry.attempts
    return request.attempts_default if definition.retry == NO_RETRY else attempts


def _moment_of(request: StartRequest, now: datetime) -> datetime:
    if request.delay_s is not None:
        return now + timedelta(seconds=request.delay_s)
    return request.available_at or now


def _own_session(definition: Definition) -> str | None:
    """An agent's run always belongs to a conversation; without one it begins a new one."""
    return ids.new_id() if definition.kind is RunKind.AGENT else None


_GOES_ON = frozenset({WaitKind.RESOURCE, WaitKind.TIMER, WaitKind.CHILD})


def _is_settled(detail: RunDetail) -> bool:
    return is_settled(detail.run, detail.waits)


def is_settled(run: Run, waits: Sequence[Wait]) -> bool:
    """Tell whether nothing more happens by itself: the run has ended, or waits for somebody.

    Args:
        run: The run.
        waits: Its open waits.
    """
    if run.status in ENDED:
        return True
    if run.status is not RunStatus.SUSPENDED:
        return False
    return not any(wait.kind in _GOES_ON for wait in waits) or run.hold is not None


async def _until(changed: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await changed.wait()
    except TimeoutError:
        return
