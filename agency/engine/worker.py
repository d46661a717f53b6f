"""The worker: claims runs that are ready and keeps their executions."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from agency.core.context import CORRELATION_ID, RUN_ID
from agency.domain.run import Run, RunStatus
from agency.engine.execution import Execution, Left, Light
from agency.engine.parts import Parts
from agency.errors import Fenced, ShuttingDown, StoreBroken, StoreFull
from agency.ports.store import NOTHING, Wake

log = logging.getLogger(__name__)

CLAIM_RUNS_MAX = 64
"""Runs claimed in one transaction: more hold up other writers."""
SUSPECTS_ALONE_S_MAX = 30.0
"""How long all suspects of a crash together hold up the others after a start."""
_FULL_PAUSE_S = 1.0
_ABANDON_S = 10.0


class Worker:
    """Works off what is pending, ``settings.runs_max`` runs at once.

    It is told of ready runs (`nudge`) and never polls; the timer nudges it for what comes due.
    """

    def __init__(self, parts: Parts, *, owner: str, left: Callable[[Run], None]) -> None:
        """Put it together; it works while `serve` is awaited.

        Args:
            left: Is told of each run that is not worked on any more.
        """
        self._parts = parts
        self._owner = owner
        self._left = left
        self._executions: dict[str, Execution] = {}
        self._lingering: OrderedDict[str, tuple[Execution, float]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._ready.set()
        self._is_draining = False
        self._claiming = asyncio.Lock()
        self._eviction: asyncio.TimerHandle | None = None
        self._dropping: set[asyncio.Task[None]] = set()
        self._unfinished: list[str] = []
        self._light = Light(control=self._control, ended=self._ended_lightly)
        self._surroundings = contextvars.copy_context()
        self._gone: asyncio.Future[None] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> int:
        """How many runs are being worked on."""
        return len(self._executions)

    @property
    def claimed_ids(self) -> Sequence[str]:
        return list(self._executions)

    @asynccontextmanager
    async def without_claims(self) -> AsyncIterator[None]:
        """Claim nothing meanwhile: all claims that were committed are known."""
        async with self._claiming:
            yield

    def find(self, run_id: str) -> Execution | None:
        """Find the execution of a claimed run."""
        return self._executions.get(run_id)

    def nudge(self) -> None:
        """Look for ready runs."""
        self._ready.set()

    async def idle(self) -> None:
        """Return when no run is worked on and none is ready to be claimed."""
        while self._executions or self._tasks or self._dropping or self._is_claiming:
            if self._tasks or self._dropping:
                await asyncio.wait({*self._tasks, *self._dropping})
            elif self._executions:
                self._gone = asyncio.get_running_loop().create_future()
                await self._gone
            elif self._claiming.locked():
                async with self._claiming:
                    pass
            elif self._is_draining or self.failed.done():
                return
            else:
                await asyncio.sleep(0)  # the claim begins in one of the next turns of the loop

    @property
    def _is_claiming(self) -> bool:
        return self._ready.is_set() or self._claiming.locked()

    def wake(self, wakes: Sequence[Wake]) -> None:
        """Hand on what a transaction has woken."""
        for woken in wakes:
            if woken.status is RunStatus.PENDING:
                self._ready.set()
            elif woken.status is RunStatus.RUNNING:
                execution = self._executions.get(woken.run_id)
                if execution is not None:
                    execution.refresh()
            else:
                self.forget(woken.run_id)
                self._parts.changed(woken.run_id)

    def forget(self, run_id: str) -> None:
        """Drop the lingering coroutine of a run that has ended elsewhere."""
        found = self._lingering.pop(run_id, None)
        if found is not None:
            self._drop(found[0])

    async def serve(self, stop: asyncio.Event, suspects: Sequence[str]) -> None:
        """Claim and work until ``stop`` is set; suspects of a crash go first, each alone."""
        await self._run_suspects(suspects, stop)
        stopped = asyncio.ensure_future(stop.wait())
        # One event for both, because whoever waits for two things goes on some turns of the loop
        # later: too late to ride in the commit that it was nudged for.
        stopped.add_done_callback(lambda _: self._ready.set())
        try:
            while not stop.is_set():
                await self._ready.wait()
                if not stop.is_set() and not self._is_draining:
                    await self._claim()
                elif self._is_draining:
                    await asyncio.wait({stopped})
        finally:
            stopped.cancel()

    async def drain(self, *, grace_s: float, hurry: asyncio.Event) -> Sequence[str]:
        """Let steps in flight finish, put what is left back to pending, and say which runs.

        Args:
            grace_s: Seconds that steps may take to finish.
            hurry: Once it is set, nothing is waited for any longer.

        Returns:
            Ids of the runs that were in memory and have not ended.
        """
        self._is_draining = True
        for execution in list(self._executions.values()):
            execution.drain()
        async with self._claiming:
            pass  # a claim that is under way brings its runs in first, to be drained as well
        if self._tasks and grace_s > 0:
            hurried = asyncio.ensure_future(hurry.wait())
            idle = asyncio.ensure_future(asyncio.wait(set(self._tasks)))
            try:
                await asyncio.wait(
                    {hurried, idle}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                hurried.cancel()
                idle.cancel()
        for run_id, execution in list(self._executions.items()):
            log.warning("run put back with a step cut off", extra={"run_id": run_id})
            execution.abandon()
        await self._end_tasks()
        if self._eviction is not None:
            self._eviction.cancel()
        for run_id in list(self._lingering):
            self.forget(run_id)
        if self._dropping:
            await asyncio.wait(self._dropping)
        return self._unfinished

    # --- inside -----------------------------------------------------------------------------

    async def _end_tasks(self) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=_ABANDON_S)
        for task in late:  # a full disk: they are recovered at the next start
            log.error("a run could not be put back", extra={"task": task.get_name()})
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _claim(self) -> None:
        runs_max = self._parts.settings.runs_max
        # Those that have only their end to be recorded do not work any more: who takes their place
        # is claimed in the same commit. On a full disk they stay, so not without a limit.
        leaving = sum(execution.is_leaving for execution in self._executions.values())
        free = runs_max - len(self._executions) + min(leaving, runs_max)
        self._ready.clear()
        if free <= 0:
            return  # the end of a run sets the event again
        limit = min(free, CLAIM_RUNS_MAX)
        if len(await self._claim_some(limit)) == limit:
            self._ready.set()

    async def _claim_some(self, limit: int, *, only: str | None = None) -> Sequence[Execution]:
        async with self._claiming:
            if self._is_draining:
                return ()
            try:
                runs = await self._parts.store.runs.claim(
                    limit=limit, owner=self._owner, now=self._parts.clock.now(), only=only
                )
            except StoreFull:
                log.warning("no room to claim runs")
                asyncio.get_running_loop().call_later(_FULL_PAUSE_S, self._ready.set)
                return ()
            if runs.next_at is not None:
                self._parts.expect(runs.next_at)
            return [self._start(run, is_alone=only is not None) for run in runs]

    def _start(self, run: Run, *, is_alone: bool) -> Execution:
        # Known from the moment of the claim on: a cancel that follows it must find it.
        execution = self._execution(run)
        self._executions[run.id] = execution
        if is_alone or not execution.begin(self._light, self._surroundings_of(run)):
            self._control(execution)
        return execution

    def _surroundings_of(self, run: Run) -> contextvars.Context:
        """Make what log lines of all that is done for the run are told by; branches inherit it."""
        surroundings = self._surroundings.copy()
        surroundings.run(_tell_of, run)
        return surroundings

    def _control(self, execution: Execution) -> None:
        """Await the work of an execution in a task."""
        run = execution.run
        task = asyncio.get_running_loop().create_task(
            self._work(run, execution),
            name=_name_of(run.id),
            context=self._surroundings_of(run),
        )
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._tell_gone()

    def _tell_gone(self) -> None:
        """Let `idle` look again: an execution has ended, or has a task from now on."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _execution(self, run: Run) -> Execution:
        found = self._lingering.pop(run.id, None)
        lingering = found[0] if found is not None else None
        if lingering is not None and lingering.can_linger:
            execution = lingering
            execution.reclaim(run)
        else:
            if lingering is not None:  # its code has ended without a claim, by a timer of its own
                self._drop(lingering)
            definition = self._parts.registry.find_version(run.workflow, run.version, run.kind)
            execution = Execution(self._parts, run, definition)
        if self._is_draining:
            execution.drain()
        return execution

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ready.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a run could not be worked on", exc_info=error)
            if not self.failed.done():
                self.failed.set_exception(error)

    async def _work(self, run: Run, execution: Execution) -> None:
        left = Left.LOST
        try:
            left = await execution.work()
        finally:
            self._let_go(run, execution)
            if self._is_draining and left is not Left.ENDED:
                self._unfinished.append(run.id)
        self._log(run, execution, left)
        if left is Left.SUSPENDED:
            self._linger(execution)
        elif left is Left.LOST:
            await self._give_back(execution)
        if left is Left.RELEASED:
            self._ready.set()

    def _ended_lightly(self, execution: Execution) -> None:
        self._let_go(execution.run, execution)
        self._log(execution.run, execution, Left.ENDED)
        self._ready.set()
        self._tell_gone()

    def _let_go(self, run: Run, execution: Execution) -> None:
        if self._executions.get(run.id) is execution:
            del self._executions[run.id]
        self._left(run)

    async def _give_back(self, execution: Execution) -> None:
        """Put a run back whose execution is gone, in case that its claim is still ours."""
        now = self._parts.clock.now()
        try:
            await self._parts.store.runs.release(
                execution.recorder.claim, NOTHING, available_at=now, now=now
            )
        except (Fenced, StoreFull, StoreBroken, ShuttingDown) as error:
            log.debug("the claim is over", extra={"run_id": execution.run.id, "why": error.code})
        else:
            log.error("run lost its execution", extra={"run_id": execution.run.id})
            self._ready.set()

    async def _run_suspects(self, suspects: Sequence[str], stop: asyncio.Event) -> None:
        """Let suspects of a crash run alone, one after another, for a bounded time in all."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SUSPECTS_ALONE_S_MAX
        for run_id in suspects:
            if stop.is_set() or self._is_draining or loop.time() >= until:
                return
            await self._run_alone(run_id, stop)

    async def _run_alone(self, run_id: str, stop: asyncio.Event) -> None:
        """Work on a run that may be what crashed the daemon, with nothing else beside it."""
        log.warning("suspect of crashes runs alone", extra={"run_id": run_id})
        if not await self._claim_some(1, only=run_id):
            return
        task = next(task for task in self._tasks if task.get_name() == _name_of(run_id))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait(
                {task, stopped},
                timeout=self._parts.settings.suspect_alone_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            stopped.cancel()

    def _linger(self, execution: Execution) -> None:
        settings = self._parts.settings
        if not execution.can_linger:
            return
        if settings.linger_s <= 0 or settings.linger_runs_max == 0 or self._is_draining:
            self._drop(execution)
            return
        while len(self._lingering) >= settings.linger_runs_max:
            _, (oldest, _) = self._lingering.popitem(last=False)
            self._drop(oldest)
        loop = asyncio.get_running_loop()
        self._lingering[execution.run.id] = (execution, loop.time() + settings.linger_s)
        if self._eviction is None:
            self._eviction = loop.call_later(settings.linger_s, self._evict)

    def _evict(self) -> None:
        self._eviction = None
        loop = asyncio.get_running_loop()
        while self._lingering:
            run_id, (execution, until) = next(iter(self._lingering.items()))
            if until > loop.time():
                self._eviction = loop.call_at(until, self._evict)
                return
            del self._lingering[run_id]
            self._drop(execution)

    def _drop(self, execution: Execution) -> None:
        task = asyncio.get_running_loop().create_task(execution.drop())
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    def _log(self, run: Run, execution: Execution, left: Left) -> None:
        is_dead = execution.left_reason == RunStatus.DEAD_LETTER.value
        if not is_dead and not log.isEnabledFor(logging.INFO):
            return
        fields = {
            "run_id": run.id,
            "workflow": run.workflow,
            "attempt": run.attempt,
            "outcome": execution.left_reason or left.value,
        }
        if is_dead:
            error = execution.final_error
            fields["attempts"] = run.attempt
            fields["error"] = error.message[:500] if error is not None else ""
            log.error("Task moved to dead-letter", extra=fields)
        else:
            log.info("run %s", left.value, extra=fields)


def _name_of(run_id: str) -> str:
    return f"run:{run_id}"


def _tell_of(run: Run) -> None:
    RUN_ID.set(run.id)
    CORRELATION_ID.set(run.correlation_id)
