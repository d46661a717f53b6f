"""The engine: worker, timer and watcher of resources around one store."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Queue as QueueSettings
from agency.config.schema import Retention as RetentionSettings
from agency.core.clock import Clock
from agency.core.lifetimes import running
from agency.engine.approvals import Approvals
from agency.engine.dead_letters import DeadLetters
from agency.engine.hooks import Hooks
from agency.engine.isolated import ProcessPool
from agency.engine.lineage import Lineage
from agency.engine.parts import Parts
from agency.engine.patience import until_read
from agency.engine.pool import ThreadPool
from agency.engine.queues import Queues
from agency.engine.registry import Registry
from agency.engine.resources import Resources
from agency.engine.retention import Retention
from agency.engine.runs import Runs
from agency.engine.schedules import Schedules
from agency.engine.timers import Timer
from agency.engine.topics import Topics
from agency.engine.transfers import Transfers
from agency.engine.updates import Updates
from agency.engine.worker import Worker
from agency.ports.store import Recovery, Store
from agency.ports.workspace import Workspaces

log = logging.getLogger(__name__)

SWEEP_S = 60.0
"""How often runs without a reason to go on are looked for; there should never be one."""
_STOP_GRACE_S = 5.0
_SECOND_LOOK_S = 1.0


class Engine:
    """Works off the runs of a store. Open it with ``async with``.

    Opening recovers what a dead daemon has left: its claimed runs are pending again. Leaving
    without `drain` cuts off what is in flight; it is recovered at the next start.

    Attributes:
        runs: The verbs.
        schedules: Runs that the clock starts.
        retention: What becomes of runs that have ended, and of the store's size.
        approvals: What people are asked.
        topics: Events that are not for one run.
        lineage: The verbs for runs that have been worked on: retry, rerun, fork.
        dead_letters: Runs that have used up their attempts.
        transfers: Export, import and moves of runs.
        recovery: What was found at the start.
        failed: Done, with the exception, when the engine cannot go on and the process must end.
    """

    def __init__(  # noqa: PLR0913  one for each part and section
        self,
        *,
        store: Store,
        registry: Registry,
        clock: Clock,
        settings: EngineSettings,
        boot_id: str,
        health: Mapping[str, Callable[[], Awaitable[bool]]] | None = None,
        source: random.Random | None = None,
        queues: Mapping[str, QueueSettings] | None = None,
        retention: RetentionSettings | None = None,
        files: Workspaces | None = None,
    ) -> None:
        """Put the parts together; nothing runs before the engine is entered.

        Args:
            health: Resources by name, and how to find out whether each answers.
            source: Randomness for jitter.
            queues: Sections ``[queues.NAME]``.
            retention: Section ``[retention]``.
            files: The files of runs, where there are some.
        """
        self._store = store
        self._clock = clock
        self._boot_id = boot_id
        self._threads = ThreadPool(settings.step_threads)
        self.updates = Updates(store.updates, store.runs)
        self._resources = Resources(
            mail=store.mail,
            clock=clock,
            health=health or {},
            wake=lambda wakes: self._worker.wake(wakes),  # noqa: PLW0108  not there yet
            poll_s=settings.resource_poll_s,
        )
        self._timer = Timer(
            runs=store.runs,
            clock=clock,
            wake=lambda wakes: self._worker.wake(wakes),  # noqa: PLW0108  not there yet
            overdue=lambda run_id: self.runs.time_out(run_id),  # noqa: PLW0108
            nudge=lambda: self._worker.nudge(),  # noqa: PLW0108
            sources=[
                lambda now: self.schedules.fire(now),  # noqa: PLW0108
                lambda now: self.topics.sweep(now),  # noqa: PLW0108
            ],
        )
        self._worker = Worker(
            Parts(
                store=store,
                clock=clock,
                settings=settings,
                registry=registry,
                threads=self._threads,
                processes=ProcessPool(settings.step_processes),
                source=source or random.Random(),  # noqa: S311  jitter only
                is_healthy=self._resources.is_healthy,
                expect=self._timer.expect,
                expect_resource=self._resources.expect,
                wake=lambda wakes: self._worker.wake(wakes),  # noqa: PLW0108  not there yet
                nudge=lambda: self._worker.nudge(),  # noqa: PLW0108
                cancel=lambda run_id: self.runs.cancel_if_live(run_id),  # noqa: PLW0108
                changed=lambda run_id: self.runs.changed(run_id),  # noqa: PLW0108
                recorded=lambda run_id: self.runs.recorded(run_id),  # noqa: PLW0108
                publish=lambda *event, **more: self.topics.publish(*event, **more),  # noqa: PLW0108
                spread=lambda: self.topics.spread(),  # noqa: PLW0108
                token=self.updates.token,
            ),
            owner=boot_id,
            left=lambda run: self.queues.left(run),  # noqa: PLW0108  not there yet
        )
        self.queues = Queues(
            store=store.queues,
            registry=registry,
            clock=clock,
            settings=queues or {},
            nudge=self._worker.nudge,
        )
        self.runs = Runs(
            store=store,
            registry=registry,
            clock=clock,
            worker=self._worker,
            timer=self._timer,
            queues=self.queues,
        )
        self.lineage = Lineage(
            store=store, registry=registry, clock=clock, runs=self.runs, queues=self.queues
        )
        self.dead_letters = DeadLetters(store=store, clock=clock, lineage=self.lineage)
        self.transfers = Transfers(
            store=store,
            clock=clock,
            runs=self.runs,
            queues=self.queues,
            entries_max=settings.journal_entries_max,
            files=files,
        )
        self.schedules = Schedules(
            store=store.schedules,
            runs=self.runs,
            clock=clock,
            timer=self._timer,
            queues=self.queues,
        )
        self.approvals = Approvals(store=store, clock=clock, woken=self.runs.woken)
        self.topics = Topics(
            store=store,
            clock=clock,
            settings=settings,
            timer=self._timer,
            woken=self.runs.woken,
        )
        self.hooks = Hooks(
            store=store.updates,
            clock=clock,
            hooks=list(registry.hooks.values()),
            source=source or random.Random(),  # noqa: S311  jitter only
        )
        self.retention = Retention(
            store=store.upkeep,
            clock=clock,
            settings=retention or RetentionSettings(),
            told=self.hooks.told,
            sweep_files=None if files is None else files.sweep,
        )
        self.recovery = Recovery(requeued=0, suspects=(), quarantined=())
        self.failed = self._worker.failed
        self._stack = AsyncExitStack()

    @property
    def running(self) -> int:
        """How many runs are being worked on."""
        return self._worker.running

    async def __aenter__(self) -> Self:
        self.recovery = await self._store.runs.recover(owner=self._boot_id, now=self._clock.now())
        self._report(self.recovery)
        await self.queues.configure()
        await self.hooks.open()
        for name, serve in (
            ("worker", self._work),
            ("timer", self._timer.serve),
            ("resources", self._resources.serve),
            ("sweeper", self._sweep),
            ("retention", self.retention.serve),
            ("updates", self.updates.serve),
            ("hooks", self.hooks.serve),
        ):
            await self._stack.enter_async_context(
                running(serve, name=name, grace_s=_STOP_GRACE_S, on_failure=self._fail)
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.runs.is_closed = True
        await self._worker.drain(grace_s=0, hurry=asyncio.Event())
        await self._stack.__aexit__(kind, error, traceback)
        self._threads.close()

    async def idle(self) -> None:
        """Return when no run is worked on and none is ready: what is left waits for something."""
        await self._worker.idle()

    async def catch_up(self) -> None:
        """Wake what is due by the clock as it is now, without waiting for the timer to look."""
        await self._timer.catch_up()

    async def drain(self, *, grace_s: float, hurry: asyncio.Event) -> Sequence[str]:
        """Take no new work, let steps finish, and put the rest back to pending.

        Args:
            grace_s: Seconds that steps in flight may take.
            hurry: Cuts the grace when it is set.

        Returns:
            Ids of the runs that were put back or left suspended before they had ended.
        """
        self.runs.is_closed = True
        return await self._worker.drain(grace_s=grace_s, hurry=hurry)

    async def _work(self, stop: asyncio.Event) -> None:
        await self._worker.serve(stop, self.recovery.suspects)

    def _fail(self, error: BaseException) -> None:
        log.error("a loop of the engine failed", exc_info=error)
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _sweep(self, stop: asyncio.Event) -> None:
        """Report runs that nothing would ever wake; this should find none."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(SWEEP_S):
                    await stop.wait()
                    return
            except TimeoutError:
                await self.sweep()

    async def sweep(self) -> Sequence[str]:
        """Look for runs that have no reason to go on, report them, and return their ids."""
        strays = await self._strays()
        if strays:
            # Between a claim and the word of it, which is long on a slow disk, and at its end a
            # run seems to have none: look a second time, while no claim is under way.
            await asyncio.sleep(_SECOND_LOOK_S)
            async with self._worker.without_claims():
                claimed = set(self._worker.claimed_ids)
                strays &= await self._strays() - claimed
        if self.runs.is_closed:
            return []  # what could not be put back in time is recovered at the next start
        for run_id in strays:
            log.error("run has no reason to go on", extra={"run_id": run_id})
        return sorted(strays)

    async def _strays(self) -> set[str]:
        found = await until_read(lambda: self._store.runs.strays(owner=self._boot_id))
        return set(found) - set(self._worker.claimed_ids)

    @staticmethod
    def _report(recovery: Recovery) -> None:
        if recovery.requeued:
            log.info("runs of a dead daemon go on", extra={"runs": recovery.requeued})
        for run_id in recovery.quarantined:
            dead = {"run_id": run_id, "reason": "crash", "error": "It has crashed the daemon."}
            log.error("Task moved to dead-letter", extra=dead)
