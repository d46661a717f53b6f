"""The sender: it reads the journals of runs that somebody is to be told of, and posts what is new.

The journal is the outbox. A push remembers the number of the entry that it has come to, and that is
written down after each notification that was taken: so each is told at least once, in order, and
the end always, also when the daemon is killed in between. A notification that comes twice has the
same id.

While nobody is to be told it does nothing. What it holds in memory are numbers of pushes that have
something to tell; all else is read from the store.

A failed attempt is made again after a growing pause. What the receiver refuses for good, or has not
taken after many attempts, is logged, counted and left out.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from agency.a2a.push.posting import Outcome, Poster
from agency.a2a.push.sealing import Sealer
from agency.core.backoff import delay_s
from agency.core.clock import Clock, monotonic_s
from agency.core.records import dataclass
from agency.domain.push import Push, PushProtocol, PushState
from agency.domain.update import Update
from agency.engine.patience import until_read
from agency.errors import (
    RunNotFound,
    SecretBroken,
    SecretNotFound,
    ShuttingDown,
    StoreFull,
    TaskNotFound,
    VaultLocked,
)
from agency.ports.push import PushStore
from agency.ports.updates import UpdateStore

log = logging.getLogger(__name__)

LOOK_ROWS_MAX = 1000
"""Entries of the journal that one look goes through."""
PAGE_ROWS = 100
"""Entries of one run that are read at once."""
PAUSE_S = 0.05
"""Least time between two looks: what is committed meanwhile is found together."""
SENDING_MAX = 32
"""Notifications on their way at once."""
SENDING_PER_HOST_MAX = 4
"""Of these to one host: a dead one must not hold up the others."""
TELLINGS_MAX = 256
"""Tasks whose last told state is remembered; of others a state may be told twice."""
ERROR_CHARACTERS_MAX = 500
"""Of what is kept of a failed attempt."""
STOP_S = 1.0
"""Time for what is on its way when the daemon stops; what is not taken then comes again."""

TOKEN_HEADER = "X-A2A-Notification-Token"  # noqa: S105  the name of a header
"""Source: A2A 1.0, section 4.3.3."""
ID_HEADER = "X-A2A-Notification-Id"
"""The same when a notification comes again. The protocol has no such header; this one is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How failed attempts are made again.

    Attributes:
        tries: Attempts for one notification.
        age_s: One that is older is given up with its first failed attempt.
        base_s, factor, cap_s: Of the pauses; see `agency.core.backoff.delay_s`.
        fault_s: Pause when the store cannot be read, or has no room to note what was taken.
    """

    tries: int = 15
    age_s: float = 86_400.0
    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 3600.0
    fault_s: float = 5.0


class Telling(Protocol):
    """What is told of one push's task."""

    async def bodies(self, update: Update) -> Sequence[bytes]:
        """Write a change as the push wants it: one or more notifications, or none.

        The end of a task is always told; that of a run that goes on as another is not its task's
        end, and gives none.

        Raises:
            TaskNotFound, RunNotFound: it is gone.
        """
        ...


class News(Protocol):
    """What is told of tasks."""

    async def begin(self, push: Push) -> Telling:
        """Begin to tell of a push's task as the run that it is now.

        Raises:
            TaskNotFound: it is gone.
        """
        ...


