"""All lives of one seed, from the first start of the daemon to the last rest."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Queue as QueueSettings
from agency.core.ids import new_id
from agency.engine.definition import make_definition
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.engine.runs import StartRequest
from agency.errors import StoreBroken
from agency.ports.store import Claim, Store
from agency.storage.sqlite.store import SqliteStore, open_store
from tests.simulation import disk as disk_module
from tests.simulation import invariants
from tests.simulation.clients import SESSIONS, Clients, World
from tests.simulation.disk import Disk, InlineWriter
from tests.simulation.loop import SimulatedLoop, live
from tests.simulation.programs import MODEL, Programs
from tests.simulation.sagas import SAGAS as SAGAS_COUNT
from tests.simulation.sagas import Sagas
from tests.simulation.seams import SimulatedClock, seeded
from tests.simulation.witness import Story, Witness

ACCIDENTS = ("kills", "zombies", "model", "clock", "full", "slow", "io", "stops")
LAST_LIFE_S = 6 * 3600.0
"""Simulated time within which all must have come to rest, once somebody answers everything."""
COMMITS_MAX = 60
_CHECK_CHANCE = 0.15

PROGRAMS = Programs()


SAGAS = Sagas(PROGRAMS)
DEFINITIONS = [make_definition(function) for function in PROGRAMS.workflows()]


def make_registry() -> Registry:
    """Register everything for one life; what a saga remembers must not outlive it."""
    registry = Registry()
    for definition in (*DEFINITIONS, *(saga.definition() for saga in SAGAS.make())):
        registry.add(definition)
    return registry


class Claiming:
    """The store's room of runs, whose claims are noted for those who write late."""

    def __init__(self, inner: Any, claims: list[Claim], witness: Witness) -> None:
        self._inner = inner
        self._claims = claims
        self._witness = witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def claim(self, **how: Any) -> Any:
        runs = await self._inner.claim(**how)
        self._claims += [Claim(run.number, run.id, run.epoch) for run in runs]
        return runs


class Claimed:
    """The store, with that room."""

    def __init__(self, inner: SqliteStore, runs: Claiming) -> None:
        self._inner = inner
        self.runs = runs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ErrorLines(logging.Handler):
    """Lines of the engine's log that must never be written."""

    FAULTS = frozenset(
        {
            "a loop of the engine failed",
            "a run could not be worked on",
            "a run's code does not fit its journal",
            "run has no reason to go on",
            "run lost its execution",
            "work for the end of a losing branch is unknown",
        }
    )

    LEAVES = frozenset({"the store is broken", "a run could not be put back"})

    def __init__(self, witness: Witness) -> None:
        super().__init__(logging.ERROR)
        self._witness = witness

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        self._witness.note("log:", line, getattr(record, "run_id", "")[-6:])
        self._witness.is_broken = self._witness.is_broken or line == "the store is broken"
        self._witness.has_left = self._witness.has_left or line in self.LEAVES
        if line in self.FAULTS:
            cause = record.exc_info[1] if record.exc_info else None
            if isinstance(cause, StoreBroken) or self._witness.is_broken:
                return  # the process is about to end by it
            self._witness.fault(f"the log says: {line}: {getattr(record, 'run_id', '')} {cause!r}")


@contextmanager
def listening(witness: Witness) -> Iterator[None]:
    log = logging.getLogger("agency")
    handler = ErrorLines(witness)
    before = log.level, log.propagate
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
        log.setLevel(before[0])


@contextmanager
def without_collector() -> Iterator[None]:
    """Objects must not die at moments that no seed knows of; what is left is collected after."""
    gc.disable()
    gc.freeze()  # what was there before is not looked through each time
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()


def live_through(
    seed: int,
    template: Path,
    folder: Path,
    bend: Callable[[list[StartRequest]], list[StartRequest]] = list,
) -> Story:
    """Live all lives of a seed, and tell how it went; what is started is bent to what is sought."""
    path = disk_module.copy_template(template, folder)
    witness = Witness()
    clock = SimulatedClock()
    source = random.Random(seed)
    disk = Disk(random.Random(seed + 1), witness.note)
    world = World(
        seed=seed,
        source=source,
        witness=witness,
        programs=PROGRAMS,
        clock=clock,
        disk=disk,
        claims=[],
        wishes=bend(make_wishes(source)),
        anew_left=3,
        # Each seed has only some accidents: one that is always there hides what others show.
        with_faults=frozenset(a for a in ACCIDENTS if source.random() < 0.5),
    )
    SAGAS.forget()
    PROGRAMS.witness, PROGRAMS.source, PROGRAMS.is_model_there = witness, source, True
    with (
        without_collector(),
        listening(witness),
        seeded(random.Random(seed + 2), clock),
        disk_module.without_threads(disk),
    ):
        return Lives(world, path).go_through()


