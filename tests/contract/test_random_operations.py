"""Random operations beside a tiny model of what a run's status may be."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency.core.ids import new_id
from agency.domain.run import LIVE, RunStatus
from agency.domain.wait import WaitKind
from agency.errors import AgencyError
from agency.ports.store import NOTHING, Claim, Store, Writes
from tests.contract.conftest import ENGINES
from tests.contract.making import (
    T0,
    answer,
    at,
    deliver,
    end,
    finish,
    make_run,
    make_step,
    start,
    wait_for_event,
    wait_until,
)

VERBS = ("start", "claim", "record", "suspend", "deliver", "lift", "hold", "finish", "release")
MORE_VERBS = (*VERBS, "spawn", "end", "fire", "crash")


@dataclass
class Known:
    """What the model knows of one run."""

    run_id: str
    number: int
    status: RunStatus = RunStatus.PENDING
    epoch: int = 0
    entries: int = 0
    mail: int = 0
    """Events that no wait has taken."""
    is_waiting: bool = False
    held: bool = False
    ending: bool = False
    """Its end was asked for under its present claim."""
    is_asked: bool = False
    """Its end was asked for under any claim."""
    parent: Known | None = None
    old_claims: list[Claim] = field(default_factory=list)

    @property
    def claim(self) -> Claim:
        return Claim(self.number, self.run_id, self.epoch)


class Model:
    """Carries out verbs on a store and says what must have come of each."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runs: list[Known] = []
        self.boot = 1
        self.keys = 0
        self.now = 0.0

    async def do(self, verb: str, turn: int) -> None:
        if verb == "start" or not self.runs:
            run = await start(self.store)
            self.runs.append(Known(run.id, run.number))
        elif verb == "crash":
            await self.crash()
        elif verb == "fire":
            await self.fire()
        else:
            known = self.runs[turn % len(self.runs)]
            await getattr(self, verb)(known)
            detail = await self.store.runs.get(known.run_id)
            assert known.status is detail.run.status, verb
            assert known.epoch == detail.run.epoch
            assert known.entries == detail.steps_executed
            assert (known.status is RunStatus.SUSPENDED) == (detail.snapshot_id is not None)

    def below(self, known: Known) -> list[Known]:
        """All live descendants of a run."""
        children = [one for one in self.runs if one.parent is known]
        found = [one for one in children if one.status in LIVE]
        return found + [one for child in children for one in self.below(child)]

    def ends(self, known: Known) -> tuple[list[str], list[str]]:
        """End a run as `end` does; ids of those that have ended and of those that were asked."""
        ended, asked = [], []
        for one in [known, *self.below(known)]:
            one.held = False
            if one.status is RunStatus.RUNNING:
                one.ending = one.ending or not one.is_asked
                one.is_asked = True
                asked.append(one.run_id)
            else:
                one.status = RunStatus.CANCELLED
                ended.append(one.run_id)
        return sorted(ended), sorted(asked)

    def key(self, name: str) -> str:
        self.keys += 1
        return f"{name}#{self.keys}"

    async def claim(self, known: Known) -> None:
        runs = await self.store.runs.claim(
            limit=1, owner=f"boot-{self.boot}", now=at(self.now), only=known.run_id
        )
        assert (known.status is RunStatus.PENDING) == (len(runs) == 1)
        if runs:
            known.old_claims.append(known.claim)
            known.status, known.epoch = RunStatus.RUNNING, known.epoch + 1
            # Whoever claims it is told of an end that was asked for before.
            known.ending = False

    async def record(self, known: Known) -> None:
        writes = Writes(entries=[make_step(self.key("s"))])
        for old in known.old_claims[-2:]:
            with pytest.raises(AgencyError):
                await self.store.runs.record(old, writes, now=T0)
        if known.status is RunStatus.RUNNING:
            await self.store.runs.record(known.claim, writes, now=T0)
            known.entries += 1
        else:
            with pytest.raises(AgencyError):
                await self.store.runs.record(known.claim, writes, now=T0)

    async def spawn(self, known: Known) -> None:
        if known.status is RunStatus.RUNNING:
            child = make_run()
            await self.store.runs.record(known.claim, Writes(children=[child]), now=T0)
            number = (await self.store.runs.get(child.id)).run.number
            self.runs.append(Known(child.id, number, parent=known))

    async def suspend(self, known: Known) -> None:
        if known.status is not RunStatus.RUNNING:
            return
        key = self.key("w")
        waits = [wait_for_event(key, "n")] if self.keys % 3 else [wait_until(key, self.now + 5)]
        takes = waits[0].kind is WaitKind.EVENT
        goes_on = takes and known.mail > 0
        suspension = await self.store.runs.suspend(
            known.claim,
            Writes(entries=[make_step(self.key("s"))], waits=waits, closed_waits=[]),
            blocked_on=[key],
            snapshot_id=new_id(),
            reason="x",
            now=at(self.now),
        )
        known.entries += 1
        known.mail -= goes_on
        if known.held or not goes_on:
            assert suspension.snapshot_id is not None
            known.status = RunStatus.SUSPENDED
            if known.ending:
                self.ends(known)
        else:
            assert suspension.snapshot_id is None

    async def open_waits(self, known: Known, kind: WaitKind) -> list[str]:
        detail = await self.store.runs.get(known.run_id)
        return [wait.key for wait in detail.waits if wait.kind is kind]

    async def deliver(self, known: Known) -> None:
        if known.status not in LIVE:
            with pytest.raises(AgencyError):
                await deliver(self.store, known.run_id, "n")
            return
        takes = bool(await self.open_waits(known, WaitKind.EVENT))
        delivery = await deliver(self.store, known.run_id, "n")
        known.mail += not takes
        is_woken = takes and not (known.held and known.status is RunStatus.SUSPENDED)
        assert is_woken == bool(delivery.wakes)
        if is_woken and known.status is RunStatus.SUSPENDED:
            known.status = RunStatus.PENDING

    async def hold(self, known: Known) -> None:
        if known.status not in LIVE:
            with pytest.raises(AgencyError):
                await self.store.runs.hold(known.run_id, reason="x", snapshot_id="x", now=T0)
            return
        await self.store.runs.hold(known.run_id, reason="x", snapshot_id=new_id(), now=T0)
        known.held = True
        if known.status is RunStatus.PENDING:
            known.status = RunStatus.SUSPENDED

    async def lift(self, known: Known) -> None:
        for key in await self.open_waits(known, WaitKind.OPERATOR):
            await answer(self.store, known.run_id, key)
            known.held = False
            if known.status is RunStatus.SUSPENDED:
                known.status = RunStatus.PENDING

    async def finish(self, known: Known) -> None:
        if known.status is RunStatus.RUNNING:
            await finish(self.store, known.claim)
            known.status = RunStatus.COMPLETED
            for child in self.below(known):
                self.ends(child)
        else:
            with pytest.raises(AgencyError):
                await finish(self.store, known.claim)

    async def release(self, known: Known) -> None:
        if known.status is RunStatus.RUNNING:
            await self.store.runs.release(known.claim, NOTHING, available_at=T0, now=T0)
            known.status = RunStatus.PENDING

    async def end(self, known: Known) -> None:
        if known.status not in LIVE:
            with pytest.raises(AgencyError):
                await end(self.store, known.run_id)
            return
        ending = await end(self.store, known.run_id)
        assert self.ends(known) == (sorted(ending.ended), sorted(ending.asked))

    async def fire(self) -> None:
        self.now += 3
        due = await self.store.runs.fire_due(now=at(self.now), limit=1000)
        for wake in due.wakes:
            known = next(known for known in self.runs if known.run_id == wake.run_id)
            if known.status is RunStatus.SUSPENDED:
                known.status = RunStatus.PENDING
            assert known.status is wake.status

    async def crash(self) -> None:
        self.boot += 1
        await self.store.runs.recover(owner=f"boot-{self.boot}", now=T0)
        dead = []
        for known in [known for known in self.runs if known.status is RunStatus.RUNNING]:
            run = (await self.store.runs.get(known.run_id)).run
            assert run.status in {RunStatus.PENDING, RunStatus.DEAD_LETTER}
            known.status = run.status
            known.old_claims.append(known.claim)
            if run.status is RunStatus.DEAD_LETTER:
                dead.append(known)
        # A suspect is alone when it crashes: none of its children was claimed.
        for child in [child for known in dead for child in self.below(known)]:
            self.ends(child)

    async def check(self) -> None:
        counts: dict[RunStatus, int] = {}
        for known in self.runs:
            counts[known.status] = counts.get(known.status, 0) + 1
            if known.status in LIVE and known.parent is not None:
                assert known.parent.status in LIVE or known.is_asked, "an orphan"
        assert counts == await self.store.runs.count_by_status()
        strays = await self.store.runs.strays(owner=f"boot-{self.boot}")
        running = {known.run_id for known in self.runs if known.status is RunStatus.RUNNING}
        assert running == set(strays)


async def play(engine: str, steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with ENGINES[engine](Path(folder)) as store:
            model = Model(store)
            for verb, turn in steps:
                await model.do(verb, turn)
            await model.check()


@pytest.mark.parametrize("engine", sorted(ENGINES))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(MORE_VERBS), st.integers(min_value=0, max_value=3)),
        min_size=5,
        max_size=40,
    )
)
def test_statuses_follow_the_model(engine: str, steps: list[tuple[str, int]]) -> None:
    asyncio.run(play(engine, steps))


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_statuses_follow_the_model_over_a_long_life(engine: str, seed: int, is_soak: bool) -> None:
    chance = random.Random(seed)
    steps = [
        (chance.choice(MORE_VERBS), chance.randrange(1000)) for _ in range(5000 if is_soak else 400)
    ]
    asyncio.run(play(engine, steps))
