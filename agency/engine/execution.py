"""One claimed run in memory: from its claim until it has ended or left.

An author's coroutine runs in a task, each of its branches in another. The execution counts how
many of them are *active*, that is, neither blocked on a wait nor joining others. When none is,
nothing of the run is in flight, and one transaction suspends it, unless one of its waits has been
resolved in the meantime. The coroutine may then linger: if the run is claimed again soon, it goes
on where it is; otherwise it is dropped, and the next claim replays the journal.

Invariants:
- `active` is raised in the same moment in which a blocked branch's future is resolved, never later.
- Nothing is handed to an author's code before it is durable, but `now`, which rides with the next
  commit (if that commit is lost, so is all that was done with the moment).
- After the claim is over every call of the context raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from agency.core import ids, json
from agency.core.backoff import delay_s
from agency.domain.entry import Entry
from agency.domain.message import NewMessage
from agency.domain.run import NewRun, Run, RunError, RunStatus
from agency.domain.wait import NewWait, Wait, WaitKind, WaitOutcome
from agency.engine import foreign
from agency.engine.branch import CURRENT_BRANCH, END_PATH, Branch
from agency.engine.failure import failed_steps, run_error
from agency.engine.journal import JournalView
from agency.engine.ledger import Ledger
from agency.engine.parts import Parts
from agency.engine.suspension import (
    ContinuedAs,
    Control,
    Dropped,
    LimitReached,
    Mismatch,
    RunEnding,
)
from agency.engine.verdict import TryAgain, Verdict, judge
from agency.errors import (
    Fenced,
    ForeignTask,
    InvalidInput,
    JournalFull,
    StepNameTaken,
    StoreFull,
)
from agency.ports.store import Claim, Writes

if TYPE_CHECKING:
    from agency.engine.definition import Definition

log = logging.getLogger(__name__)
T = TypeVar("T")

STORE_FULL_PAUSE_S = 1.0
"""Pause before a commit is tried again that found no room on the disk."""
PROGRESS_FLUSH_S = 0.5
"""Progress is committed by itself after this, if it cannot ride with another commit."""
WAIT_FLUSH_S = 0.02
"""The same for a wait that was reached while another branch is busy."""
STUBBORN_S = 5.0
"""How long dropped code may take to leave before it is reported."""


class Left(Enum):
    """How a run left its execution."""

    ENDED = "ended"
    SUSPENDED = "suspended"
    RELEASED = "released"
    LOST = "lost"


class Execution:
    """A claimed run with its coroutine."""

    def __init__(self, parts: Parts, run: Run, definition: Definition | None) -> None:
        self.parts = parts
        self.run = run
        self.claim = Claim(run.number, run.id, run.epoch)
        self.journal = JournalView(None)
        self.is_lenient = definition is not None and definition.is_interpreter
        self.ending: RunEnding | None = (
            RunEnding(RunStatus(run.ending)) if run.ending is not None else None
        )
        self.ending_error: RunError | None = run.error
        self.active = 0
        self.doubts: dict[str, str] = {}
        self.at_end: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = []
        self.left_reason = ""
        self._definition = definition
        self._blocked: dict[str, asyncio.Future[Wait]] = {}
        self._gates: list[asyncio.Future[None]] = []
        self._control: Control | None = None
        self._is_held = False
        self._is_draining = False
        self._is_lost = False
        self._is_abandoned = False
        self._is_reclaimed = False
        self._refresh_wanted = False
        self._signal = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._verdict: Verdict | None = None
        self._warned = False
        self._flush: asyncio.TimerHandle | None = None
        self._ledger = Ledger()

    # --- the life of an execution ---------------------------------------------------------

    async def work(self) -> Left:
        """Work until the run has ended, is suspended, was put back, or the claim is over.

        After SUSPENDED it may be called again, once `reclaim` has been.
        """
        if self._main is None:
            await self._load()
            self._begin("", self._author())
        elif self._is_reclaimed:
            self._is_reclaimed = False
            self._open_gates()
            await self._refresh()
            self._signal.set()
        while True:
            await self._signal.wait()
            self._signal.clear()
            if self._is_lost:
                await self.drop()
                return Left.LOST
            if self._is_abandoned:
                return await self._release()
            if self._refresh_wanted:
                self._refresh_wanted = False
                await self._refresh()
            if self._main is not None and self._main.done():
                left = await self._conclude()
            elif self.active == 0 and not self._signal.is_set():
                left = await self._leave()
            else:
                continue
            if left is not None:
                return left

    def reclaim(self, run: Run) -> None:
        """Take a lingering coroutine under a new claim; `work` goes on with it, without replay."""
        self.run = run
        self.claim = Claim(run.number, run.id, run.epoch)
        self.left_reason = ""
        self._is_held = False
        self._is_reclaimed = True
        if run.ending is not None:
            self.end(RunStatus(run.ending), run.error)

    async def drop(self) -> None:
        """Leave the author's code; its clean-up blocks run, its context calls raise."""
        if not isinstance(self._control, Dropped):
            self._control = Dropped()
        self._interrupt()
        await self._settle_tasks()

    def refresh(self) -> None:
        """Look for waits that were resolved by somebody else."""
        self._refresh_wanted = True
        self._signal.set()

    def hold(self) -> None:
        """Stop at the next safe point: an operator wants the run suspended."""
        self._is_held = True
        self._signal.set()

    def drain(self) -> None:
        """Let steps in flight finish, begin no new ones, and put the run back."""
        self._is_draining = True
        self._signal.set()

    def abandon(self) -> None:
        """Cut off what is in flight and put the run back: the grace is over."""
        self._is_abandoned = True
        self._signal.set()

    def end(self, status: RunStatus, error: RunError | None) -> None:
        """Stop the work in flight: the run is cancelled or past its deadline."""
        if self.ending is not None or self._verdict is not None:
            return
        self.ending = RunEnding(status)
        self.ending_error = error
        self._control = self.ending
        self._interrupt()
        self._signal.set()

    @property
    def definition(self) -> Definition:
        assert self._definition is not None, "a run whose workflow is not loaded runs no code"
        return self._definition

    @property
    def can_linger(self) -> bool:
        """The coroutine is still there and can go on."""
        return self._main is not None and not self._main.done() and not self._is_lost

    # --- what the context calls -----------------------------------------------------------

    def enter(self, operation: str, name: str) -> Branch:
        """Find the branch of the caller, and refuse calls that cannot be answered.

        Raises:
            ForeignTask: the caller's task is not a branch of this run, or is inside a step.
            StepNameTaken: the branch awaits an operation of that name already.
            Control: the run is leaving or ending.
        """
        branch = CURRENT_BRANCH.get()
        if branch is None or branch.task is not asyncio.current_task():
            raise ForeignTask(operation)
        self._raise_control(branch)
        if branch.in_flight is not None:
            if branch.in_flight == name:
                raise StepNameTaken(name)
            raise ForeignTask(f"{operation} inside {branch.in_flight!r}")
        return branch

    def meet(self, branch: Branch, key: str) -> Entry | None:
        """Find what is recorded for the next call of a branch; None at the frontier.

        Raises:
            Mismatch: the code asks for another thing than the journal has next.
        """
        if self.is_lenient or branch.is_end:
            return self.journal.find(key)
        try:
            return self.journal.meet(branch.path, key)
        except Mismatch as mismatch:
            self._control = self.ending or mismatch
            raise self._control from None

    async def safe_point(self, branch: Branch) -> None:
        """Pass when new work may begin: wait out a hold or drain, raise when the run is ending."""
        while True:
            self._raise_control(branch)
            if self.ending is not None and not branch.is_end:
                raise self.leave_by(self.ending)
            if not (self._is_held or self._is_draining):
                return
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._gates.append(gate)
            await self.inactive(gate)

    async def block(self, branch: Branch, key: str, *, is_decision: bool = False) -> Wait:
        """Block a branch until the wait of that key has its outcome, and return it.

        A decision is waited for even when the run's end was asked for: the end depends on it.
        """
        wait = self.journal.waits.get(key)
        if wait is not None and wait.outcome is not None:
            return wait
        if self.ending is not None and not branch.is_end and not is_decision:
            raise self.leave_by(self.ending)
        future: asyncio.Future[Wait] = asyncio.get_running_loop().create_future()
        self._blocked[key] = future
        if self.active > 1 and self._ledger.waits:
            # Another branch is busy, perhaps for long: what this one waits for must be findable.
            self._flush_within(WAIT_FLUSH_S)
        try:
            return await self.inactive(future)
        finally:
            self._blocked.pop(key, None)

    async def inactive(self, future: asyncio.Future[T]) -> T:
        """Await what does not go on by itself: whoever resolves it calls `activate` before.

        A branch that is cancelled meanwhile is active again, until its task ends.
        """
        self.deactivate()
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self.activate()
            raise

    def _raise_control(self, branch: Branch) -> None:
        """Raise what the author's code is being left by; the end's own branch is let through."""
        control = self._control
        if control is not None and (isinstance(control, Dropped) or not branch.is_end):
            raise control

    def leave_by(self, control: Control) -> Control:
        """Note how the author's code is left, in case that it swallows the exception."""
        self._control = control
        return control

    def deactivate(self) -> None:
        """One branch less goes on by itself."""
        self.active -= 1
        if self.active == 0:
            self._signal.set()

    def activate(self) -> None:
        self.active += 1

    def spawn(self, branch: Branch, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Start a branch in a task of its own; it is active from now on."""
        task = asyncio.get_running_loop().create_task(
            _in_branch(branch, work), name=f"{self.run.id}:{branch.path}"
        )
        branch.task = task
        self._track(task, branch.path)
        self.activate()
        return task

    def _track(self, task: asyncio.Task[Any], path: str) -> None:
        self._tasks[task] = path
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]

    def now(self) -> datetime:
        return self.parts.clock.now()

    # --- recording ------------------------------------------------------------------------

    def keep(
        self,
        *,
        entry: Entry | None = None,
        wait: NewWait | None = None,
        child: NewRun | None = None,
    ) -> None:
        """Keep something for the next commit."""
        self._ledger.add(entry=entry, wait=wait, child=child)
        if entry is not None:
            self.journal.add(entry)

    def set_progress(self, progress: Any) -> None:  # noqa: ANN401  JSON value
        """Keep progress for the next commit; if none comes soon, commit it by itself."""
        self._ledger.set_progress(progress)
        self._flush_within(PROGRESS_FLUSH_S)

    def cut_off(self, path: str) -> tuple[set[asyncio.Task[Any]], list[str]]:
        """Cancel everything below a branch that has lost.

        Returns:
            The tasks, to be waited for; and the keys of waits that the store knows of.
        """
        forgotten = self._ledger.forget(path)
        closed = [key for key in self._blocked if key.startswith(path) and key not in forgotten]
        tasks = {task for task, branch in self._tasks.items() if branch.startswith(path)}
        for task in tasks:
            task.cancel()
        return tasks, closed

    async def commit(
        self,
        *entries: Entry,
        messages: Sequence[NewMessage] = (),
        closed_waits: Sequence[str] = (),
    ) -> None:
        """Make entries durable, with everything that was kept for the next commit.

        When the disk is full it waits until there is room: the result is held in memory.

        Raises:
            JournalFull: the run has used up its entries.
            Dropped: the claim is over.
        """
        writes = self._take(entries, messages, closed_waits)
        self._count(len(writes.entries))
        is_full = False
        while True:
            try:
                resolved = await self.parts.store.runs.record(
                    self.claim, writes, now=self.parts.clock.now()
                )
                break
            except StoreFull:
                if not is_full:
                    log.warning("no room for a run's results", extra={"run_id": self.run.id})
                is_full = True
                await asyncio.sleep(STORE_FULL_PAUSE_S)
            except Fenced:
                self._lose()
                raise Dropped from None
        if writes.waits:
            self._announce(writes)
            self._remember(writes)
        for wait in resolved:
            self._resolve(wait)
        self.parts.recorded(self.run.id)

    def _take(
        self,
        entries: Sequence[Entry] = (),
        messages: Sequence[NewMessage] = (),
        closed_waits: Sequence[str] = (),
    ) -> Writes:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        return self._ledger.take(entries, messages=messages, closed_waits=closed_waits)

    def _count(self, added: int) -> None:
        entries_max = self.parts.settings.journal_entries_max
        self.journal.count += added
        if self.journal.count > entries_max:
            raise JournalFull(self.run.id, entries_max)
        if not self._warned and self.journal.count > entries_max * 0.8:
            self._warned = True
            log.warning(
                "journal nearly full",
                extra={"run_id": self.run.id, "entries": self.journal.count, "max": entries_max},
            )

    def _announce(self, writes: Writes) -> None:
        for wait in writes.waits:
            if wait.due_at is not None:
                self.parts.expect(wait.due_at)
            if wait.kind is WaitKind.RESOURCE:
                self.parts.expect_resource(wait.target)

    def _flush_within(self, delay_s: float) -> None:
        """Commit what is kept by itself, if nothing else of the run is committed before."""
        loop = asyncio.get_running_loop()
        if self._flush is not None:
            if self._flush.when() <= loop.time() + delay_s:
                return
            self._flush.cancel()
        self._flush = loop.call_later(delay_s, self._start_flush)

    def _start_flush(self) -> None:
        self._flush = None
        is_idle = self.active == 0  # then a suspension is under way, and takes it along
        if is_idle or self._control is not None or self._verdict is not None:
            return
        task = asyncio.get_running_loop().create_task(self._flush_ledger())
        self._track(task, "")

    async def _flush_ledger(self) -> None:
        try:
            await self.commit()
        except Dropped:
            log.debug("the claim is over", extra={"run_id": self.run.id})

    # --- inside ---------------------------------------------------------------------------

    def _begin(self, path: str, work: Awaitable[Any]) -> None:
        self._main = self.spawn(Branch(path), work)
        self._main.add_done_callback(self._main_done)

    def _main_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # looked at here; what it means is decided in `_conclude`
        if task is not self._main:
            return  # already concluded: the work for the end has begun
        self.active -= 1
        self._signal.set()

    async def _load(self) -> None:
        """Read the journal; the first claim finds nothing recorded, and the read is spared."""
        if self.run.epoch > 1:
            self.journal = JournalView(await self.parts.store.journal.load(self.run.number))
            self.is_lenient = self.is_lenient or _is_accepted(self.journal.waits)

    async def _author(self) -> foreign.Returned | foreign.Raised:
        from agency.engine.context import Context

        if self._definition is None:
            missing = Mismatch(branch="", recorded=self.run.workflow, asked="no such workflow")
            raise self.leave_by(self.ending or missing)
        context = Context(self)
        if not self.definition.takes_input:
            return await foreign.attempt(self.definition.run(context))
        try:
            value = self.definition.input_codec.decode(json.encode(self.run.input))
        except InvalidInput as error:
            return foreign.Raised(error)
        return await foreign.attempt(self.definition.run(context, value))

    async def _run_at_end(self) -> None:
        from agency.engine.context import Context
        from agency.engine.steps import StepCall

        context = Context(self)
        for position, (key, function, args) in reversed(list(enumerate(self.at_end))):
            name = f"{getattr(function, '__name__', 'at_end')}-{position + 1}"
            outcome = await foreign.attempt(
                context.perform(StepCall(name=name.strip("<>"), function=function, args=args))
            )
            if isinstance(outcome, foreign.Raised):
                log.error(
                    "work at a run's end failed",
                    extra={"run_id": self.run.id, "key": key, "error": str(outcome.error)},
                )

    async def _conclude(self) -> Left | None:
        """The main task is done: decide how the run ends, or that it does not."""
        main = self._main
        assert main is not None
        await self._settle_tasks()
        self.active = 0
        if self._verdict is not None:  # that was the work for the end
            if isinstance(self._control, Dropped):
                return Left.LOST
            return await self._finish(self._verdict)
        outcome = self._control or _outcome(main)
        if isinstance(outcome, Dropped):
            return Left.LOST
        if self._definition is None:
            return await self._conclude_missing(outcome)
        unanswered = await self._unanswered(outcome)
        if unanswered:
            return await self._suspend_for(*unanswered)
        assert isinstance(
            outcome, foreign.Returned | foreign.Raised | RunEnding | LimitReached | ContinuedAs
        )
        decided = judge(
            outcome,
            run=self.run,
            definition=self.definition,
            ending_error=self.ending_error,
            now=self.now(),
        )
        if isinstance(decided, TryAgain):
            return await self._retry_run(decided.error)
        self._verdict = decided
        if self.at_end:
            self._control = None
            self._begin(END_PATH, self._run_at_end())
            return None
        return await self._finish(decided)

    async def _conclude_missing(self, outcome: object) -> Left:
        if isinstance(outcome, RunEnding):
            return await self._finish(Verdict(status=outcome.status, error=self.ending_error))
        assert isinstance(outcome, Mismatch)
        return await self._suspend_for(self._version_wait(outcome))

    async def _unanswered(self, outcome: object) -> list[NewWait]:
        """What somebody has to decide before the run may end."""
        if isinstance(outcome, Mismatch):
            return [self._version_wait(outcome)]
        if isinstance(outcome, RunEnding):
            return await self._doubtful()
        if isinstance(outcome, foreign.Returned) and not self.is_lenient:
            recorded = self.journal.unmet()
            if recorded is not None:
                unmet = Mismatch(branch="", recorded=recorded, asked="the end")
                return [self._version_wait(unmet)]
        return []

    async def _retry_run(self, error: Exception) -> Left:
        policy = self.definition.retry
        delay = delay_s(
            self.run.attempt,
            base_s=policy.base_s,
            factor=policy.factor,
            cap_s=policy.cap_s,
            jitter=policy.jitter,
            source=self.parts.source,
        )
        available_at = self.now() + timedelta(seconds=delay)
        writes = replace(self._take(), superseded=tuple(failed_steps(error)))
        try:
            await self._until_room(
                lambda: self.parts.store.runs.release(
                    self.claim,
                    writes,
                    available_at=available_at,
                    failed=run_error(error),
                    now=self.now(),
                )
            )
        except Fenced:
            return Left.LOST
        self.parts.expect(available_at)
        self.parts.changed(self.run.id)
        log.warning(
            "run failed, will be tried again",
            extra={"run_id": self.run.id, "attempt": self.run.attempt, "delay_s": round(delay, 3)},
        )
        return Left.RELEASED

    async def _finish(self, verdict: Verdict) -> Left:
        writes = self._take()
        try:
            wakes = await self._until_room(
                lambda: self.parts.store.runs.finish(
                    self.claim,
                    writes,
                    status=verdict.status,
                    output=verdict.output,
                    error=verdict.error,
                    successor=verdict.successor,
                    now=self.now(),
                )
            )
        except Fenced:
            return Left.LOST
        self.left_reason = verdict.status.value
        self.parts.wake(wakes)
        self.parts.changed(self.run.id)
        return Left.ENDED

    async def _leave(self) -> Left | None:
        """Nothing is in flight: suspend, or put the run back when the daemon stops."""
        if self._is_draining and self._gates:
            return await self._release()
        reason = self._reason()
        return await self._suspend(list(self._blocked), reason)

    async def _release(self) -> Left:
        await self.drop()
        writes = self._take()
        now = self.now()
        try:
            await self._until_room(
                lambda: self.parts.store.runs.release(self.claim, writes, available_at=now, now=now)
            )
        except Fenced:
            return Left.LOST
        return Left.RELEASED

    def _reason(self) -> str:
        kinds = {wait.kind.value for wait in self._ledger.waits}
        kinds.update(
            wait.kind.value
            for key in self._blocked
            if (wait := self.journal.waits.get(key)) is not None
        )
        return ", ".join(sorted(kinds)) or "operator"

    async def _suspend(self, blocked_on: Sequence[str], reason: str) -> Left | None:
        writes = self._take()
        self.journal.count += len(writes.entries)
        try:
            suspension = await self.parts.store.runs.suspend(
                self.claim,
                writes,
                blocked_on=blocked_on,
                snapshot_id=ids.new_id(),
                reason=reason,
                now=self.now(),
            )
        except StoreFull:
            self._ledger.put_back(writes)
            self.journal.count -= len(writes.entries)
            await asyncio.sleep(STORE_FULL_PAUSE_S)
            self._signal.set()
            return None
        except Fenced:
            await self.drop()
            return Left.LOST
        self._announce(writes)
        self._remember(writes)
        if suspension.snapshot_id is None:
            for wait in suspension.resolved:
                self._resolve(wait)
            return None
        self.left_reason = reason
        self.parts.wake(suspension.wakes)
        self.parts.changed(self.run.id)
        return Left.SUSPENDED

    def _remember(self, writes: Writes) -> None:
        """Keep opened waits in view: what kind they are is asked for at the next suspension."""
        now = self.now()
        for wait in writes.waits:
            self.journal.waits.setdefault(
                wait.key,
                Wait(
                    key=wait.key,
                    kind=wait.kind,
                    name=wait.name,
                    due_at=wait.due_at,
                    show=wait.show,
                    target=wait.target,
                    opened_at=now,
                    outcome=None,
                    payload=None,
                    resolved_at=None,
                    resolved_number=0,
                ),
            )

    async def _suspend_for(self, *waits: NewWait) -> Left:
        """Suspend a run whose coroutine is gone, until one of ``waits`` is answered."""
        for wait in waits:
            known = self.journal.waits.get(wait.key)
            if known is None:
                self.keep(wait=wait)
        while True:
            left = await self._suspend(
                [wait.key for wait in waits], ", ".join(sorted({w.kind.value for w in waits}))
            )
            if left is not None:
                return left
            if any(
                (known := self.journal.waits.get(wait.key)) is not None and known.outcome
                for wait in waits
            ):  # answered in the very moment: replay
                return await self._release()

    def _version_wait(self, mismatch: Mismatch) -> NewWait:
        number = sum(1 for wait in self.journal.waits.values() if wait.kind is WaitKind.VERSION)
        log.error(
            "a run's code does not fit its journal",
            extra={"run_id": self.run.id, "workflow": self.run.workflow, **mismatch.difference},
        )
        return NewWait(
            key=f"!version#{number + 1}",
            kind=WaitKind.VERSION,
            name=self.run.workflow,
            show={
                **mismatch.difference,
                "version_recorded": self.run.version,
                "version_now": self._definition.version if self._definition else None,
                "answer": {"action": "continue | accept"},
            },
        )

    async def _doubtful(self) -> list[NewWait]:
        """Decisions needed before the run may end: effects that may have happened."""
        from agency.engine.steps import decision_wait

        if not self.doubts:
            return []
        # A commit may have been under way when its task was stopped: look at what was recorded.
        try:
            await self._until_room(
                lambda: self.parts.store.runs.record(self.claim, Writes(), now=self.now())
            )
        except Fenced:
            return []
        view = JournalView(await self.parts.store.journal.load(self.run.number))
        return [
            decision_wait(key, name, view.intents(key), "the run was stopped while it was tried")
            for key, name in self.doubts.items()
            if view.find(key) is None
            and view.intents(key) > 0
            and view.find(f"{key}~{view.intents(key)}") is None
        ]

    async def _refresh(self) -> None:
        if not self._blocked:
            return
        waits = await self.parts.store.journal.waits(self.run.number, list(self._blocked))
        for wait in sorted(waits, key=lambda wait: wait.resolved_number):
            if wait.outcome is not None:
                self._resolve(wait)

    def _resolve(self, wait: Wait) -> None:
        self.journal.waits[wait.key] = wait
        future = self._blocked.get(wait.key)
        if future is not None and not future.done():
            self.activate()
            future.set_result(wait)

    def _open_gates(self) -> None:
        gates, self._gates = self._gates, []
        for gate in gates:
            if not gate.done():
                self.activate()
                gate.set_result(None)

    def _lose(self) -> None:
        self._is_lost = True
        self._control = Dropped()
        self._signal.set()

    def _interrupt(self) -> None:
        """Cancel every task of the run; what they raise does not matter, `_control` does."""
        self._gates = []
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()

    async def _settle_tasks(self) -> None:
        """Wait until no task of the run is left, and look at each one's end."""
        main = self._main
        tasks = {task for task in self._tasks if task is not main}
        if main is not None and not main.done():
            tasks.add(main)
        if not tasks:
            return
        done, late = await asyncio.wait(tasks, timeout=STUBBORN_S)
        for task in done:
            if not task.cancelled():
                task.exception()
        for task in late:
            log.error(
                "code of a run does not stop",
                extra={"run_id": self.run.id, "task": task.get_name()},
            )
            task.cancel()

    async def _until_room(self, transaction: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        while True:
            try:
                return await transaction()
            except StoreFull:
                log.warning("no room to go on", extra={"run_id": self.run.id})
                await asyncio.sleep(STORE_FULL_PAUSE_S)


async def _in_branch(branch: Branch, work: Awaitable[Any]) -> Any:  # noqa: ANN401  author's value
    CURRENT_BRANCH.set(branch)
    return await work


def _outcome(task: asyncio.Task[Any]) -> foreign.Returned | foreign.Raised | Control:
    if task.cancelled():
        return foreign.Raised(RuntimeError("The workflow's code has cancelled itself."))
    error = task.exception()
    if error is None:
        result = task.result()
        return (
            result
            if isinstance(result, foreign.Returned | foreign.Raised)
            else (foreign.Returned(result))
        )
    if isinstance(error, Control):
        return error
    assert isinstance(error, Exception)
    return foreign.Raised(error)


def _is_accepted(waits: dict[str, Wait]) -> bool:
    """An operator has accepted that code and journal differ: entries are then found by key."""
    return any(
        wait.kind is WaitKind.VERSION
        and wait.outcome is WaitOutcome.ANSWERED
        and isinstance(wait.payload, dict)
        and wait.payload.get("action") == "accept"
        for wait in waits.values()
    )
