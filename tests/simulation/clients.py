"""Those who use the daemon, each at moments of the seed: they start, send, answer, hold, cancel.

What they are told is noted by the witness. A refusal is no fault: the run was faster, or the disk
was full, or the daemon was about to stop.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agency.domain.entry import Entry, EntryKind
from agency.domain.run import LIVE, RETRYABLE, Run, RunKind, RunStatus
from agency.domain.wait import Wait
from agency.engine.engine import Engine
from agency.engine.lineage import AnewWish, RetryWish
from agency.engine.runs import StartRequest
from agency.errors import (
    Conflict,
    Fenced,
    InvalidInput,
    NotFound,
    ReadTooLong,
    ShuttingDown,
    StoreBroken,
    StoreFull,
)
from agency.ports.store import Claim, RunDetail, RunFilter, Store, Writes
from tests.simulation.disk import Disk
from tests.simulation.programs import EVENTS, Programs
from tests.simulation.seams import SimulatedClock
from tests.simulation.witness import Witness, short

REFUSALS = (Conflict, NotFound, StoreFull, ReadTooLong, ShuttingDown, StoreBroken, InvalidInput)
SESSIONS = ("s1", "s2")


@dataclass
class World:
    """All that lives longer than the daemon.

    Attributes:
        claims: Every claim that was ever handed out, oldest first.
        wishes: Starts that are still to be asked for.
        anew_left: So many runs may still be begun again from others.
    """

    seed: int
    source: random.Random
    witness: Witness
    programs: Programs
    clock: SimulatedClock
    disk: Disk
    claims: list[Claim]
    wishes: list[StartRequest]
    anew_left: int
    with_faults: frozenset[str]


class Clients:
    """The clients of one life."""

    def __init__(self, world: World, engine: Engine, store: Store) -> None:
        self._world = world
        self._engine = engine
        self._runs = engine.runs
        self._store = store
        self._source = world.source
        self._witness = world.witness

    async def serve(self, stop: asyncio.Event, *, pause_s: float) -> None:
        """Do this and that, until it is enough."""
        doings: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (3.0, self.start),
            (5.0, self.send),
            (5.0, self.answer),
            (1.0, self.race),
            (0.6, self.hold),
            (0.4, self.cancel),
            (1.0, self.retry),
            (0.2, self.begin_again),
        ]
        faults = self._world.with_faults
        if "zombies" in faults:
            doings.append((2.0, self.write_late))
        if "model" in faults:
            doings.append((0.7, self.toggle_model))
        if "clock" in faults:
            doings.append((0.5, self.jump))
        if "full" in faults:
            doings.append((0.5, self.toggle_room))
        if "slow" in faults:
            doings.append((0.5, self.toggle_speed))
        weights = [weight for weight, _ in doings]
        while not stop.is_set():
            await asyncio.sleep(self._source.expovariate(1 / pause_s))
            (_, do) = self._source.choices(doings, weights)[0]
            await self.attempt(do)

    async def attempt(self, do: Callable[[], Awaitable[None]]) -> None:
        try:
            await do()
        except REFUSALS as refusal:
            self._witness.note("refused", getattr(do, "__name__", "?"), type(refusal).__name__)

    # --- doing things to runs ---------------------------------------------------------------

    async def start(self) -> None:
        """Ask for the next run; sometimes twice at once, as whoever has lost the answer does."""
        if not self._world.wishes:
            return
        request = self._world.wishes.pop()
        if request.idempotency_key is None:
            started = await self._runs.start(request)
            self._accepted(started.run)
            return
        answers = await asyncio.gather(
            self._runs.start(request), self._runs.start(request), return_exceptions=True
        )
        ids = set()
        for answer in answers:
            if not isinstance(answer, BaseException):
                ids.add(answer.run.id)
                self._accepted(answer.run)
            elif not isinstance(answer, REFUSALS):
                raise answer
        if not ids:
            self._world.wishes.insert(0, request)
        if len(ids) > 1:
            self._witness.fault(f"one key has made several runs: {sorted(ids)}")

    def _accepted(self, run: Run) -> None:
        self._witness.note("accepted", short(run.id), run.workflow)
        if not self._witness.is_blind:
            self._witness.accepted[run.id] = run.workflow

    async def send(self) -> None:
        run = await self._choose(self._world.source.random() < 0.1)
        if run is None:
            return
        event_id = f"e{self._source.randrange(1 << 40)}"
        name = self._source.choice(EVENTS)
        times = 2 if self._source.random() < 0.2 else 1
        for _ in range(times):
            await self._runs.send(run.id, name=name, payload=event_id, event_id=event_id)
            self._witness.note("sent", short(run.id), name, event_id)
            if not self._witness.is_blind:
                self._witness.sent.add((run.id, event_id))

    async def answer(self) -> None:
        run = await self._choose()
        if run is not None:
            await self.answer_run(await self._runs.get(run.id))

    async def answer_run(self, detail: RunDetail, *, with_events: bool = False) -> None:
        """Answer the first thing that a suspended run waits for and somebody can answer."""
        run_id = detail.run.id
        if detail.snapshot_id is None:
            return
        for wait in detail.waits:
            if wait.kind == "version":
                self._witness.fault(f"a false mismatch in {run_id}: {wait.show}")
                await self._runs.cancel(run_id)
                return
            early = wait.kind in {"timer", "resource"} and self._source.random() < 0.3
            if wait.kind in {"operator", "input", "decision"} or early:
                await self._resume(detail, wait)
                return
            if wait.kind == "event" and with_events:
                event_id = f"last{self._source.randrange(1 << 40)}"
                await self._runs.send(run_id, name=wait.name, payload=event_id, event_id=event_id)
                return

    async def _resume(self, detail: RunDetail, wait: Wait) -> None:
        run_id = detail.run.id
        assert detail.snapshot_id is not None
        value = self._value(run_id, wait)
        await self._runs.resume(
            detail.snapshot_id,
            wait=wait.key,
            input=value,
            has_input=wait.kind not in {"operator", "timer", "resource"},
        )
        self._witness.note("answered", short(run_id), wait.key, value)

    def _value(self, run_id: str, wait: Wait) -> Any:
        if wait.kind == "input":
            return self._source.random()
        if wait.kind != "decision":
            return None
        key = wait.show["step"]
        decision = self._source.choice(["again", "done", "fail"])
        if decision == "again":
            self._witness.decided_again[run_id, key] += 1
        if decision != "done":
            return {"decision": decision}
        does_fit = self._source.random() < 0.8
        return {"decision": decision, "result": {"key": key, "serial": -1} if does_fit else "paid"}

    async def race(self) -> None:
        """Answer one wait from several sides at once: one wins, the others are told so."""
        run = await self._choose()
        if run is None:
            return
        detail = await self._runs.get(run.id)
        waits = [wait for wait in detail.waits if wait.kind == "input"]
        if detail.snapshot_id is None or not waits:
            return
        answers = await asyncio.gather(
            *[
                self._runs.resume(detail.snapshot_id, wait=waits[0].key, input=n, has_input=True)
                for n in range(3)
            ],
            return_exceptions=True,
        )
        won = [n for n, answer in enumerate(answers) if not isinstance(answer, BaseException)]
        self._witness.note("raced", short(run.id), waits[0].key, won)
        if len(won) > 1:
            self._witness.fault(f"several have answered one wait: {run.id} {waits[0].key}")
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, REFUSALS):
                raise answer

    async def hold(self) -> None:
        run = await self._choose()
        if run is None:
            return
        snapshot = await self._runs.suspend(run.id, reason="hold", wait_s=0)
        self._witness.note("held", short(run.id), snapshot is not None)

    async def cancel(self) -> None:
        run = await self._choose()
        if run is None:
            return
        self._witness.ended_by.add(run.id)
        detail = await self._runs.cancel(run.id)
        self._witness.note("cancelled", short(run.id), detail.run.status)

    async def retry(self) -> None:
        """Let a run go on from what has failed."""
        which = RunFilter(statuses=RETRYABLE)
        runs = await self._store.runs.list(which, before=None, limit=100)
        if not runs:
            return
        run = self._source.choice(runs)
        self._witness.note("retries", short(run.id), run.status)
        preview = await self._engine.lineage.retry(run.id, RetryWish())
        self._witness.note("retried", short(run.id), preview.run.generation)

    async def begin_again(self) -> None:
        """Start a run from what another has recorded, or from nothing."""
        if self._world.anew_left <= 0:
            return
        run = await self._choose(any_run=True)
        if run is None or run.kind == RunKind.SAGA:
            return
        self._world.anew_left -= 1
        wish = AnewWish()
        if self._source.random() < 0.3:
            preview = await self._engine.lineage.rerun(run.id, wish)
        else:
            preview = await self._engine.lineage.fork(run.id, wish)
        self._witness.note("begun again", short(run.id), short(preview.run.id))
        self._accepted(preview.run)

    async def _choose(self, any_run: bool = False) -> Run | None:
        statuses: frozenset[RunStatus] = frozenset() if any_run else frozenset(LIVE)
        runs = await self._store.runs.list(RunFilter(statuses=statuses), before=None, limit=100)
        return self._source.choice(runs) if runs else None

    async def live_runs(self) -> Sequence[Run]:
        which = RunFilter(statuses=frozenset(LIVE))
        return await self._store.runs.list(which, before=None, limit=500)

    # --- accidents --------------------------------------------------------------------------

    async def toggle_model(self) -> None:
        programs = self._world.programs
        programs.is_model_there = not programs.is_model_there
        self._witness.note("model", "there" if programs.is_model_there else "away")

    async def jump(self) -> None:
        ahead_s = self._source.choice([-400.0, -30.0, -1.0, 1.0, 30.0, 400.0])
        self._world.clock.ahead_s += ahead_s
        self._witness.note("the clock jumps", ahead_s)

    async def toggle_room(self) -> None:
        disk = self._world.disk
        disk.is_full = not disk.is_full
        self._witness.note("disk", "full" if disk.is_full else "has room")

    async def toggle_speed(self) -> None:
        disk = self._world.disk
        disk.sync_s_max = self._source.choice([0.0, 0.002, 0.3, 4.0, 40.0])
        disk.read_s_max = self._source.choice([0.0, 0.001, 0.3, 4.0, 40.0])
        self._witness.note("disk", disk.sync_s_max, disk.read_s_max)

    async def write_late(self) -> None:
        """Let an old attempt write: it has not heard that its claim is over."""
        stale = [claim for claim in self._world.claims if self._is_over(claim)]
        if not stale:
            return
        claim = self._source.choice(stale)
        now = self._world.clock.now()
        entry = Entry(f"zombie#{self._source.randrange(1 << 30)}", EntryKind.STEP, b"1", now)
        writes = Writes(entries=[entry])
        runs = self._store.runs
        acts: list[Callable[[], Awaitable[object]]] = [
            lambda: runs.record(claim, writes, now=now),
            lambda: runs.record(claim, Writes(progress=1, has_progress=True), now=now),
            lambda: runs.release(claim, writes, available_at=now, now=now),
            lambda: runs.suspend(
                claim, writes, blocked_on=[], snapshot_id=entry.key, reason="late", now=now
            ),
            lambda: runs.finish(
                claim, writes, status=RunStatus.COMPLETED, output=None, error=None, now=now
            ),
        ]
        try:
            await self._source.choice(acts)()
        except Fenced:
            self._witness.note("fenced", short(claim.run_id), claim.epoch)
        else:
            self._witness.fault(f"an old attempt could write: {claim}")

    def _is_over(self, claim: Claim) -> bool:
        connection: sqlite3.Connection | None = self._witness.connection
        assert connection is not None
        row = connection.execute(
            "SELECT epoch, status FROM runs WHERE number = ?", (claim.number,)
        ).fetchone()
        return row is None or row != (claim.epoch, "running")
