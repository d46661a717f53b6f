"""`RunStore.end` and `RunStore.hold`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.domain.entry import Entry, EntryKind
from agency.domain.lineage import RetryPlan
from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import Fenced, RunEnded, RunNotFound
from agency.ports.store import Claim, Store
from tests.contract.making import (
    BOOT,
    CANCELLED,
    T0,
    answer,
    at,
    claim,
    deliver,
    end,
    finish,
    hold,
    ids,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    status_of,
    suspend,
    wait_for,
    wait_for_event,
    waits_of,
)


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.TIMED_OUT])
async def test_pending_and_suspended_runs_end_at_once(store: Store, status: RunStatus) -> None:
    pending = await start(store)
    suspended, snapshot_id = await start_suspended(store, wait_for_event("a"))

    for run_id in (pending.id, suspended.run_id):
        ending = await end(store, run_id, status)
        run = (await store.runs.get(run_id)).run
        assert ([run_id], [], []) == (list(ending.ended), list(ending.asked), list(ending.wakes))
        assert (status, CANCELLED, T0) == (run.status, run.error, run.ended_at)

    assert WaitOutcome.CANCELLED is (await waits_of(store, suspended))["a"].outcome
    assert (await store.snapshots.get(snapshot_id)).spent
    assert {status: 2} == await store.runs.count_by_status()


async def test_end_of_a_claimed_run_is_asked_for(store: Store) -> None:
    claimed = await start_claimed(store)

    ending = await end(store, claimed.run_id, RunStatus.TIMED_OUT)
    again = await end(store, claimed.run_id, RunStatus.CANCELLED)

    run = (await store.runs.get(claimed.run_id)).run
    assert ([], [claimed.run_id]) == (list(ending.ended), list(ending.asked))
    assert [(claimed.run_id, RunStatus.RUNNING)] == [(w.run_id, w.status) for w in ending.wakes]
    assert [claimed.run_id] == list(again.asked)
    assert (RunStatus.RUNNING, "timed_out", CANCELLED) == (run.status, run.ending, run.error)
    await record(store, claimed, entries=[make_step("still mine")])


async def test_work_for_the_end_makes_a_run_pending(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await suspend(store, claimed, wait_for_event("a"))

    ending = await end(store, claimed.run_id)

    assert [(claimed.run_id, RunStatus.PENDING)] == [(w.run_id, w.status) for w in ending.wakes]
    (run,) = await store.runs.claim(limit=1, owner=BOOT, now=T0)
    assert "cancelled" == run.ending


async def test_decision_keeps_a_run_suspended_until_decided(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for("d", WaitKind.DECISION))
    await hold(store, claimed.run_id)

    ending = await end(store, claimed.run_id)
    suspended = (await store.runs.get(claimed.run_id)).run
    wakes = await answer(store, claimed.run_id, "d", {"decision": "done"})

    assert ([claimed.run_id], []) == (list(ending.asked), list(ending.wakes))
    assert (RunStatus.SUSPENDED, "cancelled", None) == (
        suspended.status,
        suspended.ending,
        suspended.hold,
    )
    assert [claimed.run_id] == ids(wakes)


async def start_with(store: Store, *entries: Entry, way: str) -> Claim:
    """A pending or suspended run with that journal."""
    claimed = await start_claimed(store)
    await record(store, claimed, entries=entries)
    if way == "suspended":
        await suspend(store, claimed, wait_for_event("a"))
    else:
        await store.runs.recover(owner="boot-2", now=T0)
    return claimed


INTENT, ATTEMPT = EntryKind.INTENT, EntryKind.ATTEMPT
IN_DOUBT = [
    [make_step("charge#1!1", kind=INTENT)],
    [make_step("b#1.a/charge#12!10", kind=INTENT), make_step("b#1.a/charge#12~1", kind=ATTEMPT)],
    [
        make_step("charge#1!1", kind=INTENT),
        make_step("charge#1~1", kind=ATTEMPT),
        make_step("charge#1!2", kind=INTENT),
    ],
    [make_step("other#1"), make_step("charge#1!1", kind=INTENT), make_step("charge#11")],
]
SETTLED = [
    [make_step("charge#1!1", kind=INTENT), make_step("charge#1")],
    [make_step("charge#1!1", kind=INTENT), make_step("charge#1", kind=EntryKind.FAILURE)],
    [make_step("b#1.a/charge#1!1", kind=INTENT), make_step("b#1.a/charge#1~1", kind=ATTEMPT)],
]


@pytest.mark.parametrize("way", ["pending", "suspended"])
@pytest.mark.parametrize("entries", IN_DOUBT)
async def test_effect_in_doubt_makes_a_run_pending_so_that_it_asks(
    store: Store, entries: list[Entry], way: str
) -> None:
    claimed = await start_with(store, *entries, way=way)

    ending = await end(store, claimed.run_id)

    assert ([], [claimed.run_id]) == (list(ending.ended), list(ending.asked))
    assert [(claimed.run_id, RunStatus.PENDING)] == [(w.run_id, w.status) for w in ending.wakes]
    (run,) = await store.runs.claim(limit=1, owner="boot-2", now=T0)
    assert "cancelled" == run.ending


@pytest.mark.parametrize("way", ["pending", "suspended"])
@pytest.mark.parametrize("entries", SETTLED)
async def test_effect_with_an_outcome_is_not_in_doubt(
    store: Store, entries: list[Entry], way: str
) -> None:
    claimed = await start_with(store, *entries, way=way)

    assert [claimed.run_id] == list((await end(store, claimed.run_id)).ended)


async def test_intent_that_a_retry_has_made_void_is_not_in_doubt(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("charge#1!1", kind=INTENT)])
    await record(store, claimed, superseded=["charge#1!1"])
    await suspend(store, claimed, wait_for_event("a"))

    assert [claimed.run_id] == list((await end(store, claimed.run_id)).ended)


async def test_run_that_has_asked_about_its_effect_stays_suspended(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("charge#1!1", kind=INTENT)])
    await suspend(store, claimed, wait_for("charge#1:decision1", WaitKind.DECISION))

    ending = await end(store, claimed.run_id)

    assert ([claimed.run_id], []) == (list(ending.asked), list(ending.wakes))
    assert RunStatus.SUSPENDED == await status_of(store, claimed.run_id)


async def test_child_with_an_effect_in_doubt_is_asked_when_its_parent_ends(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    claimed = await claim(store, child.id)
    await record(store, claimed, entries=[make_step("charge#1!1", kind=INTENT)])
    await suspend(store, claimed, wait_for_event("a"))

    wakes = await finish(store, parent)

    assert [(child.id, RunStatus.PENDING)] == [(wake.run_id, wake.status) for wake in wakes]
    assert "cancelled" == (await store.runs.get(child.id)).run.ending


async def test_held_run_can_be_ended(store: Store) -> None:
    run = await start(store)
    await hold(store, run.id)

    ending = await end(store, run.id)

    assert [run.id] == list(ending.ended)
    assert (await store.runs.get(run.id)).run.hold is None


async def test_end_goes_through_the_whole_tree(store: Store) -> None:
    root = await start_claimed(store)
    running, suspended, pending, done = (make_run() for _ in range(4))
    await record(store, root, children=[running, suspended, pending, done])
    running_claim = await claim(store, running.id)
    await finish(store, await claim(store, done.id))
    suspended_claim, grandchild = await claim(store, suspended.id), make_run()
    await record(store, suspended_claim, children=[grandchild])
    await suspend(store, suspended_claim, wait_for_event("a"))
    await suspend(store, root, wait_for("c", WaitKind.CHILD, target=running.id))
    stranger = await start(store)

    ending = await end(store, root.run_id)

    assert sorted([root.run_id, suspended.id, pending.id, grandchild.id]) == sorted(ending.ended)
    assert [running.id] == list(ending.asked)
    assert [running_claim.run_id] == ids(ending.wakes)
    assert RunStatus.PENDING == await status_of(store, stranger.id)
    assert [] == await finish(store, running_claim, RunStatus.CANCELLED)


async def test_end_of_a_child_answers_its_parent(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    await suspend(store, parent, wait_for("c", WaitKind.CHILD, target=child.id))

    ending = await end(store, child.id)

    assert [(parent.run_id, RunStatus.PENDING)] == [(w.run_id, w.status) for w in ending.wakes]
    payload = (await waits_of(store, parent))["c"].payload
    assert ("cancelled", None, "cancelled") == (
        payload["status"],
        payload["output"],
        payload["error"]["code"],
    )


async def test_end_wakes_the_next_run_of_the_session(store: Store) -> None:
    first = await start(store, session_id="s")
    second = await start(store, session_id="s")

    ending = await end(store, first.id)

    assert [second.id] == ids(ending.wakes)


async def test_end_of_ended_and_unknown_runs_is_refused(store: Store) -> None:
    claimed = await start_claimed(store)
    child = make_run()
    await record(store, claimed, children=[child])
    await finish(store, claimed)

    with pytest.raises(RunEnded):
        await end(store, claimed.run_id)
    with pytest.raises(RunNotFound):
        await end(store, new_id())
    with pytest.raises(ValueError, match="cannot be ended"):
        await end(store, child.id, RunStatus.COMPLETED)


async def test_end_and_finish_at_the_same_time_give_one_end(store: Store) -> None:
    claims = [await start_claimed(store) for _ in range(20)]

    calls: list[Coroutine[Any, Any, object]] = []
    for one in claims:
        calls += [finish(store, one, output=1), end(store, one.run_id)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(r, RunEnded) or not isinstance(r, BaseException) for r in results)
    assert {RunStatus.COMPLETED: 20} == await store.runs.count_by_status()


async def test_end_and_claim_at_the_same_time_lose_nothing(store: Store) -> None:
    runs = [await start(store) for _ in range(20)]

    results = await asyncio.gather(
        *(end(store, run.id) for run in runs),
        store.runs.claim(limit=20, owner=BOOT, now=T0),
    )

    claimed = set(ids(results[-1]))
    for run, ending in zip(runs, results[:-1], strict=True):
        assert (run.id in claimed) == (list(ending.asked) == [run.id])
        if run.id in claimed:
            assert "cancelled" == (await store.runs.get(run.id)).run.ending


async def test_pending_run_is_held_at_once(store: Store) -> None:
    run = await start(store)

    snapshot, wakes = await store.runs.hold(run.id, reason="look", snapshot_id="s", now=at(1))

    assert snapshot is not None
    assert ("s", "look", False, []) == (snapshot.id, snapshot.reason, snapshot.spent, list(wakes))
    assert [WaitKind.OPERATOR] == [wait.kind for wait in snapshot.waits]
    assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=at(9)))
    assert [run.id] == ids(await answer(store, run.id, "!operator#1", snapshot_id="s"))
    await claim(store, run.id)


async def test_suspended_run_keeps_its_snapshot_when_held(store: Store) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_for_event("a"))

    snapshot, _ = await store.runs.hold(claimed.run_id, reason="look", snapshot_id="s", now=T0)

    assert snapshot is not None
    assert (snapshot_id, "look", ["a", "!operator#1"]) == (
        snapshot.id,
        snapshot.reason,
        [wait.key for wait in snapshot.waits],
    )
    assert "look" == (await store.runs.get(claimed.run_id)).run.hold


async def test_claimed_run_is_told_of_its_hold(store: Store) -> None:
    claimed = await start_claimed(store)

    snapshot, wakes = await store.runs.hold(claimed.run_id, reason="look", snapshot_id="s", now=T0)

    assert snapshot is None
    assert [(claimed.run_id, RunStatus.RUNNING)] == [(w.run_id, w.status) for w in wakes]


async def test_hold_twice_is_the_same_as_once(store: Store) -> None:
    pending = await start(store)
    suspended, snapshot_id = await start_suspended(store, wait_for_event("a"))

    for _ in range(2):
        await hold(store, pending.id, "first")
        await hold(store, suspended.run_id, "second")
    again, _ = await store.runs.hold(pending.id, reason="other", snapshot_id="third", now=T0)

    assert again is not None
    assert "first" == again.id
    assert 1 == len((await store.runs.get(pending.id)).waits)
    detail = await store.runs.get(suspended.run_id)
    assert (2, snapshot_id) == (len(detail.waits), detail.snapshot_id)


async def test_hold_of_ended_and_unknown_runs_is_refused(store: Store) -> None:
    run = await start(store)
    await end(store, run.id)

    with pytest.raises(RunEnded):
        await hold(store, run.id)
    with pytest.raises(RunNotFound):
        await hold(store, new_id())


async def test_suspend_hold_deliver_resume(store: Store) -> None:
    claimed, snapshot_id = await start_suspended(store, wait_for_event("a"))
    await hold(store, claimed.run_id)
    await deliver(store, claimed.run_id, "a", 5)
    await answer(store, claimed.run_id, "!operator#1", snapshot_id=snapshot_id)

    again = await claim(store, claimed.run_id)

    assert 5 == (await waits_of(store, again))["a"].payload
    assert (await store.snapshots.get(snapshot_id)).spent
    with pytest.raises(Fenced):
        await record(store, Claim(claimed.number, claimed.run_id, claimed.epoch), progress=1)


# --- what is held by a run that ends before its children -----------------------------------


@pytest.mark.parametrize("way", ["end", "finish"])
@pytest.mark.parametrize("held", [{"session_id": "s"}, {"concurrency_key": "k"}])
async def test_children_that_have_yet_to_end_keep_what_their_parent_held(
    store: Store, held: dict[str, str], way: str
) -> None:
    parent = await start_claimed(store, **held)
    children = [make_run(), make_run(), make_run()]
    await record(store, parent, children=children)
    first, second = [await claim(store, child.id) for child in children[:2]]
    following = await start(store, **held)

    if way == "end":
        await suspend(store, parent, wait_for_event("w"))
        await end(store, parent.run_id)
    else:
        await finish(store, parent)

    assert RunStatus.CANCELLED is await status_of(store, children[2].id)
    assert [] == list(await store.runs.claim(limit=9, owner=BOOT, now=T0))
    await finish(store, first, RunStatus.CANCELLED)
    assert [] == list(await store.runs.claim(limit=9, owner=BOOT, now=T0))
    await finish(store, second, RunStatus.CANCELLED)
    assert [following.id] == ids(await store.runs.claim(limit=9, owner=BOOT, now=T0))


async def test_retried_parent_stands_in_line_behind_its_child_that_has_yet_to_end(
    store: Store,
) -> None:
    parent = await start_claimed(store, concurrency_key="k")
    child = make_run()
    await record(store, parent, children=[child])
    working = await claim(store, child.id)
    await finish(store, parent, RunStatus.FAILED)
    run = (await store.runs.get(parent.run_id)).run
    following = await start(store, concurrency_key="k")

    await store.lineage.retry(
        run,
        RetryPlan(),
        deadline_at=None,
        max_attempts=None,
        provider=None,
        principal="ann",
        now=T0,
    )
    await end(store, parent.run_id)
    assert [] == list(await store.runs.claim(limit=9, owner=BOOT, now=T0))
    last = await start(store, concurrency_key="k", session_id="s")
    await finish(store, working, RunStatus.CANCELLED)

    assert [following.id] == ids(await store.runs.claim(limit=9, owner=BOOT, now=T0))
    assert RunStatus.PENDING is await status_of(store, last.id)