class PushSender:
    """Tells whoever is to be told. `serve` must run for it."""

    def __init__(
        self,
        *,
        store: PushStore,
        updates: UpdateStore,
        news: News,
        poster: Poster,
        sealer: Sealer,
        clock: Clock,
        pace: Pace | None = None,
        source: random.Random | None = None,
    ) -> None:
        """Hold what it works with; nothing is read before `serve`."""
        self._store = store
        self._updates = updates
        self._news = news
        self._poster = poster
        self._sealer = sealer
        self._clock = clock
        self._pace = pace or Pace()
        self._source = source or random.Random()  # noqa: S311  only for the jitter
        self._nudged = asyncio.Event()
        self._ready: dict[int, None] = {}
        self._later: list[tuple[float, int]] = []
        self._due: dict[int, float] = {}
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._again: set[int] = set()
        self._hosts: dict[str, int] = {}
        self._held: dict[str, dict[int, None]] = {}
        self._partly: dict[int, tuple[tuple[int, int], int]] = {}
        self._unnoted: dict[int, Push] = {}
        self._tellings: dict[int, tuple[tuple[int, str], Telling]] = {}
        self._position: int | None = None

    def expect(self, number: int) -> None:
        """Take note of a push that was put; it may have something to tell."""
        self._make_ready(number)
        self._nudged.set()

    @property
    def is_listening(self) -> bool:
        """Commits are heard, because somebody is to be told."""
        return self._position is not None

    # --- the loop

    async def serve(self, stop: asyncio.Event) -> None:
        """Tell what is committed until ``stop`` is set."""
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: self._nudged.set())
        try:
            is_wanted = await self._find_unfinished()
            while not stop.is_set():
                if is_wanted or self._has_work():
                    leave = self._updates.listen(self._nudged.set)
                    try:
                        await self._attend(stop, stopped)
                    finally:
                        leave()
                        self._position = None
                    is_wanted = False
                    continue
                self._nudged.clear()
                if not self._has_work() and not stop.is_set():
                    await self._nudged.wait()
        except ShuttingDown:
            log.debug("the store is closed")
        finally:
            stopped.cancel()
            await self._let_go()

    async def _find_unfinished(self) -> bool:
        """Find what an earlier daemon has left to tell, and whether anybody is to be told."""
        newest = await until_read(self._updates.newest)
        looked = await until_read(partial(self._store.changed, after=newest, limit=1))
        after = 0
        while looked.any_active:
            read = partial(self._store.unfinished, after=after, limit=LOOK_ROWS_MAX)
            found = await until_read(read)
            for number in found:
                self._make_ready(number)
            if len(found) < LOOK_ROWS_MAX:
                break
            after = found[-1]
        return looked.any_active

    async def _attend(self, stop: asyncio.Event, stopped: asyncio.Future[Any]) -> None:
        """Tell as long as anybody is to be told."""
        # Before anything is read of a run: what is recorded from here on is found by the look.
        self._position = await until_read(self._updates.newest)
        while not stop.is_set():
            self._nudged.clear()
            is_wanted = await self._look()
            self._take_due()
            self._send()
            if not is_wanted and not self._has_work():
                return
            wait_s = None
            if self._later:
                wait_s = max(0.0, self._later[0][0] - monotonic_s())
            if not self._nudged.is_set():
                await _first(self._nudged, wait_s)
            await asyncio.wait([stopped], timeout=PAUSE_S)

    async def _look(self) -> bool:
        """Find whom the newest entries concern; tell whether any push is active."""
        assert self._position is not None
        while True:
            after = self._position
            look = partial(self._store.changed, after=after, limit=LOOK_ROWS_MAX)
            looked = await until_read(look)
            for number in looked.numbers:
                self._make_ready(number)
            self._position = looked.seen
            if looked.seen - after < LOOK_ROWS_MAX:
                return looked.any_active

    def _has_work(self) -> bool:
        return bool(self._ready or self._sending or self._later or self._held)

    def _make_ready(self, number: int) -> None:
        if number in self._sending:
            self._again.add(number)
        else:
            self._ready[number] = None

    def _take_due(self) -> None:
        now_s = monotonic_s()
        while self._later and self._later[0][0] <= now_s:
            due_s, number = heapq.heappop(self._later)
            if self._due.get(number) == due_s:
                del self._due[number]
                self._make_ready(number)

    def _send(self) -> None:
        while self._ready and len(self._sending) < SENDING_MAX:
            number = next(iter(self._ready))
            del self._ready[number]
            task = asyncio.get_running_loop().create_task(self._work(number), name=f"push:{number}")
            self._sending[number] = task
            task.add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        self._sending.pop(number, None)
        if number in self._again:
            self._again.discard(number)
            self._ready[number] = None
        self._nudged.set()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ShuttingDown):
            log.error("push notification failed", extra={"push": number}, exc_info=error)
            self._wait(number, self._pace.fault_s)

    def _wait(self, number: int, pause_s: float) -> None:
        due_s = monotonic_s() + pause_s
        if due_s < self._due.get(number, math.inf):
            # An entry that was there before is passed over when its time comes.
            self._due[number] = due_s
            heapq.heappush(self._later, (due_s, number))
            self._nudged.set()

    async def _let_go(self) -> None:
        if self._sending:
            _, late = await asyncio.wait(self._sending.values(), timeout=STOP_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    # --- one push

    async def _work(self, number: int) -> None:
        """Tell all that a push has left to tell, or until an attempt fails."""
        push = await until_read(partial(self._store.find, number))
        unnoted = self._unnoted.get(number)
        if push is None or unnoted is None or unnoted.revision != push.revision:
            self._unnoted.pop(number, None)
            unnoted = None
        if push is None or push.state is not PushState.ACTIVE:
            return
        push = unnoted or push
        if push.due_at is not None and (left_s := self._left_s(push)) > 0:
            self._wait(number, left_s)
            return
        host = urlsplit(push.url).netloc.lower()
        if self._hosts.get(host, 0) >= SENDING_PER_HOST_MAX:
            self._held.setdefault(host, {})[number] = None
            return
        self._hosts[host] = self._hosts.get(host, 0) + 1
        try:
            is_noted = unnoted is None or await self._note(push)
            if is_noted and push.state is PushState.ACTIVE:
                await self._tell_all(push)
        except (TaskNotFound, RunNotFound):
            log.info("task is gone, nobody is told", extra={"run_id": push.run_id})
        except StoreFull as error:
            log.warning("no room to note a push notification", extra={"why": error.code})
            self._wait(number, self._pace.fault_s)
        finally:
            self._leave(host)

    def _left_s(self, push: Push) -> float:
        """Seconds until the next attempt; bounded, because clocks jump."""
        assert push.due_at is not None
        left_s = (push.due_at - self._clock.now()).total_seconds()
        return min(left_s, 86_400.0)

    def _leave(self, host: str) -> None:
        left = self._hosts[host] - 1
        if left:
            self._hosts[host] = left
        else:
            del self._hosts[host]
        if waiting := self._held.get(host):
            number = next(iter(waiting))
            del waiting[number]
            self._make_ready(number)
            if not waiting:
                del self._held[host]

    async def _tell_all(self, push: Push) -> None:
        place = (push.revision, push.run_id)
        known, telling = self._tellings.pop(push.number, (place, None))
        if telling is None or known != place:
            telling = await self._news.begin(push)
        while True:
            read = partial(self._updates.of_run, push.run_id, after=push.position, limit=PAGE_ROWS)
            page = await until_read(read)
            silent = 0
            for update in page.updates:
                bodies = await telling.bodies(update)
                if bodies:
                    silent = 0
                    told = await self._tell(push, update, bodies)
                    if told is None or told.state is not PushState.ACTIVE:
                        return
                    push = told
                    continue
                push = replace(push, position=update.id)
                silent += 1
                if update.is_end:
                    # The task goes on as another run, whose entries are to be read now.
                    await self._note(push)
                    self._make_ready(push.number)
                    return
            if silent == len(page.updates) == PAGE_ROWS and not await self._note(push):
                # Else they would be read through again after each entry.
                self._make_ready(push.number)
                return
            if not page.updates:
                # It knows what it has told last, and does not say it twice.
                self._tellings[push.number] = (place, telling)
                if len(self._tellings) > TELLINGS_MAX:
                    del self._tellings[next(iter(self._tellings))]
                return

    async def _tell(self, push: Push, update: Update, bodies: Sequence[bytes]) -> Push | None:
        """Tell of one change; None when there is nothing more to do now.

        What the receiver has taken of it before an attempt failed is not sent again, unless the
        daemon was killed meanwhile.
        """
        outcome = Outcome(is_final=True)
        for index in range(self._begin(push, update), len(bodies)):
            outcome = await self._post(push, update, index, bodies[index])
            now = self._clock.now()
            if outcome.is_taken:
                push = replace(push, tries=0, sent=push.sent + 1, sent_at=now, error="")
                continue
            if not outcome.is_final and not self._is_enough(push, update):
                self._partly[push.number] = ((push.revision, update.id), index)
                await self._put_off(push, update, outcome)
                return None
            error = outcome.reason[:ERROR_CHARACTERS_MAX]
            log.error("push notification given up", extra=_fields(push, update, error))
            push = replace(push, tries=0, skipped=push.skipped + 1, error=error, error_at=now)
        state = push.state
        if update.is_end:
            state = PushState.DONE if outcome.is_taken else PushState.GIVEN_UP
        push = replace(push, position=update.id, due_at=None, state=state)
        if await self._note(push):
            return push
        self._make_ready(push.number)  # it is gone, or was set anew meanwhile
        return None

    async def _note(self, push: Push) -> bool:
        """Write down how far a push has come; without room it is done later, before all else."""
        self._unnoted[push.number] = push
        is_noted = await self._store.note(push)
        del self._unnoted[push.number]
        return is_noted

    def _begin(self, push: Push, update: Update) -> int:
        """Tell with which notification of a change to go on."""
        place, index = self._partly.pop(push.number, (None, 0))
        return index if place == (push.revision, update.id) else 0

    async def _put_off(self, push: Push, update: Update, outcome: Outcome) -> None:
        """Note a failed attempt, and make another one later."""
        now = self._clock.now()
        pause_s = self._pause_s(push.tries + 1, outcome)
        error = outcome.reason[:ERROR_CHARACTERS_MAX]
        failed = replace(
            push,
            tries=push.tries + 1,
            due_at=now + timedelta(seconds=pause_s),
            error=error,
            error_at=now,
        )
        log.warning("push notification failed, comes again", extra=_fields(push, update, error))
        if await self._note(failed):
            self._wait(push.number, pause_s)
        else:
            self._make_ready(push.number)

    async def _post(self, push: Push, update: Update, index: int, body: bytes) -> Outcome:
        is_new = push.protocol is PushProtocol.V1_0
        headers = {
            "Content-Type": "application/a2a+json" if is_new else "application/json",
            ID_HEADER: f"{push.task_id}-{update.id}-{index}",
        }
        try:
            secrets = await self._sealer.open(push.sealed, task_id=push.task_id, push_id=push.id)
        except VaultLocked as error:
            return Outcome(is_final=False, reason=error.message)
        except (SecretNotFound, SecretBroken):
            reason = "Its token and credentials cannot be read any more; set it anew."
            return Outcome(is_final=True, reason=reason)
        if secrets.token:
            headers[TOKEN_HEADER] = secrets.token
        if push.scheme and secrets.credentials:
            headers["Authorization"] = f"{push.scheme} {secrets.credentials}"
        return await self._poster.post(push.url, body, headers, now=self._clock.now())

    def _is_enough(self, push: Push, update: Update) -> bool:
        age_s = (self._clock.now() - update.at).total_seconds()
        return push.tries + 1 >= self._pace.tries or age_s > self._pace.age_s

    def _pause_s(self, attempt: int, outcome: Outcome) -> float:
        pause_s = delay_s(
            attempt,
            base_s=self._pace.base_s,
            factor=self._pace.factor,
            cap_s=self._pace.cap_s,
            jitter=True,
            source=self._source,
        )
        return max(pause_s, outcome.retry_after_s)


def _fields(push: Push, update: Update, error: str) -> dict[str, object]:
    return {
        "run_id": push.run_id,
        "push": push.id,
        "update": update.id,
        "attempt": push.tries + 1,
        "error": error,
    }


async def _first(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