_SAGAS = [f"saga-{number}" for number in range(SAGAS_COUNT)]


def make_wishes(source: random.Random) -> list[StartRequest]:
    """Draw what is to be started."""
    wishes = []
    for number in range(source.randint(1, 6)):
        key = f"key-{number}" if source.random() < 0.5 else None
        wishes.append(
            StartRequest(
                workflow=source.choice(["life", "life", "tough", "tough", *_SAGAS]),
                input={
                    "seed": source.randrange(1 << 30),
                    "depth": 0,
                    "turns": source.choice([0, 0, 0, 1, 2]),
                },
                timeout_s=source.choice([1.0, 20.0, 300.0]) if source.random() < 0.15 else None,
                priority=source.choice([0, 0, 5]),
                session_id=source.choice(SESSIONS) if source.random() < 0.15 else None,
                concurrency_key=source.choice(["k", "l"]) if source.random() < 0.2 else None,
                idempotency_key=key,
                request_hash=key,
            )
        )
    return wishes


class Lives:
    """The lives of a seed, one after another over one database."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._path = path
        self._elapsed_s = 0.0
        self._turns = 0
        self._lives = 0
        source = world.source
        self._settings = EngineSettings(
            linger_s=source.choice([0.0, 0.5, 5.0]),
            linger_runs_max=source.choice([1, 256]),
            runs_max=source.choice([1, 2, 8, 64]),
            resource_poll_s=2.0,
            memory_delay_s=source.choice([0.0, 5.0, 100.0]),
            suspect_alone_s=1.0,
        )
        self._queues = {}
        if source.random() < 0.3:
            self._queues["default"] = QueueSettings(
                concurrency=source.choice([0, 1, 2]), rate=source.choice([0.0, 0.0, 3.0])
            )

    def go_through(self) -> Story:
        world, witness = self._world, self._world.witness
        for _ in range(world.source.randint(0, 4)):
            self._live(is_last=False)
            if witness.faults:
                break
        else:
            self._live(is_last=True)
        statuses = self._examine() if not witness.faults else None
        story = Story(
            seed=world.seed,
            faults=witness.faults,
            trace=list(witness.trace),
            digest=witness.digest,
            runs=len(witness.accepted),
            commits=world.disk.commits,
            lives=self._lives,
            turns=self._turns,
        )
        if statuses is not None:
            story.statuses.update(statuses)
        return story

    def _live(self, *, is_last: bool) -> None:
        world, witness = self._world, self._world.witness
        loop = SimulatedLoop(world.disk.source, start_s=self._elapsed_s)
        loop.set_exception_handler(self._unheard)
        world.clock.elapsed_s = witness.now_s = loop.time
        world.disk.kill_in = world.disk.fail_in = None
        self._lives += 1
        witness.is_blind = witness.is_broken = witness.has_left = False
        witness.note("--- life", self._lives, "the last" if is_last else "")
        if is_last:
            world.disk.is_full = False
        else:
            self._plan_end()
        asyncio.set_event_loop(loop)
        try:
            has_ended = live(loop, self._main(is_last=is_last))
        finally:
            asyncio.set_event_loop(None)
        witness.is_blind = True
        self._elapsed_s = loop.time()
        self._turns += loop.turns
        if has_ended:
            loop.run_until_complete(loop.shutdown_asyncgens())
        left = loop.wind_up()
        if has_ended and left:
            witness.is_blind = False
            witness.fault(f"tasks were left behind: {left}")
        writer = world.disk.writer
        if writer is not None and not has_ended:
            writer.abandon()
        if not has_ended or witness.has_left:
            witness.kills += 1
        world.disk.writer = None
        witness.connection = None

    def _plan_end(self) -> None:
        """Draw what this life ends by."""
        world, source, disk = self._world, self._world.source, self._world.disk
        if "kills" in world.with_faults and source.random() < 0.8:
            disk.kill_in = source.randint(1, COMMITS_MAX)
            disk.kill_before = source.random() < 0.5
        elif "io" in world.with_faults and source.random() < 0.5:
            disk.fail_in = source.randint(1, COMMITS_MAX // 4)
            disk.fail_after = source.random() < 0.5

    def _unheard(self, _: object, context: dict[str, Any]) -> None:
        self._world.witness.fault(
            f"nobody heard of: {context.get('message')}: {context.get('exception')!r}"
        )

    async def _main(self, *, is_last: bool) -> None:
        world, witness, disk = self._world, self._world.witness, self._world.disk
        async with open_store(
            self._path, settings=disk_module.SETTINGS, clock=world.clock
        ) as inner:
            assert isinstance(disk.writer, InlineWriter)
            witness.connection = disk.writer.connection
            disk.on_commit = self._look
            store = cast(Store, Claimed(inner, Claiming(inner.runs, world.claims, witness)))
            async with Engine(
                store=store,
                registry=make_registry(),
                clock=world.clock,
                settings=replace(self._settings),
                boot_id=new_id(),
                health={MODEL: PROGRAMS.look},
                queues=self._queues,
                source=random.Random(world.source.randrange(1 << 30)),
            ) as engine:
                clients = Clients(world, engine, store)
                if is_last:
                    await self._rest(clients)
                else:
                    await self._meddle(clients, engine, inner)
                await self._leave(engine)
            if not is_last:
                invariants.check(witness, disk.writer.connection, invariants.ALWAYS)
            disk.on_commit = lambda _: None

    async def _meddle(self, clients: Clients, engine: Engine, store: SqliteStore) -> None:
        """Let the clients do as they like for a while; a broken store ends it at once."""
        world, source = self._world, self._world.source
        span_s = source.choice([0.5, 5.0, 60.0, 600.0]) * source.random()
        pause_s = min(2.0, max(0.02, span_s / 40))
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(clients.serve(stop, pause_s=pause_s)) for _ in range(3)]
        broken = asyncio.ensure_future(store.broken.wait())
        await asyncio.wait({*tasks, broken}, timeout=span_s, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        for task in (*tasks, broken):
            task.cancel()
        await asyncio.wait({*tasks, broken})
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                world.witness.fault(f"a client was told: {error!r}")
        if engine.failed.done() and not store.broken.is_set():
            world.witness.fault(f"the engine has failed: {engine.failed.exception()!r}")
        strays = await engine.sweep() if not store.broken.is_set() else ()
        if store.broken.is_set():
            world.witness.note("the store is broken: the process ends")
            world.disk.kill()
            await asyncio.sleep(0)
        for run_id in strays:
            world.witness.fault(f"a stray: {run_id}")

    async def _leave(self, engine: Engine) -> None:
        """Stop in order, if the seed likes that; else leave without."""
        source, witness = self._world.source, self._world.witness
        self._world.disk.is_full = False
        if "stops" in self._world.with_faults:
            grace_s = source.choice([0.0, 0.5, 30.0])
            witness.note("asked to stop", grace_s)
            left = await engine.drain(grace_s=grace_s, hurry=asyncio.Event())
            witness.note("stopped", len(left))

    async def _rest(self, clients: Clients) -> None:
        """End all accidents, answer everything, and wait until nothing is left."""
        world = self._world
        world.disk.is_full = False
        world.disk.sync_s_max = world.disk.read_s_max = 0.001
        world.programs.is_model_there = True
        world.clock.ahead_s = max(world.clock.ahead_s, 0.0)
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST_LIFE_S
        pause_s = 0.1
        while loop.time() < until and not world.witness.faults:
            # What is refused is wished again: others may have to end before it.
            for _ in range(len(world.wishes)):
                await clients.attempt(clients.start)
            runs = await clients.live_runs()
            if not runs and not world.wishes:
                return
            for run in runs:
                detail = await clients._runs.get(run.id)
                await clients.attempt(
                    lambda detail=detail: clients.answer_run(detail, with_events=True)  # type: ignore[misc]
                )
            await asyncio.sleep(pause_s)
            pause_s = min(60.0, pause_s * 1.3)

    def _look(self, connection: sqlite3.Connection) -> None:
        """Look after a commit whether the promises hold; each time would take too long."""
        if self._world.disk.source.random() < _CHECK_CHANCE:
            invariants.check(self._world.witness, connection, invariants.ALWAYS)

    def _examine(self) -> dict[str, int]:
        witness = self._world.witness
        witness.is_blind = False
        connection = sqlite3.connect(self._path)
        try:
            invariants.check_accepted(witness, connection)
            invariants.check(witness, connection, {**invariants.ALWAYS, **invariants.AT_THE_END})
            invariants.check_doubts(witness, connection)
            SAGAS.check(witness, connection)
            statuses = invariants.check_ends(witness, connection)
            self._digest(connection)
            return statuses
        finally:
            connection.close()

    def _digest(self, connection: sqlite3.Connection) -> None:
        """Let the trace end with all that the database holds."""
        for table in ("runs", "journal", "waits", "events", "snapshots"):
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1"):
                self._world.witness.mix(f"{table} {row}")
