"""Retry, fork, discard and families: what every store keeps to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agency.domain.entry import EntryKind
from agency.domain.lineage import ForkPlan, Outline, RetryPlan
from agency.domain.message import NewMessage
from agency.domain.run import Run, RunStatus
from agency.domain.wait import WaitOutcome
from agency.errors import (
    NameTaken,
    NotADeadLetter,
    RunChanged,
    RunHasParent,
    RunNotFound,
    SessionBusy,
)
from agency.ports.store import NOTHING, Store
from tests.contract.making import (
    T0,
    at,
    claim,
    deliver,
    end,
    finish,
    ids,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    status_of,
    suspend,
    wait_for_event,
    wait_until,
    waits_of,
)

NO_PLAN = RetryPlan()


async def retry(store: Store, run: Run, plan: RetryPlan = NO_PLAN, **more: Any) -> Run:
    wish: dict[str, Any] = {
        "deadline_at": None,
        "max_attempts": None,
        "provider": None,
        "principal": "ada",
        "now": at(60),
    }
    return await store.lineage.retry(run, plan, **{**wish, **more})


async def failed(store: Store, status: RunStatus = RunStatus.FAILED, **changes: Any) -> Run:
    claimed = await start_claimed(store, **changes)
    await finish(store, claimed, status)
    return (await store.runs.get(claimed.run_id)).run


async def keys(store: Store, run_id: str) -> list[str]:
    return [entry.key for entry in await store.journal.entries(run_id, after=0, limit=99)]


# --- outline -------------------------------------------------------------------------------


async def test_outline_has_everything_but_bodies(store: Store) -> None:
    claimed = await start_claimed(store)
    failure = make_step("bad#1", {"code": "x"}, EntryKind.FAILURE)
    winner = make_step("first#1", {"name": "a"}, EntryKind.WINNER)
    large = make_step("large#1", "x" * 100_000)
    await record(store, claimed, entries=[failure, large, winner])
    await record(store, claimed, superseded=["bad#1"])
    await suspend(store, claimed, wait_for_event("w"))

    outline = await store.lineage.outline(claimed.run_id)

    assert claimed.run_id == outline.run.id
    bad, big, won = outline.entries
    assert (True, EntryKind.FAILURE, f"bad#1^{bad.number}") == (bad.is_void, bad.kind, bad.key)
    assert (100_002, "a") == (big.size_bytes, won.winner)
    assert [("w", None)] == [(wait.key, wait.outcome) for wait in outline.waits]
    with pytest.raises(RunNotFound):
        await store.lineage.outline("none")


# --- retry ---------------------------------------------------------------------------------


async def test_retried_run_is_pending_in_its_next_generation(store: Store) -> None:
    run = await failed(store, RunStatus.DEAD_LETTER, max_attempts=3)

    again = await retry(store, run, deadline_at=at(600), max_attempts=5, provider="p")

    assert (RunStatus.PENDING, 1, 1, 5, "p") == (
        again.status,
        again.attempt,
        again.generation,
        again.max_attempts,
        again.provider,
    )
    assert (None, None, None) == (again.error, again.ended_at, again.output)
    assert (at(600), run.id) == (again.deadline_at, again.id)
    (retried,) = await store.lineage.retries(run.id, limit=9)
    assert (1, "ada", RunStatus.DEAD_LETTER, run.error) == (
        retried.generation,
        retried.principal,
        retried.status,
        retried.error,
    )
    await claim(store, run.id)


async def test_retry_makes_void_what_its_plan_names_and_nothing_else(store: Store) -> None:
    claimed = await start_claimed(store)
    steps = [make_step("a#1"), make_step("b#1", {}, EntryKind.FAILURE), make_step("c#1")]
    await record(
        store, claimed, entries=steps, waits=[wait_until("t#1", 50), wait_for_event("e#1")]
    )
    await finish(store, claimed, RunStatus.FAILED)
    outline = await store.lineage.outline(claimed.run_id)
    (b,) = [entry.number for entry in outline.entries if entry.key == "b#1"]

    plan = RetryPlan(entries=[b], waits=["e#1"], reopened=["t#1"])
    run = await retry(store, outline.run, plan)

    assert ["a#1", f"b#1^{b}", "c#1"] == await keys(store, run.id)
    journal = await store.journal.load(run.number)
    assert ["a#1", "c#1"] == [entry.key for entry in journal.entries]
    assert [b] == [void.number for void in journal.voids]
    waits = await waits_of(store, claimed)
    assert {"t#1": None} == {key: wait.outcome for key, wait in waits.items()}
    assert at(50) == waits["t#1"].due_at
    claimed = await claim(store, run.id)
    await record(store, claimed, entries=[make_step("b#1", "mended")])
    assert [] == list((await deliver(store, run.id, "e#1")).wakes)


async def test_only_the_end_that_was_seen_is_retried(store: Store) -> None:
    run = await failed(store)

    outcomes = await asyncio.gather(*(retry(store, run) for _ in range(20)), return_exceptions=True)

    assert 1 == sum(isinstance(outcome, Run) for outcome in outcomes)
    assert 19 == sum(isinstance(outcome, RunChanged) for outcome in outcomes)
    claimed = await claim(store, run.id)
    await finish(store, claimed, RunStatus.FAILED)
    with pytest.raises(RunChanged):  # it has failed again since
        await retry(store, run)
    with pytest.raises(RunNotFound):
        await retry(store, replace(run, id="none"))


async def test_name_and_session_are_taken_again_or_refused(store: Store) -> None:
    run = await failed(store, name="n", session_id="s")
    other = await start(store, name="n")
    with pytest.raises(NameTaken):
        await retry(store, run)
    await end(store, other.id)
    busy, _ = await start_suspended(store, wait_for_event("w"), session_id="s")
    with pytest.raises(SessionBusy):
        await retry(store, run)
    assert (RunStatus.FAILED, run) == (
        await status_of(store, run.id),
        (await store.runs.get(run.id)).run,
    )
    await end(store, busy.run_id)
    ahead = await start_claimed(store, session_id="s")

    again = await retry(store, run)

    assert ahead.run_id == (await store.runs.get(again.id)).behind
    assert [] == list(await store.runs.claim(limit=9, owner="b", now=at(60)))
    await finish(store, ahead)
    await claim(store, run.id, now=at(60))


async def test_child_is_retried_only_if_its_parent_cannot_be(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    await finish(store, await claim(store, child.id), RunStatus.FAILED)
    seen = (await store.runs.get(child.id)).run

    await finish(store, parent, RunStatus.FAILED)
    with pytest.raises(RunHasParent):
        await retry(store, seen)
    assert RunStatus.FAILED == await status_of(store, child.id)


async def test_tried_retry_leaves_nothing(store: Store) -> None:
    run = await failed(store, name="n")

    tried = await retry(store, run, dry_run=True)

    assert RunStatus.PENDING == tried.status
    assert run == (await store.runs.get(run.id)).run
    assert [] == list(await store.lineage.retries(run.id, limit=9))
    assert {RunStatus.FAILED: 1} == {
        status: count for status, count in (await store.runs.count_by_status()).items() if count
    }


async def test_long_output_of_a_run_that_goes_on_is_gone(store: Store) -> None:
    claimed = await start_claimed(store)
    await finish(store, claimed, RunStatus.LIMIT_REACHED, output="x" * 100_000)
    run = (await store.runs.get(claimed.run_id)).run

    await retry(store, run)

    tables = {one.name: one.rows for one in (await store.upkeep.stats()).tables}
    assert 0 == tables["blobs"]


async def test_crashes_are_forgotten(store: Store) -> None:
    run = await start(store)
    for boot in range(3):
        await claim(store, run.id, owner=f"boot-{boot}")
        await store.runs.recover(owner=f"boot-{boot + 1}", now=T0)
    dead = (await store.runs.get(run.id)).run
    assert (RunStatus.DEAD_LETTER, "crash") == (dead.status, dead.error and dead.error.code)

    assert 0 == (await retry(store, dead)).crashes
    await claim(store, run.id, owner="boot-9")
    assert [] == list((await store.runs.recover(owner="boot-10", now=T0)).quarantined)


# --- discard -------------------------------------------------------------------------------


async def test_dead_letter_is_discarded_once(store: Store) -> None:
    run = await failed(store, RunStatus.DEAD_LETTER)

    error = await store.lineage.discard(run.id, principal="ada", now=T0)

    assert ("discarded", "It broke.") == (error.code, error.details["error"]["message"])
    found = (await store.runs.get(run.id)).run
    assert (RunStatus.CANCELLED, "discarded") == (found.status, found.error and found.error.code)
    with pytest.raises(NotADeadLetter):
        await store.lineage.discard(run.id, principal="ada", now=T0)
    with pytest.raises(NotADeadLetter):
        await store.lineage.discard((await failed(store)).id, principal="ada", now=T0)
    with pytest.raises(RunNotFound):
        await store.lineage.discard("none", principal="ada", now=T0)


# --- fork ----------------------------------------------------------------------------------


async def _source(store: Store) -> Outline:
    claimed = await start_claimed(store, session_id="s")
    said = NewMessage(session_id="s", role="user", content={"text": "hello"})
    await record(store, claimed, entries=[make_step("a#1", "x" * 100_000)], messages=[said])
    waits = [wait_for_event("e#1"), wait_for_event("open#1")]
    await record(store, claimed, waits=waits, entries=[make_step("e#1", {}, EntryKind.WAIT)])
    await deliver(store, claimed.run_id, "e#1", {"n": 1})
    await deliver(store, claimed.run_id, "kept", {"n": 2})
    await record(store, claimed, entries=[make_step("b#1"), make_step("c#1")])
    return await store.lineage.outline(claimed.run_id)


async def test_fork_has_what_its_plan_keeps(store: Store) -> None:
    source = await _source(store)
    numbers = {entry.key: entry.number for entry in source.entries}
    plan = ForkPlan(at=numbers["b#1"], waits=["e#1", "open#1"])

    new = make_run(forked_from=source.run.id, forked_at=numbers["b#1"], session_id="other")
    run, is_new = await store.lineage.fork(new, source.run, plan)

    assert (True, new.id, RunStatus.PENDING) == (is_new, run.id, run.status)
    journal = await store.journal.load(run.number)
    assert ["a#1", "e#1", "b#1"] == [entry.key for entry in journal.entries]
    assert b'"' + b"x" * 100_000 + b'"' == journal.entries[0].body
    (wait,) = journal.waits  # what is open is never copied
    assert ("e#1", WaitOutcome.ANSWERED, {"n": 1}) == (wait.key, wait.outcome, wait.payload)
    assert [] == list(await store.mail.events(run.id, limit=9))
    (said,) = await store.sessions.messages("other", limit=9)
    assert ({"text": "hello"}, run.id) == (said.content, said.run_id)
    assert 2 == (await store.runs.get(run.id)).steps_executed
    assert 2 <= (await claim(store, run.id)).epoch
    assert source.run == (await store.runs.get(source.run.id)).run


async def test_fork_of_what_was_retried_since_is_refused(store: Store) -> None:
    run = await failed(store)
    await retry(store, run)

    with pytest.raises(RunChanged):
        await store.lineage.fork(make_run(), run, ForkPlan())


async def test_same_key_forks_once(store: Store) -> None:
    source = await failed(store)
    wish: dict[str, Any] = {"idempotency_key": "k", "request_hash": "h"}

    outcomes = await asyncio.gather(
        *(store.lineage.fork(make_run(**wish), source, ForkPlan()) for _ in range(10))
    )

    assert 1 == len({run.id for run, _ in outcomes})
    assert 1 == sum(is_new for _, is_new in outcomes)


async def test_tried_fork_leaves_nothing(store: Store) -> None:
    source = await failed(store)

    await store.lineage.fork(make_run(), source, ForkPlan(), dry_run=True)

    assert 1 == sum((await store.runs.count_by_status()).values())


# --- families ------------------------------------------------------------------------------


async def test_family_is_found_in_both_directions_nearest_first(store: Store) -> None:
    first = await start_claimed(store)
    successor = make_run()
    await finish(store, first, successor=successor)
    fork = await start(store, forked_from=successor.id)
    rerun = await start(store, rerun_of=fork.id)
    parent = await claim(store, fork.id)
    child = make_run()
    await record(store, parent, children=[child])

    kin, has_more = await store.lineage.kin(fork.id, limit=9)

    assert not has_more
    assert fork.id == kin[0].run_id
    assert {
        fork.id: (None, "", False),
        successor.id: ("fork", fork.id, True),
        first.run_id: ("successor", successor.id, True),
        rerun.id: ("rerun", fork.id, False),
        child.id: ("child", fork.id, False),
    } == {one.run_id: (one.relation, one.of, one.is_ancestor) for one in kin}
    some, has_more = await store.lineage.kin(fork.id, limit=2)
    assert (3, True) == (len(some), has_more)
    with pytest.raises(RunNotFound):
        await store.lineage.kin("none", limit=9)


async def test_ids_of_a_family_that_are_gone_are_left_out(store: Store) -> None:
    fork = await start(store, forked_from="gone")

    kin, has_more = await store.lineage.kin(fork.id, limit=9)

    assert ([fork.id], False) == (ids(kin), has_more)


async def test_claimed_run_records_under_its_new_generation(store: Store) -> None:
    claimed = await start_claimed(store)
    await store.runs.release(
        claimed, NOTHING, available_at=T0, failed=(await failed(store)).error, now=T0
    )

    assert 1 == (await store.runs.get(claimed.run_id)).run.generation
