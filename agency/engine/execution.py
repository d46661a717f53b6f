"""One claimed run in memory: from its claim until it has ended or left.

An author's coroutine runs in a task, each of its branches in another. The execution counts how
many of them are *active*, that is, neither blocked on a wait nor joining others. When none is,
nothing of the run is in flight, and one transaction suspends it, unless one of its waits has been
resolved in the meantime. The coroutine may then linger: if the run is claimed again soon, it goes
on where it is; otherwise it is dropped, and the next claim replays the journal.

All that is decided by a task of its own, the one that awaits `work`. Most runs are claimed once and
return, and never have anything decided; they go without it. Such an execution is *light*: it
becomes an ordinary one as soon as anything happens to it but its return (`_alert`).

Invariants:
- `active` is raised in the same moment in which a blocked branch's future is resolved, never later.
- Nothing is handed to an author's code before it is durable, but `now`, which rides with the next
  commit (if that commit is lost, so is all that was done with the moment).
- Without a claim, parked or dropped, every call of the context raises.
- While a run whose end is wanted is replayed, each branch is answered up to its own frontier and
  stopped there, so that what it has registered for the end is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context as Surroundings
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agency.core import ids, json
from agency.core.records import dataclass
from agency.domain.entry import Entry
from agency.domain.run import Run, RunError, RunKind, RunStatus
from agency.domain.wait import NewWait, Wait, WaitKind, WaitOutcome
from agency.engine import foreign
from agency.engine.branch import CURRENT_BRANCH, END_PATH, Branch
from agency.engine.failure import failed_steps, run_error
from agency.engine.journal import JournalView, name_of
from agency.engine.parts import Parts
from agency.engine.patience import until_read
from agency.engine.recorder import STORE_FULL_PAUSE_S, WAIT_FLUSH_S, Recorder
from agency.engine.retry import pause_s
from agency.engine.suspension import (
    Broken,
    ContinuedAs,
    Control,
    Dropped,
    LimitReached,
    Mismatch,
    Parked,
    RunEnding,
)
from agency.engine.turning import find_turn, make_turn
from agency.engine.verdict import TryAgain, Verdict, judge
from agency.errors import (
    Fenced,
    ForeignTask,
    InvalidInput,
    NotAwaited,
    ShuttingDown,
    StepNameTaken,
    StoreBroken,
    StoreFull,
)
from agency.ports.store import NOTHING, Wake, Writes

if TYPE_CHECKING:
    from agency.engine.definition import Definition
    from agency.engine.steps import StepCall

log = logging.getLogger(__name__)
T = TypeVar("T")

STUBBORN_S = 5.0
"""How long stopped code may take to leave before it is reported and left to itself."""

_WELL = frozenset({RunStatus.COMPLETED, RunStatus.LIMIT_REACHED})
"""Ends at which nothing is taken back."""


@dataclass(frozen=True, slots=True)
class Light:
    """Whom a light execution tells of itself.

    Attributes:
        control: From now on it wants its `work` to be awaited.
        ended: Its run has ended.
    """

    control: Callable[[Execution], None]
    ended: Callable[[Execution], None]


AtEnd = tuple[str, Callable[..., Any], tuple[Any, ...]]
"""Work for the real end: key of its registration, function, arguments."""


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
        self.recorder = Recorder(
            parts, run, on_resolved=self._resolve, on_lost=self._lose, on_broken=self._break
        )
        self.is_lenient = definition is not None and definition.is_interpreter
        self.ending: RunEnding | None = (
            RunEnding(RunStatus(run.ending)) if run.ending is not None else None
        )
        self.ending_error: RunError | None = run.error
        self.active = 0
        self.doubts: dict[str, StepCall] = {}
        self.at_end: list[AtEnd] = []
        self.forgotten: list[str] = []
        self.left_reason = ""
        self.is_leaving = False
        self._definition = definition
        self._cause: Verdict | None = None
        self._blocked: dict[str, asyncio.Future[Wait]] = {}
        self._gates: list[asyncio.Future[None]] = []
        self._control: Control | None = None
        self._is_held = run.hold is not None
        self._is_draining = False
        self._is_abandoned = False
        self._is_reclaimed = False
        self._is_stopped_at_frontier = False
        self._is_late = False
        self._refresh_wanted = False
        self._signal = asyncio.Event()
        self._light: Light | None = None
        self._finishing: asyncio.Future[Sequence[Wake]] | None = None
        self._main: asyncio.Task[Any] | None = None
        self._tasks: dict[asyncio.Task[Any], Branch] = {}
        self._done_at_end: set[str] = set()
        self.begun_at_end: set[str] = set()
        self._verdict: Verdict | None = None
        self._insistence: asyncio.TimerHandle | None = None

    @property
    def definition(self) -> Definition:
        assert self._definition is not None, "a run whose workflow is not loaded runs no code"
        return self._definition

    @property
    def journal(self) -> JournalView:
        return self.recorder.journal

    @property
    def can_linger(self) -> bool:
        """The coroutine is still there, parked, and can go on."""
        main = self._main
        is_parked = isinstance(self._control, Parked)
        return main is not None and not main.done() and is_parked and not self.recorder.is_lost

    # --- the life of an execution ---------------------------------------------------------

    def begin(self, light: Light, surroundings: Surroundings) -> bool:
        """Begin as a light execution, unless there is something to be decided already.

        Args:
            surroundings: What the author's code runs in.
        """
        is_fresh = self.run.epoch == 1 and self._main is None and self._definition is not None
        if not is_fresh or self.ending is not None or self._is_held or self._is_draining:
            return False
        self._light = light
        self._begin("", self._author, surroundings)
        return True

    async def work(self) -> Left:
        """Work until the run has ended, is suspended, was put back, or the claim is over.

        After SUSPENDED it may be called again, once `reclaim` has been. A fault of the engine or
        of what it stores fails this run and no other.
        """
        try:
            outcome = await foreign.attempt(self._work())
        except Dropped:
            await self.drop()
            return Left.LOST
        if isinstance(outcome, foreign.Raised):
            return await self._fault(outcome.error)
        left: Left = outcome.value
        return left

    async def _work(self) -> Left:
        if self._finishing is not None:
            return await self._finish_after(self._finishing)
        if self._main is None:
            await self._load()
            turn = find_turn(self.journal)
            if turn is not None and self._can_compensate:
                self._begin_compensation(turn)
            else:
                self._begin("", self._author)
                if self.ending is not None:
                    self._insist_later()
        elif self._is_reclaimed:
            self._is_reclaimed = False
            self._open_gates()
            await self._refresh()
            self._signal.set()
        while True:
            await self._signal.wait()
            self._signal.clear()
            left = await self._turn()
            if left is not None:
                return left

    async def _turn(self) -> Left | None:
        """Do what the last signal was for; None: go on waiting for the next."""
        if self.recorder.is_lost:
            raise Dropped
        if self._is_abandoned:
            return await self._release()
        if self._refresh_wanted:
            self._refresh_wanted = False
            await self._refresh()
        main = self._main
        assert main is not None
        if main.done() or self._is_late:
            return await self._conclude(main)
        if self.active == 0 and not self._signal.is_set():
            return await self._leave()
        return None

    def _alert(self) -> None:
        """Have it looked at what is to be done."""
        self._signal.set()
        light, self._light = self._light, None
        if light is not None:
            light.control(self)

    def reclaim(self, run: Run) -> None:
        """Take a lingering coroutine under a new claim; `work` goes on with it, without replay."""
        self.run = run
        self.recorder.claim = replace(self.recorder.claim, epoch=run.epoch)
        self.left_reason = ""
        self._control = None
        self._is_held = run.hold is not None
        self._is_reclaimed = True
        if run.ending is not None:
            self.end(RunStatus(run.ending), run.error)

    async def drop(self) -> None:
        """Leave the author's code; its clean-up blocks run, its context calls raise."""
        self._control = Dropped()
        self._interrupt()
        await self._settle()

    def refresh(self) -> None:
        """Look for what was recorded for this run by somebody else."""
        self._refresh_wanted = True
        self._alert()

    def hold(self) -> None:
        """Stop at the next safe point: an operator wants the run suspended."""
        self._is_held = True
        self._alert()

    def drain(self) -> None:
        """Let steps in flight finish, begin no new ones, and put the run back."""
        self._is_draining = True
        self._alert()

    def abandon(self) -> None:
        """Cut off what is in flight and put the run back: the grace is over."""
        self._is_abandoned = True
        self._alert()

    def end(self, status: RunStatus, error: RunError | None) -> None:
        """Stop the work in flight: the run is cancelled or past its deadline."""
        self._is_held = False  # lifted with the wish for the end, also for the work at the end
        self._open_gates()
        if self.ending is not None or self._verdict is not None:
            return
        self.ending = RunEnding(status)
        self.ending_error = error
        if self._main is None:
            return  # its code is not yet running: it is replayed up to its frontier
        self._control = self.ending
        self._interrupt()
        self._insist_later()
        self._alert()

    def _insist_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._insistence = loop.call_later(STUBBORN_S, self._insist, self.journal.met)

    def _insist(self, met: int) -> None:
        """Stop code that does not come to its frontier; leave code to itself that does not stop."""
        self._insistence = None
        has_left = isinstance(self._control, Dropped | Parked)
        if has_left or self._main is None or self._main.done() or self._verdict is not None:
            return
        if self._control is None:
            if self.journal.met == met:
                self._control = self.ending
                self._is_stopped_at_frontier = True  # there is no more to be known
                self._interrupt()
            self._insist_later()
            return
        log.error("code of a run does not stop", extra={"run_id": self.run.id})
        self._is_late = True
        self._alert()

    # --- what the context calls -----------------------------------------------------------

    def enter(self, operation: str, name: str) -> Branch:
        """Find the branch of the caller, and refuse calls that cannot be answered.

        Raises:
            ForeignTask: the caller's task is not a branch of this run, or is inside a step.
            StepNameTaken: the branch awaits an operation of that name already.
            Control: the run is leaving or ending, or the branch has lost.
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
            RunEnding: the same, while the run is replayed only to be ended.
        """
        if self.is_lenient or branch.is_end:
            return self.journal.find(key)
        try:
            return self.journal.meet(branch.path, key)
        except Mismatch as mismatch:
            if self.ending is not None:
                raise self._at_frontier(self.ending) from None
            raise self.leave_by(mismatch) from None

    async def safe_point(self, branch: Branch) -> None:
        """Pass when new work may begin: wait out a hold or drain, raise when the run is ending."""
        while True:
            self._raise_control(branch)
            if self.ending is not None and not branch.is_end:
                raise self._at_frontier(self.ending)
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
            raise self._at_frontier(self.ending)
        future: asyncio.Future[Wait] = asyncio.get_running_loop().create_future()
        self._blocked[key] = future
        if self.active > 1 and self.recorder.kept_waits:
            # Another branch is busy, perhaps for long: what this one waits for must be findable.
            self.recorder.flush_within(WAIT_FLUSH_S)
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

    def leave_by(self, control: Control) -> Control:
        """Stop all branches, and note by what; it holds even if the code swallows it."""
        self._control = control
        self._interrupt()
        self._alert()
        return control

    def deactivate(self) -> None:
        """One branch less goes on by itself."""
        self.active -= 1
        if self.active == 0:
            self._alert()

    def activate(self) -> None:
        self.active += 1

    def spawn(
        self,
        branch: Branch,
        begin: Callable[[], Awaitable[Any]],
        surroundings: Surroundings | None = None,
    ) -> asyncio.Task[Any]:
        """Start a branch in a task of its own; it is active from now on."""
        task = asyncio.get_running_loop().create_task(
            _in_branch(branch, begin), name=f"{self.run.id}:{branch.path}", context=surroundings
        )
        branch.task = task
        self._tasks[task] = branch
        self.active += 1
        # In the same surroundings: what is logged then is told of the run, too.
        task.add_done_callback(self._task_done, context=surroundings)
        return task

    def cut_off(self, path: str) -> tuple[set[asyncio.Task[Any]], list[str]]:
        """Cancel everything below a branch that has lost; it is answered nothing any more.

        Returns:
            The tasks, to be waited for; and the keys of waits that the store knows of.
        """
        forgotten = self.recorder.forget(path)
        closed = [key for key in self._blocked if key.startswith(path) and key not in forgotten]
        tasks = set()
        for task, branch in self._tasks.items():
            if branch.path.startswith(path):
                branch.is_lost = True
                tasks.add(task)
                task.cancel()
        return tasks, closed

    def lacks_at_end(self, paths: str | tuple[str, ...]) -> bool:
        """Tell whether work was registered below these branches that is not known in this life."""
        known = {key for key, _, _ in self.at_end} | self._done_at_end
        return any(key.startswith(paths) and key not in known for key in self.journal.registered())

    def at_end_below(self, path: str) -> list[AtEnd]:
        """Tell what a branch has registered for the end and is not done, last registered first."""
        return [work for work in reversed(self.at_end) if work[0].startswith(path)]

    def done_at_end(self, key: str) -> None:
        """Take note that work for the end is done and recorded."""
        self._done_at_end.add(key)
        self.at_end = [work for work in self.at_end if work[0] != key]

    def now(self) -> datetime:
        return self.parts.clock.now()

    # --- beginning and ending -------------------------------------------------------------

    async def _load(self) -> None:
        """Read the journal; the first claim finds nothing recorded, and the read is spared."""
        if self.run.epoch > 1:
            journal = await until_read(lambda: self.parts.store.journal.load(self.run.number))
            self.recorder.journal = JournalView(journal)
            self.is_lenient = self.is_lenient or _is_accepted(self.journal.waits)

    def _begin(
        self,
        path: str,
        begin: Callable[[], Awaitable[Any]],
        surroundings: Surroundings | None = None,
    ) -> None:
        self._main = self.spawn(Branch(path), begin, surroundings)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        branch = self._tasks.pop(task)
        if branch.parent is not None:
            return
        if not task.cancelled():
            task.exception()  # looked at here; what it means is decided in `_conclude`
        if task is not self._main:
            return  # already concluded: the work for the end has begun
        self.active -= 1
        if self._light is None or not self._finish_lightly(self._light, task):
            self._alert()

    def _finish_lightly(self, light: Light, main: asyncio.Task[Any]) -> bool:
        """End the run if it has returned and nothing else is to be recorded or decided.

        What raises in here is left to `_conclude`, which comes to the same.
        """
        if main.cancelled() or main.exception() is not None:
            return False
        if self._tasks or self.at_end or self.forgotten or not self.recorder.is_idle:
            return False
        outcome = main.result()
        if not isinstance(outcome, foreign.Returned) or self.journal.unmet() is not None:
            return False
        try:
            verdict = self._judge(outcome)
            if not isinstance(verdict, Verdict) or verdict.status is not RunStatus.COMPLETED:
                return False
            self._verdict = verdict
            self._leave_soon()
            self._finishing = asyncio.ensure_future(self._submit_end(verdict, NOTHING))
        except Exception:  # noqa: BLE001  an author's output may do anything when it is encoded
            return False
        self._finishing.add_done_callback(partial(self._finished_lightly, light, verdict))
        return True

    def _finished_lightly(
        self, light: Light, verdict: Verdict, finishing: asyncio.Future[Sequence[Wake]]
    ) -> None:
        if self._light is None:
            return  # `work` waits for it
        if finishing.cancelled() or finishing.exception() is not None:
            self._alert()
            return
        self._light = None
        try:
            self._note_end(verdict, NOTHING, finishing.result())
        finally:
            light.ended(self)

    async def _finish_after(self, finishing: asyncio.Future[Sequence[Wake]]) -> Left:
        """Wait for the end that was handed in as a light execution."""
        assert self._verdict is not None
        try:
            wakes = await finishing
        except (Fenced, StoreFull, StoreBroken, ShuttingDown):
            return await self._finish(self._verdict)
        self._note_end(self._verdict, NOTHING, wakes)
        return Left.ENDED

    async def _author(self) -> foreign.Returned | foreign.Raised:
        from agency.engine.context import Context

        if self._definition is None:
            missing = self._missing()
            raise self.leave_by(missing if self._owes_compensation() else self.ending or missing)
        context = Context(self)
        if not self.definition.takes_input:
            return await foreign.attempt(self.definition.run(context))
        try:
            value = self.definition.input_codec.decode(json.encode(self.run.input))
        except InvalidInput as error:
            return foreign.Raised(error)
        return await foreign.attempt(self.definition.run(context, value))

    def _missing(self) -> Mismatch:
        return Mismatch(branch="", recorded=self.run.workflow, asked="no such workflow")

    @property
    def _can_compensate(self) -> bool:
        return self._definition is not None and self._definition.compensate is not None

    def _owes_compensation(self) -> bool:
        """It has begun what only its definition can take back."""
        return self.run.kind is RunKind.SAGA and any(self.journal.registered())

    async def _must_compensate(self, cause: Verdict) -> bool:
        if not self._can_compensate or cause.status in _WELL:
            return False
        # A commit may have been under way when its task was stopped: look at what was recorded.
        await self.recorder.barrier()
        return any(self.journal.registered())

    def _begin_compensation(self, cause: Verdict) -> None:
        self._cause = cause
        # Stands if the code of the compensation is left in a way that nobody has thought of.
        self._verdict = replace(cause, status=RunStatus.COMPENSATION_FAILED)
        self._control = None
        self.recorder.is_bounded = False
        self._begin(END_PATH, self._compensate)

    async def _compensate(self) -> None:
        from agency.engine.context import Context

        compensate = self.definition.compensate
        assert compensate is not None
        assert self._cause is not None
        outcome = await foreign.attempt(compensate(Context(self), self._cause))
        if isinstance(outcome, foreign.Returned):
            self._verdict = outcome.value
            return
        log.error(
            "compensation could not be carried out",
            exc_info=outcome.error,
            extra={"run_id": self.run.id},
        )
        self._verdict = Verdict(
            status=RunStatus.COMPENSATION_FAILED, error=run_error(outcome.error)
        )

    async def _run_at_end(self) -> None:
        from agency.engine.steps import do_at_end

        branch = CURRENT_BRANCH.get()
        assert branch is not None
        await do_at_end(self, branch, self.at_end_below(""))

    async def _conclude(self, main: asyncio.Task[Any]) -> Left | None:
        """The main task is done: decide how the run ends, or that it does not."""
        await self._settle()
        self.active = 0
        if isinstance(self._control, Dropped):
            return Left.LOST
        if self._verdict is not None:  # that was the work for the end
            return await self._finish(self._verdict)
        outcome = self._outcome(main)
        if self._definition is None and isinstance(outcome, RunEnding):
            return await self._end_without_code(outcome)
        if isinstance(outcome, RunEnding) and self._is_cut_short():
            return await self._release()
        unanswered = await self._unanswered(outcome)
        if unanswered:
            return await self._suspend_for(*unanswered)
        assert isinstance(
            outcome, foreign.Returned | foreign.Raised | RunEnding | LimitReached | ContinuedAs
        )
        decided = self._judge(outcome)
        if isinstance(decided, TryAgain):
            if self.ending is None:
                return await self._retry_run(decided.error)
            decided = Verdict(status=self.ending.status, error=self.ending_error)
        return await self._end_as(decided)

    def _judge(
        self,
        outcome: foreign.Returned | foreign.Raised | RunEnding | LimitReached | ContinuedAs,
    ) -> Verdict | TryAgain:
        return judge(
            outcome,
            run=self.run,
            definition=self.definition,
            ending_error=self.ending_error,
            now=self.now(),
        )

    async def _end_without_code(self, ending: RunEnding) -> Left:
        if self._owes_compensation():
            return await self._suspend_for(self._version_wait(self._missing()))
        return await self._finish(Verdict(status=ending.status, error=self.ending_error))

    async def _end_as(self, decided: Verdict) -> Left | None:
        """End the run, after what has to be done before."""
        self._verdict = decided
        if await self._must_compensate(decided):
            await self.recorder.begin_compensation(make_turn(decided, at=self.now()), decided.error)
            self.parts.changed(self.run.id)
            self._begin_compensation(decided)
            return None
        if self.at_end:
            self._control = None
            self._begin(END_PATH, self._run_at_end)
            return None
        return await self._finish(decided)

    def _is_cut_short(self) -> bool:
        """The end came in the middle of a replay, before all work for the end was known again."""
        if self._is_stopped_at_frontier or self._can_compensate:
            return False
        return self.lacks_at_end("")

    def _outcome(self, main: asyncio.Task[Any]) -> foreign.Returned | foreign.Raised | Control:
        if isinstance(self._control, Broken):
            return foreign.Raised(self._control.error)
        if self._control is not None:
            return self._control
        if self._is_stopped_at_frontier and self.ending is not None:
            return self.ending
        outcome = _outcome(main)
        if self.forgotten and isinstance(outcome, foreign.Returned):
            return foreign.Raised(NotAwaited(self.forgotten[0]))
        return outcome

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

    async def _doubtful(self) -> list[NewWait]:
        """Decisions needed before the run may end: effects that may have happened."""
        from agency.engine.steps import decision_prefix, decision_wait

        if not self.doubts and not any(self.journal.unsettled()):
            return []
        # A commit may have been under way when its task was stopped: look at what was recorded.
        await self.recorder.barrier()
        reason = "the run was stopped while it was tried"
        waits = []
        for key, intent in self.journal.unsettled():
            prefix = decision_prefix(key, self.run.attempt)
            asked = [wait for k, wait in self.journal.waits.items() if k.startswith(prefix)]
            if any(wait.outcome is WaitOutcome.ANSWERED for wait in asked):
                continue  # the step itself finds the answer when it is replayed
            doubt = self.doubts.get(key)
            name = doubt.name if doubt is not None else name_of(key)
            wait = decision_wait(key, name, f"{self.run.attempt}.{intent}", reason)
            is_open = [known.key for known in asked if known.outcome is None]
            waits.append(replace(wait, key=is_open[0]) if is_open else wait)
        return waits

    def _version_wait(self, mismatch: Mismatch) -> NewWait:
        versions = [wait for wait in self.journal.waits.values() if wait.kind is WaitKind.VERSION]
        is_open = [wait.key for wait in versions if wait.outcome is None]
        log.error(
            "a run's code does not fit its journal",
            extra={"run_id": self.run.id, "workflow": self.run.workflow, **mismatch.difference},
        )
        return NewWait(
            key=is_open[0] if is_open else f"!version#{len(versions) + 1}",
            kind=WaitKind.VERSION,
            name=self.run.workflow,
            show={
                **mismatch.difference,
                "version_recorded": self.run.version,
                "version_now": self._definition.version if self._definition else None,
                "answer": {"action": "continue | accept"},
            },
        )

    async def _retry_run(self, error: Exception) -> Left:
        delay = pause_s(error, self.run.attempt, self.definition.retry, self.parts.source)
        available_at = self.now() + timedelta(seconds=delay)
        superseded = [
            superseded for key in failed_steps(error) for superseded in self.journal.belonging(key)
        ]
        writes = replace(self.recorder.take(), superseded=superseded)
        await self.recorder.until_room(
            lambda: self.parts.store.runs.release(
                self.recorder.claim,
                writes,
                available_at=available_at,
                failed=run_error(error),
                now=self.now(),
            )
        )
        self.parts.expect(available_at)
        self.parts.changed(self.run.id)
        log.warning(
            "run failed, will be tried again",
            extra={"run_id": self.run.id, "attempt": self.run.attempt, "delay_s": round(delay, 3)},
        )
        return Left.RELEASED

    @property
    def final_error(self) -> RunError | None:
        """Why the run has ended without success, once it has."""
        return self._verdict.error if self._verdict is not None else None

    async def _finish(self, verdict: Verdict) -> Left:
        writes = self.recorder.take()
        self._leave_soon()
        wakes = await self.recorder.until_room(lambda: self._submit_end(verdict, writes))
        self._note_end(verdict, writes, wakes)
        return Left.ENDED

    def _leave_soon(self) -> None:
        self.is_leaving = True
        self.parts.nudge()

    def _submit_end(self, verdict: Verdict, writes: Writes) -> Awaitable[Sequence[Wake]]:
        end: Awaitable[Sequence[Wake]] = self.parts.store.runs.finish(
            self.recorder.claim,
            writes,
            status=verdict.status,
            output=verdict.output,
            error=verdict.error,
            successor=verdict.successor,
            now=self.now(),
        )
        return end

    def _note_end(self, verdict: Verdict, writes: Writes, wakes: Sequence[Wake]) -> None:
        self.left_reason = verdict.status.value
        if self._insistence is not None:
            self._insistence.cancel()
        self.recorder.note(writes)
        if verdict.successor is not None:
            self.parts.nudge()
        self.parts.wake(wakes)
        self.parts.changed(self.run.id)

    async def _fault(self, error: Exception) -> Left:
        """Fail the run for something that it should not have been possible to do."""
        await self.drop()
        if isinstance(error, Fenced | StoreBroken | ShuttingDown):
            return Left.LOST
        log.error("a run could not be worked on", exc_info=error, extra={"run_id": self.run.id})
        reason = RunError(
            code="engine_fault",
            message=foreign.text_of(error)[:1000] or type(error).__name__,
            error_class=type(error).__name__,
            hint="The daemon's log has the traceback.",
        )
        # What has to be taken back can be: the compensation of such a run is retried by hand.
        status = RunStatus.FAILED
        if self._owes_compensation():
            status = RunStatus.COMPENSATION_FAILED
        try:
            wakes = await self.recorder.until_room(
                lambda: self.parts.store.runs.finish(
                    self.recorder.claim,
                    NOTHING,
                    status=status,
                    output=None,
                    error=reason,
                    now=self.now(),
                )
            )
        except Dropped:
            return Left.LOST
        self.left_reason = status.value
        self.parts.wake(wakes)
        self.parts.changed(self.run.id)
        return Left.ENDED

    # --- leaving without an end -----------------------------------------------------------

    async def _leave(self) -> Left | None:
        """Nothing is in flight: suspend, or put the run back when the daemon stops."""
        if self._is_draining and self._gates:
            return await self._release()
        if self.recorder.is_waiting_for_room:
            # What it is to wait for may be among what has not been recorded yet.
            await asyncio.sleep(STORE_FULL_PAUSE_S)
            self._alert()
            return None
        return await self._suspend(list(self._blocked), self._reason())

    async def _release(self) -> Left:
        await self.drop()
        writes = self.recorder.take()
        now = self.now()
        await self.recorder.until_room(
            lambda: self.parts.store.runs.release(
                self.recorder.claim, writes, available_at=now, now=now
            )
        )
        return Left.RELEASED

    def _reason(self) -> str:
        kinds = {wait.kind.value for wait in self.recorder.kept_waits}
        kinds.update(
            wait.kind.value
            for key in self._blocked
            if (wait := self.journal.waits.get(key)) is not None
        )
        return ", ".join(sorted(kinds)) or "operator"

    async def _suspend(self, blocked_on: Sequence[str], reason: str) -> Left | None:
        writes = self.recorder.take()
        try:
            suspension = await self.parts.store.runs.suspend(
                self.recorder.claim,
                writes,
                blocked_on=blocked_on,
                snapshot_id=ids.new_id(),
                reason=reason,
                now=self.now(),
            )
        except StoreFull:
            self.recorder.put_back(writes)
            await asyncio.sleep(STORE_FULL_PAUSE_S)
            self._alert()
            return None
        self.recorder.note(writes)
        if suspension.snapshot_id is None:
            goes_on = suspension.resolved or self._gates or self.active or self._signal.is_set()
            assert goes_on, "nothing would ever go on"
            self._is_held = False  # lifted meanwhile, else the run would be suspended
            self._open_gates()
            for wait in suspension.resolved:
                self._resolve(wait)
            return None
        if self._control is None:
            self._control = Parked()
        self.left_reason = reason
        self.parts.wake(suspension.wakes)
        self.parts.changed(self.run.id)
        return Left.SUSPENDED

    async def _suspend_for(self, *waits: NewWait) -> Left:
        """Suspend a run whose coroutine is gone, until one of ``waits`` is answered."""
        await self.recorder.settle()  # one of them may be asked for by a commit under way
        kept = {wait.key for wait in self.recorder.kept_waits}  # asked, and not yet recorded
        for wait in waits:
            if wait.key not in self.journal.waits and wait.key not in kept:
                self.recorder.keep(wait=wait)
        keys = [wait.key for wait in waits]
        reason = ", ".join(sorted({wait.kind.value for wait in waits}))
        while True:
            left = await self._suspend(keys, reason)
            if left is not None:
                return left
            known = [self.journal.waits.get(key) for key in keys]
            if any(wait is not None and wait.outcome is not None for wait in known):
                return await self._release()  # answered in the very moment: replay

    # --- inside ---------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """Read what others have recorded for this run: outcomes of waits, a hold, an end."""
        keys = self.journal.open_keys()
        detail, waits = await asyncio.gather(
            until_read(lambda: self.parts.store.runs.get(self.run.id)),
            until_read(lambda: self.parts.store.journal.waits(self.run.number, keys)),
        )
        for wait in sorted(waits, key=lambda wait: wait.resolved_number):
            if wait.outcome is not None:
                self._resolve(wait)
        run = detail.run
        if run.epoch != self.recorder.claim.epoch or run.status is not RunStatus.RUNNING:
            return
        if run.ending is not None:
            self.end(RunStatus(run.ending), run.error)
        self._is_held = self._is_held or run.hold is not None

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
        self._control = Dropped()
        self._alert()

    def _break(self, error: Exception) -> None:
        self.leave_by(Broken(error))

    def _at_frontier(self, ending: RunEnding) -> RunEnding:
        self._is_stopped_at_frontier = True
        return ending

    def _raise_control(self, branch: Branch) -> None:
        """Raise what the author's code is being left by; the end's own branch is let through."""
        if branch.is_lost:
            raise Dropped
        control = self._control
        if control is not None and (isinstance(control, Dropped | Parked) or not branch.is_end):
            raise control

    def _interrupt(self) -> None:
        """Cancel every task of the run; what they raise does not matter, `_control` does."""
        self._gates = []
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()

    async def _settle(self) -> None:
        """Wait until no task of the run is left but those that do not stop; look at their ends."""
        waiting = {task for task, branch in self._tasks.items() if not branch.is_left}
        if waiting:
            done, late = await asyncio.wait(waiting, timeout=0 if self._is_late else STUBBORN_S)
            for task in done:
                if not task.cancelled():
                    task.exception()
            for task in late:
                log.error(
                    "code of a run does not stop",
                    extra={"run_id": self.run.id, "task": task.get_name()},
                )
                branch = self._tasks[task]
                branch.is_left = branch.is_lost = True
                task.cancel()
        self._is_late = False
        await self.recorder.settle()


async def _in_branch(branch: Branch, begin: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
    CURRENT_BRANCH.set(branch)
    return await begin()


def _outcome(task: asyncio.Task[Any]) -> foreign.Returned | foreign.Raised | Control:
    if task.cancelled():
        return foreign.Raised(RuntimeError("The workflow's code has cancelled itself."))
    error = task.exception()
    if error is None:
        outcome: foreign.Returned | foreign.Raised = task.result()
        return outcome
    if isinstance(error, Control):
        return error
    return foreign.Raised(RuntimeError(foreign.text_of(error)))


def _is_accepted(waits: dict[str, Wait]) -> bool:
    """An operator has accepted that code and journal differ: entries are then found by key."""
    return any(
        wait.kind is WaitKind.VERSION
        and wait.outcome is WaitOutcome.ANSWERED
        and isinstance(wait.payload, dict)
        and wait.payload.get("action") == "accept"
        for wait in waits.values()
    )
