"""Hooks: an author's functions that are called with each change of a run's status.

A hook is called after the change is committed, at least once for each, in the order of the changes,
one after another; also for those that were made while the daemon was down. How far it has come is
written down in batches, so that after a crash the last calls may come again, with the same
`StatusUpdate.id`. A hook never holds up a run, and none holds up another.

A call that fails is made again as the hook's policy says. What cannot be mended is logged, counted
and skipped.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from agency.core import json
from agency.core.clock import Clock
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.core.records import dataclass
from agency.domain.run import RunStatus
from agency.domain.update import Update, UpdateType
from agency.engine import foreign
from agency.engine.patience import until_read
from agency.engine.pool import ThreadPool
from agency.engine.retry import Retry, next_delay_s
from agency.errors import InvalidInput, ShuttingDown, StoreFull
from agency.ports.updates import HookStep, UpdateStore

log = logging.getLogger(__name__)

HOOK_MARK = "__agency_on_update__"
HOOK_RETRY = Retry(attempts=5, base_s=0.5, cap_s=30.0)
LOOK_ROWS_MAX = 1000
"""Entries of the journal that one look goes through."""
PAUSE_S = 0.05
"""Least time between two looks of a hook: what is committed meanwhile is found together."""
SAVE_S = 1.0
"""How far hooks have come is written down so often at most, in one commit for all of them."""

STOP_S = 1.0
"""How long a call that is under way may take when the daemon stops."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """A change of a run's status, as a hook is told.

    Attributes:
        id: Rises with each update of the database; the same when a call comes again.
        name: The caller's own name for the run.
        status: The new one.
        attempt: Try of the run as a whole, from 1.
        reason: Of a suspension: what the run waits for, or the operator's words; else empty.
        error_code: Why the run did not succeed; else empty.
        at: When it changed.
    """

    id: int
    run_id: str
    workflow: str
    name: str | None
    queue: str
    session_id: str | None
    status: RunStatus
    attempt: int
    reason: str
    error_code: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A hook as it was marked.

    Attributes:
        statuses: It is called when a run gets one of these; empty means any.
        timeout_s: Seconds that one call of an async function may take.
        source: File that it comes from, or empty.
    """

    name: str
    function: Callable[[StatusUpdate], Any]
    statuses: frozenset[RunStatus]
    retry: Retry
    timeout_s: float
    source: str = ""


def on_update(
    name: str,
    *,
    statuses: Iterable[RunStatus | str] = (),
    retry: Retry = HOOK_RETRY,
    timeout_s: float = 60.0,
) -> Callable[[Function], Function]:
    """Mark a function ``(update)`` to be called with each change of a run's status.

    Put it into a file of workflows. It may be called twice with the same update, after a crash or
    when the first call has failed.

    Args:
        name: How far it has come is kept under this name, over restarts.
        statuses: Only changes to these; by default all.
        retry: How often and how fast a failed call is repeated; after that the update is skipped.
        timeout_s: Seconds that one call may take. An async function is stopped then; a plain one,
            which runs in a thread of its own, is waited for.

    Raises:
        InvalidInput: a status that there is not, or a name that cannot be used.
    """
    if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise InvalidInput(f"The hook name {name!r} cannot be used.")
    if timeout_s <= 0:
        raise InvalidInput(f"The hook {name!r} has no time: timeout_s={timeout_s:g}.")
    try:
        wanted = frozenset(RunStatus(status) for status in statuses)
    except ValueError as error:
        known = ", ".join(RunStatus)
        raise InvalidInput(f"The hook {name!r}: {error}.", hint=f"Use {known}.") from error

    def mark(function: Function) -> Function:
        hook = Hook(name=name, function=function, statuses=wanted, retry=retry, timeout_s=timeout_s)
        setattr(function, HOOK_MARK, hook)
        return function

    return mark


