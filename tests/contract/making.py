"""Runs, claims and suspensions in a few words, for all contract tests."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agency.core.ids import new_id
from agency.core.json import encode
from agency.domain.entry import Entry, EntryKind
from agency.domain.run import NewRun, Run, RunError, RunKind, RunStatus
from agency.domain.wait import NewWait, Wait, WaitKind, WaitOutcome
from agency.ports.store import NOTHING, Claim, Delivery, Store, Wake, Writes

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BOOT = "boot-1"
CANCELLED = RunError(code="cancelled", message="The run was cancelled.")
BROKE = RunError(code="error", message="It broke.", error_class="ValueError", details={"n": 1})

_numbers = itertools.count(1)


def at(seconds: float) -> datetime:
    """A moment that many seconds after the beginning of time."""
    return T0 + timedelta(seconds=seconds)


def make_run(**changes: Any) -> NewRun:
    plain = NewRun(
        id=new_id(),
        workflow="order",
        version="1",
        kind=RunKind.FUNCTION,
        input={"sku": "x"},
        created_at=T0,
        seed=7,
    )
    return replace(plain, **changes)


def make_step(key: str, value: Any = "done", kind: EntryKind = EntryKind.STEP) -> Entry:
    return Entry(key, kind, encode(value), T0)


def wait_for_event(key: str, name: str = "", **more: Any) -> NewWait:
    return NewWait(key=key, kind=WaitKind.EVENT, name=name or key, **more)


def wait_until(key: str, seconds: float) -> NewWait:
    return NewWait(key=key, kind=WaitKind.TIMER, name=key, due_at=at(seconds))


def wait_for(key: str, kind: WaitKind, **more: Any) -> NewWait:
    return NewWait(key=key, kind=kind, name=key, **more)


async def start(store: Store, **changes: Any) -> Run:
    return (await store.runs.start(make_run(**changes))).run


async def claim(store: Store, run_id: str, *, owner: str = BOOT, now: datetime = T0) -> Claim:
    runs = await store.runs.claim(limit=1, owner=owner, now=now, only=run_id)
    assert [run_id] == [run.id for run in runs]
    return Claim(runs[0].number, run_id, runs[0].epoch)


async def start_claimed(store: Store, **changes: Any) -> Claim:
    run = await start(store, **changes)
    return await claim(store, run.id)


async def record(store: Store, claimed: Claim, **writes: Any) -> list[Wait]:
    return list(await store.runs.record(claimed, Writes(**writes), now=T0))


async def suspend(store: Store, claimed: Claim, *waits: NewWait, now: datetime = T0) -> str | None:
    """Suspend on all of ``waits``; give the snapshot's id, or None if the run goes on."""
    suspension = await store.runs.suspend(
        claimed,
        Writes(waits=waits),
        blocked_on=[wait.key for wait in waits],
        snapshot_id=new_id(),
        reason="test",
        now=now,
    )
    return suspension.snapshot_id


async def start_suspended(store: Store, *waits: NewWait, **changes: Any) -> tuple[Claim, str]:
    claimed = await start_claimed(store, **changes)
    snapshot_id = await suspend(store, claimed, *waits)
    assert snapshot_id is not None
    return claimed, snapshot_id


async def finish(
    store: Store,
    claimed: Claim,
    status: RunStatus = RunStatus.COMPLETED,
    output: Any = None,
    **more: Any,
) -> list[Wake]:
    error = None if status is RunStatus.COMPLETED else BROKE
    return list(
        await store.runs.finish(
            claimed, NOTHING, status=status, output=output, error=error, now=T0, **more
        )
    )


async def deliver(store: Store, run_id: str, name: str, payload: Any = None) -> Delivery:
    return await store.mail.deliver(
        run_id, event_id=f"event-{next(_numbers)}", name=name, payload=payload, now=T0
    )


async def answer(
    store: Store,
    run_id: str,
    wait: str,
    payload: Any = None,
    *,
    snapshot_id: str | None = None,
    outcome: WaitOutcome = WaitOutcome.ANSWERED,
) -> list[Wake]:
    return list(
        await store.mail.answer(
            run_id, wait=wait, outcome=outcome, payload=payload, snapshot_id=snapshot_id, now=T0
        )
    )


async def hold(store: Store, run_id: str, snapshot_id: str = "held") -> list[Wake]:
    _, wakes = await store.runs.hold(run_id, reason="look", snapshot_id=snapshot_id, now=T0)
    return list(wakes)


async def end(store: Store, run_id: str, status: RunStatus = RunStatus.CANCELLED) -> Any:
    return await store.runs.end(run_id, status=status, error=CANCELLED, now=T0)


async def status_of(store: Store, run_id: str) -> RunStatus:
    return (await store.runs.get(run_id)).run.status


async def waits_of(store: Store, claimed: Claim) -> dict[str, Wait]:
    """All waits of a run by key, open and resolved."""
    return {wait.key: wait for wait in (await store.journal.load(claimed.number)).waits}


def ids(found: Any) -> list[str]:
    """Ids of runs or wakes."""
    return [getattr(one, "run_id", None) or one.id for one in found]