class Hooks:
    """Calls the hooks of the registry, each in a task of its own."""

    def __init__(
        self, *, store: UpdateStore, clock: Clock, hooks: Sequence[Hook], source: random.Random
    ) -> None:
        self._store = store
        self._clock = clock
        self._source = source
        self._hooks = [_Running(hook) for hook in hooks]
        self._nudged: set[asyncio.Event] = set()

    async def open(self) -> None:
        """Find out how far each hook has come; a new one begins here."""
        for running in self._hooks:
            name = running.hook.name
            try:
                running.begin(await self._store.open_hook(name, now=self._clock.now()))
            except StoreFull:
                # It is noted with its first calls instead.
                log.warning("no room to note a new hook", extra={"hook": name})
                running.begin(await until_read(self._store.newest))

    def told(self) -> int | None:
        """Tell the newest update of which all hooks were told; None: there is no hook."""
        return min((running.position for running in self._hooks), default=None)

    async def serve(self, stop: asyncio.Event) -> None:
        """Call hooks until ``stop`` is set; then note how far they have come."""
        if not self._hooks:
            return
        leave = self._store.listen(self._nudge)
        try:
            async with asyncio.TaskGroup() as group:
                following = [
                    group.create_task(self._follow(running, stop), name=f"hook:{running.hook.name}")
                    for running in self._hooks
                ]
                group.create_task(self._keep(stop), name="hooks:keep")
                await stop.wait()
                _, late = await asyncio.wait(following, timeout=STOP_S)
                for task in late:
                    task.cancel()  # what it was called with comes again
        finally:
            leave()
            await self._save()
            for running in self._hooks:
                running.close()

    def _nudge(self) -> None:
        for nudged in self._nudged:
            nudged.set()

    async def _follow(self, running: _Running, stop: asyncio.Event) -> None:
        nudged = asyncio.Event()
        self._nudged.add(nudged)
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: nudged.set())
        try:
            while not stop.is_set():
                nudged.clear()
                seen = running.position
                look = functools.partial(
                    self._store.tail,
                    after=seen,
                    types=frozenset({UpdateType.STATUS}),
                    runs=frozenset(),
                    limit=LOOK_ROWS_MAX,
                )
                page = await until_read(look)
                for update in page.updates:
                    if stop.is_set():
                        return
                    await self._tell(running, update)
                running.position = page.seen
                if page.seen == seen:
                    await nudged.wait()
                    await _rest(stopped, PAUSE_S)
        except ShuttingDown:
            log.debug("the store is closed", extra={"hook": running.hook.name})
        finally:
            self._nudged.discard(nudged)
            stopped.cancel()

    async def _tell(self, running: _Running, update: Update) -> None:
        """Call a hook until it has taken the update or is not to be asked any more."""
        hook = running.hook
        if not hook.statuses or update.status in hook.statuses:
            told = _told(update)
            attempt = 1
            while True:
                outcome = await foreign.attempt(running.call(told))
                if isinstance(outcome, foreign.Returned):
                    running.calls += 1
                    break
                delay = next_delay_s(outcome.error, attempt, hook.retry, self._source)
                fields = {
                    "hook": hook.name,
                    "update": update.id,
                    "run_id": update.run_id,
                    "status": update.status.value,
                    "attempt": attempt,
                    "error": f"{type(outcome.error).__name__}: {foreign.text_of(outcome.error)}"[
                        :500
                    ],
                }
                if delay is None:
                    running.skipped += 1
                    log.error("hook skipped an update", extra=fields, exc_info=outcome.error)
                    break
                log.warning("hook failed, will be called again", extra=fields)
                await asyncio.sleep(delay)
                attempt += 1
        running.position = update.id

    async def _keep(self, stop: asyncio.Event) -> None:
        """Note how far the hooks have come, from time to time while they come on."""
        while not stop.is_set():
            pending = [running.moved.wait() for running in self._hooks]
            waiting = [asyncio.ensure_future(one) for one in (*pending, stop.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()
            try:
                async with asyncio.timeout(SAVE_S):
                    await stop.wait()
            except TimeoutError:
                await self._save()

    async def _save(self) -> None:
        steps = [step for running in self._hooks if (step := running.step()) is not None]
        if not steps:
            return
        try:
            await self._store.save_hooks(steps, now=self._clock.now())
        except (StoreFull, ShuttingDown) as error:
            # The calls since the last note come again after a crash; the next note has them all.
            log.warning("no room to note how far hooks have come", extra={"why": error.code})
            return
        for running, step in self._noted(steps):
            running.note(step)

    def _noted(self, steps: Sequence[HookStep]) -> Iterable[tuple[_Running, HookStep]]:
        by_name = {running.hook.name: running for running in self._hooks}
        return ((by_name[step.name], step) for step in steps)


class _Running:
    """A hook and how far it has come, and how far of that is written down."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.calls = 0
        self.skipped = 0
        self.moved = asyncio.Event()
        self._position = 0
        self._noted = 0
        self._threads = ThreadPool(1)
        self._is_async = inspect.iscoroutinefunction(hook.function)

    @property
    def position(self) -> int:
        """Number of the last update that it is done with."""
        return self._position

    @position.setter
    def position(self, number: int) -> None:
        self._position = number
        if number > self._noted:
            self.moved.set()

    def begin(self, number: int) -> None:
        """Go on from where it has come to by an earlier daemon."""
        self._position = self._noted = number

    def step(self) -> HookStep | None:
        """Tell what is not written down yet, or None."""
        if self._position == self._noted:
            return None
        return HookStep(
            name=self.hook.name,
            position=self._position,
            calls=self.calls,
            skipped=self.skipped,
        )

    def note(self, step: HookStep) -> None:
        """Take note that this was written down."""
        self._noted = step.position
        self.calls -= step.calls
        self.skipped -= step.skipped
        if self._position == self._noted:
            self.moved.clear()

    async def call(self, told: StatusUpdate) -> None:
        """Call the author's function: an async one with its time limit, a plain one in a thread."""
        if not self._is_async:
            made = await self._threads.submit(functools.partial(self.hook.function, told))
            if not inspect.isawaitable(made):
                return
        else:
            made = self.hook.function(told)
        async with asyncio.timeout(self.hook.timeout_s):
            await made

    def close(self) -> None:
        """Let its thread end when its function has returned."""
        self._threads.close()


async def _rest(stopped: asyncio.Future[Any], pause_s: float) -> None:
    await asyncio.wait([stopped], timeout=pause_s)


def _told(update: Update) -> StatusUpdate:
    data = json.decode(update.data) if update.data else {}
    return StatusUpdate(
        id=update.id,
        run_id=update.run_id,
        workflow=update.workflow,
        name=update.name,
        queue=update.queue,
        session_id=update.session_id,
        status=update.status,
        attempt=data.get("attempt", 1),
        reason=data.get("reason", ""),
        error_code=data.get("error") or "",
        at=update.at,
    )
