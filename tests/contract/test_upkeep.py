"""`UpkeepStore`: what may be forgotten is, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from agency.domain.entry import EntryKind
from agency.domain.lineage import RetryPlan
from agency.domain.message import NewMessage
from agency.domain.retention import OUTCOMES, Bound, Outcome, statuses_of
from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind
from agency.errors import RunNotFound
from agency.ports.store import NOTHING, Claim, RunFilter, SnapshotFilter, Store
from agency.ports.upkeep import Retired
from tests.contract.making import (
    BROKE,
    T0,
    at,
    claim,
    deliver,
    end,
    finish,
    make_run,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    suspend,
    wait_for,
    wait_for_event,
)

LATER = at(3600)
ALL_OLD = {status: Bound(ended_before=LATER) for status in OUTCOMES}
COMPLETED = statuses_of(Outcome.COMPLETED)


async def retire(
    store: Store, *claims: Claim, rows_max: int = 10_000, but: Mapping[RunStatus, Bound] = ALL_OLD
) -> Retired:
    numbers = [claimed.number for claimed in claims]
    return await store.upkeep.retire(numbers, {**ALL_OLD, **but}, rows_max=rows_max)


async def is_there(store: Store, run_id: str) -> bool:
    try:
        await store.runs.get(run_id)
    except RunNotFound:
        return False
    return True


async def start_finished(store: Store, **changes: Any) -> Claim:
    """A run that has completed, with something of everything."""
    claimed = await start_claimed(store, **changes)
    await record(store, claimed, entries=[make_step("a"), make_step("b", "x" * 100)])
    await deliver(store, claimed.run_id, "news", {"n": 1})
    await suspend(store, claimed, wait_for_event("w", "later"))
    await deliver(store, claimed.run_id, "later", 2)
    again = await claim(store, claimed.run_id)
    await finish(store, again, output={"done": True})
    return again


async def newest(store: Store) -> None:
    """A live run with the newest row of the journal and the newest wait, which always stay."""
    await start_suspended(store, wait_for_event("newest"))


# --- what is retired --------------------------------------------------------------------------


async def test_retired_run_is_gone_with_all_that_belongs_to_it(store: Store) -> None:
    claimed = await start_finished(store, name="n", idempotency_key="k", request_hash="h")
    await newest(store)

    retired = await retire(store, claimed)

    assert (1, 0, []) == (retired.runs, retired.kept, list(retired.left))
    assert not await is_there(store, claimed.run_id)
    journal = await store.journal.load(claimed.number)
    assert ([], []) == (list(journal.entries), list(journal.waits))
    snapshots = SnapshotFilter(run_id=claimed.run_id)
    assert [] == list(await store.snapshots.list(snapshots, before=None, limit=9))
    assert {RunStatus.SUSPENDED: 1} == await store.runs.count_by_status()
    assert (await store.runs.start(make_run(idempotency_key="k", request_hash="other"))).is_new


@pytest.mark.parametrize("rows_max", [1, 3, 10_000])
async def test_children_go_before_their_parents_however_small_the_transactions(
    store: Store, rows_max: int
) -> None:
    parent = await start_claimed(store)
    children = [make_run() for _ in range(3)]
    await record(store, parent, children=children)
    for child in children:
        claimed = await claim(store, child.id)
        grandchild = make_run()
        await record(store, claimed, children=[grandchild])
        await finish(store, await claim(store, grandchild.id))
        await finish(store, claimed)
    await finish(store, parent)
    await newest(store)

    total, left, rounds = 0, [parent.number], 0
    while left:
        retired = await store.upkeep.retire(left, ALL_OLD, rows_max=rows_max)
        for run in await store.runs.list(RunFilter(), before=None, limit=100):
            assert run.parent_id is None or await is_there(store, run.parent_id)
        total += retired.runs
        left = list(retired.left)
        rounds += 1
        assert rounds < 20

    assert 7 == total
    assert (rounds == 1) == (rows_max == 10_000)
    while await store.upkeep.sweep(rows_max=1000):
        pass
    assert [RunStatus.SUSPENDED] == list(await store.runs.count_by_status())


async def test_long_journal_is_swept_up_behind_its_run(store: Store) -> None:
    claimed = await start_claimed(store)
    for i in range(20):
        entries = [make_step(f"s{i}-{j}") for j in range(25)]
        await record(store, claimed, entries=entries)
    await finish(store, claimed)
    await newest(store)

    await retire(store, claimed, rows_max=50)
    left = len((await store.journal.load(claimed.number)).entries)
    swept = []
    while count := await store.upkeep.sweep(rows_max=100):
        swept.append(count)

    assert not await is_there(store, claimed.run_id)
    assert 400 < left < 500
    assert max(swept) == 100
    assert [] == list((await store.journal.load(claimed.number)).entries)


async def test_what_a_run_has_said_stays_in_its_session(store: Store) -> None:
    claimed = await start_claimed(store, session_id="s")
    said = [NewMessage(session_id="s", role="user", content="hello")]
    await record(store, claimed, messages=said)
    await finish(store, claimed)
    await newest(store)

    await retire(store, claimed)

    (message,) = await store.sessions.messages("s", limit=9)
    assert ("hello", None) == (message.content, message.run_id)


async def test_body_that_another_run_has_too_stays(store: Store) -> None:
    large = "x" * 100_000
    first = await start_claimed(store, input=large)
    await record(store, first, entries=[make_step("a", large)])
    await finish(store, first, output=large)
    second = await start_claimed(store)
    await record(store, second, entries=[make_step("a", large)])
    await finish(store, second)
    await newest(store)

    await retire(store, first)
    kept = (await store.journal.load(second.number)).entries[0].body
    blobs_between = await blobs(store)
    await retire(store, second)

    assert f'"{large}"'.encode() == kept
    assert 1 == blobs_between
    assert 0 == await blobs(store)


async def blobs(store: Store) -> int:
    return next(one.rows for one in (await store.upkeep.stats()).tables if one.name == "blobs")


# --- what is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "running", "suspended"])
async def test_live_run_is_kept(store: Store, state: str) -> None:
    run = await start(store)
    number = run.number
    if state != "pending":
        claimed = await claim(store, run.id)
        if state == "suspended":
            await suspend(store, claimed, wait_for_event("a"))
    await newest(store)

    retired = await store.upkeep.retire([number], ALL_OLD, rows_max=100)

    assert (0, 1) == (retired.runs, retired.kept)
    assert await is_there(store, run.id)


async def test_child_of_a_live_run_is_kept(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    claimed = await claim(store, child.id)
    await finish(store, claimed)
    await newest(store)

    retired = await retire(store, claimed)
    page = await store.upkeep.expired(
        RunStatus.COMPLETED, Bound(ended_before=LATER), after=0, limit=9
    )

    assert (0, []) == (retired.runs, list(page.numbers))
    assert await is_there(store, child.id)


async def test_parent_of_a_live_child_is_kept(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    claimed = await claim(store, child.id)
    await record(store, claimed, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await finish(store, parent)  # the child is told to end, and has work to do for that
    await newest(store)

    retired = await retire(store, parent)

    assert (0, 2) == (retired.runs, retired.kept)
    assert await is_there(store, parent.run_id)


@pytest.mark.parametrize("link", ["forked_from", "rerun_of"])
async def test_origin_of_a_live_run_is_kept_until_that_has_ended(store: Store, link: str) -> None:
    origin = await start_finished(store)
    made = await start_claimed(store, **{link: origin.run_id})
    await newest(store)

    first = await retire(store, origin)
    await finish(store, made)
    second = await retire(store, origin)

    assert ((0, 1), (1, 0)) == ((first.runs, first.kept), (second.runs, second.kept))


async def test_predecessor_of_a_live_successor_is_kept(store: Store) -> None:
    first = await start_claimed(store)
    heir = make_run()
    await finish(store, first, successor=heir)
    await newest(store)

    retired = await retire(store, first)

    assert (0, 1) == (retired.runs, retired.kept)


async def test_run_is_kept_until_all_have_been_told_of_its_end(store: Store) -> None:
    claimed = await start_finished(store)
    await newest(store)
    end = await store.updates.last_status(claimed.run_id)

    early = await store.upkeep.retire([claimed.number], ALL_OLD, rows_max=99, told=end.id - 1)
    assert (0, 1) == (early.runs, early.kept)
    assert await is_there(store, claimed.run_id)

    late = await store.upkeep.retire([claimed.number], ALL_OLD, rows_max=99, told=end.id)
    assert 1 == late.runs


async def test_run_under_a_dead_letter_is_kept_until_that_expires(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    await finish(store, await claim(store, child.id))
    await finish(store, parent, RunStatus.DEAD_LETTER)
    await newest(store)

    kept = await retire(store, parent, but={RunStatus.DEAD_LETTER: Bound()})
    gone = await retire(store, parent)

    assert (0, 2) == (kept.runs, gone.runs)


async def test_dead_letter_among_the_children_keeps_its_parent(store: Store) -> None:
    parent = await start_claimed(store)
    child = make_run()
    await record(store, parent, children=[child])
    await finish(store, await claim(store, child.id), RunStatus.DEAD_LETTER)
    await finish(store, parent)
    await newest(store)

    retired = await retire(store, parent, but={RunStatus.DEAD_LETTER: Bound()})

    assert (0, 2) == (retired.runs, retired.kept)
    assert await is_there(store, parent.run_id)


async def test_run_that_was_retried_meanwhile_is_kept(store: Store) -> None:
    claimed = await start_claimed(store)
    await finish(store, claimed, RunStatus.FAILED)
    await newest(store)

    recent = Bound(ended_before=T0)  # it has ended at that very moment, not before
    retired = await retire(store, claimed, but={RunStatus.FAILED: recent})

    assert (0, 1) == (retired.runs, retired.kept)


async def test_unknown_and_doubled_numbers_do_no_harm(store: Store) -> None:
    claimed = await start_finished(store)
    await newest(store)

    retired = await store.upkeep.retire(
        [999, claimed.number, claimed.number], ALL_OLD, rows_max=100
    )

    assert (1, []) == (retired.runs, list(retired.left))


async def test_numbers_of_the_journal_never_come_twice(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("a")])
    other = await start_claimed(store)
    await finish(store, other)  # it has the newest row now
    number = await newest_number(store)

    await finish(store, claimed)
    await retire(store, claimed)
    await retire(store, other)
    while await store.upkeep.sweep(rows_max=100):
        pass
    following = await start_claimed(store)
    await record(store, following, entries=[make_step("a")])

    (entry,) = await store.journal.entries(following.run_id, after=0, limit=9)
    assert number < entry.number


async def newest_number(store: Store) -> int:
    marker = await start_claimed(store)
    await record(store, marker, entries=[make_step("marker")])
    (entry,) = await store.journal.entries(marker.run_id, after=0, limit=9)
    await finish(store, marker)
    await retire(store, marker)
    return entry.number


# --- what has expired -------------------------------------------------------------------------


async def finish_at(store: Store, moment: datetime, **changes: Any) -> Claim:
    claimed = await start_claimed(store, created_at=T0, **changes)
    await store.runs.finish(
        claimed, NOTHING, status=RunStatus.COMPLETED, output=None, error=None, now=moment
    )
    return claimed


async def test_runs_expire_by_age_and_by_number(store: Store) -> None:
    ended = [await finish_at(store, at(i)) for i in (30, 10, 20)]

    by_age = await store.upkeep.expired(
        RunStatus.COMPLETED, Bound(ended_before=at(25)), after=0, limit=9
    )
    by_number = await store.upkeep.expired(
        RunStatus.COMPLETED, Bound(through=ended[0].number), after=0, limit=9
    )

    assert [ended[1].number, ended[2].number] == list(by_age.numbers)
    assert [ended[0].number] == list(by_number.numbers)
    assert (None, None) == (by_age.after, by_number.after)


async def test_expired_runs_are_read_in_pages(store: Store) -> None:
    ended = [await finish_at(store, at(i)) for i in range(7)]
    found: list[int] = []
    after: int | None = 0
    while after is not None:
        page = await store.upkeep.expired(
            RunStatus.COMPLETED, Bound(ended_before=LATER), after=after, limit=3
        )
        found += page.numbers
        after = page.after

    assert [claimed.number for claimed in ended] == found


async def test_looking_stops_where_nothing_can_have_expired(store: Store) -> None:
    for _ in range(9):
        await finish_at(store, at(99))

    page = await store.upkeep.expired(RunStatus.COMPLETED, Bound(ended_before=T0), after=0, limit=3)

    assert ([], None) == (list(page.numbers), page.after)


async def test_bound_by_runs_counts_over_all_statuses_of_an_outcome(store: Store) -> None:
    numbers = []
    for i in range(6):
        claimed = await start_claimed(store)
        status = RunStatus.LIMIT_REACHED if i % 2 else RunStatus.COMPLETED
        await store.runs.finish(claimed, NOTHING, status=status, output=1, error=None, now=T0)
        numbers.append(claimed.number)

    found = [
        await store.upkeep.bound_by_runs(COMPLETED, runs_max=runs_max) for runs_max in (2, 5, 6, 99)
    ]

    assert [numbers[3], numbers[0], 0, 0] == found


async def test_bound_by_bytes_measures_what_runs_hold(store: Store) -> None:
    numbers = []
    for size in (10, 200_000, 10, 5_000):
        claimed = await start_claimed(store, input="x" * size)
        await record(store, claimed, entries=[make_step("a", "y" * size)])
        await finish(store, claimed)
        numbers.append(claimed.number)

    async def bound(bytes_max: int) -> int:
        return await store.upkeep.bound_by_bytes(COMPLETED, bytes_max=bytes_max)

    assert 0 == await bound(1_000_000)
    assert numbers[1] == await bound(300_000)
    assert numbers[3] == await bound(9_000)
    assert 0 == await bound(1_000_000)


async def test_run_that_has_gone_on_is_measured_again(store: Store) -> None:
    failed = statuses_of(Outcome.FAILED)
    claimed = await start_claimed(store)
    await finish(store, claimed, RunStatus.FAILED)
    before = await store.upkeep.bound_by_bytes(failed, bytes_max=50_000)

    run = (await store.runs.get(claimed.run_id)).run
    plan = RetryPlan()
    await store.lineage.retry(
        run, plan, deadline_at=None, max_attempts=None, provider=None, principal="ann", now=at(1)
    )
    again = await claim(store, run.id, now=at(1))
    await record(store, again, entries=[make_step("a", "x" * 60_000)])
    await store.runs.finish(
        again, NOTHING, status=RunStatus.FAILED, output=None, error=BROKE, now=at(2)
    )

    assert (0, run.number) == (
        before,
        await store.upkeep.bound_by_bytes(failed, bytes_max=50_000),
    )


# --- snapshots and sessions -------------------------------------------------------------------


async def test_snapshots_beyond_the_newest_are_deleted(store: Store) -> None:
    live, first = await start_suspended(store, wait_for_event("a"))
    kept = [first]
    for event in ("a", "b", "c"):
        await deliver(store, live.run_id, event)
        again = await claim(store, live.run_id)
        snapshot_id = await suspend(store, again, wait_for_event(chr(ord(event) + 1)))
        assert snapshot_id is not None
        kept.append(snapshot_id)

    deleted, after = await store.upkeep.retire_snapshots(
        before=None, per_run_max=2, after=0, limit=100
    )

    left = await store.snapshots.list(SnapshotFilter(run_id=live.run_id), before=None, limit=9)
    assert (2, None) == (deleted, after)
    assert kept[:1:-1] == [snapshot.id for snapshot in left]


async def test_newest_snapshot_of_a_live_run_is_never_deleted(store: Store) -> None:
    live, kept = await start_suspended(store, wait_for_event("a"))
    ended, _ = await start_suspended(store, wait_for_event("a"))
    await end(store, ended.run_id)

    deleted, _ = await store.upkeep.retire_snapshots(
        before=LATER, per_run_max=1, after=0, limit=100
    )

    assert 1 == deleted
    assert kept == (await store.runs.get(live.run_id)).snapshot_id
    assert not (await store.snapshots.get(kept)).spent


async def test_sessions_that_nobody_uses_are_deleted(store: Store) -> None:
    for name in ("old", "used"):
        claimed = await start_claimed(store, session_id=name)
        said = [NewMessage(session_id=name, role="user", content=f"{i}") for i in range(5)]
        await record(store, claimed, messages=said)
        await finish(store, claimed)
        if name == "old":
            await newest(store)
            await retire(store, claimed)

    counts = []
    after: int | None = 0
    while after is not None:
        deleted, after = await store.upkeep.retire_sessions(
            before=LATER, after=after, limit=10, rows_max=2
        )
        counts.append(deleted)
    early, _ = await store.upkeep.retire_sessions(before=T0, after=0, limit=10, rows_max=100)

    assert [] == list(await store.sessions.messages("old", limit=9))
    assert 5 == len(await store.sessions.messages("used", limit=9))
    assert (1, 0) == (sum(counts), early)


# --- the store as a whole ---------------------------------------------------------------------


async def test_stats_tell_how_large_the_store_is(store: Store) -> None:
    await start_finished(store)
    await start(store, created_at=at(5))

    stats = await store.upkeep.stats()

    assert {RunStatus.COMPLETED: 1, RunStatus.PENDING: 1} == stats.runs
    assert (T0, at(5)) == (stats.oldest_at, stats.oldest_live_at)
    assert stats.size_bytes > stats.free_bytes >= 0
    assert {"runs": 2}.items() <= {one.name: one.rows for one in stats.tables}.items()
    assert all(one.is_exact for one in stats.tables)


async def test_empty_store_has_stats(store: Store) -> None:
    stats = await store.upkeep.stats()

    assert ({}, None, None) == (stats.runs, stats.oldest_at, stats.oldest_live_at)


async def test_sound_store_has_no_faults(store: Store) -> None:
    await start_finished(store)

    result = await store.upkeep.integrity(timeout_s=30)

    assert ([], []) == (list(result.faults), list(result.unchecked))
    assert "journal" in result.checked


async def test_check_without_time_says_what_it_has_left_out(store: Store) -> None:
    result = await store.upkeep.integrity(timeout_s=0)

    assert ([], []) == (list(result.faults), list(result.checked))
    assert "journal" in result.unchecked


async def test_retired_store_is_sound(store: Store) -> None:
    claims = [await start_finished(store) for _ in range(20)]
    waiting, _ = await start_suspended(store, wait_for("ask", WaitKind.APPROVAL))
    await end(store, waiting.run_id)
    failed = await start_claimed(store)
    await store.runs.finish(
        failed, NOTHING, status=RunStatus.FAILED, output=None, error=BROKE, now=T0
    )
    await newest(store)

    retired = await retire(store, *claims, waiting, failed)

    assert 22 == retired.runs
    assert [] == list((await store.upkeep.integrity(timeout_s=30)).faults)


async def test_free_space_is_given_back(store: Store) -> None:
    claims = []
    for i in range(150):
        claimed = await start_claimed(store)
        await record(store, claimed, entries=[make_step("a", f"{i}" * 60_000)])
        await finish(store, claimed)
        claims.append(claimed)
    await newest(store)
    before = await store.upkeep.stats()
    await retire(store, *claims)

    part = await store.upkeep.give_back(bytes_max=2 << 20)
    given = await store.upkeep.give_back(bytes_max=1 << 40)

    after = await store.upkeep.stats()
    assert part.bytes <= 2 << 20
    shrunk = before.size_bytes - after.size_bytes
    assert 0.99 * shrunk < part.bytes + given.bytes <= shrunk  # beside them pages of its own
    assert after.size_bytes < before.size_bytes / 2
    assert after.free_bytes == given.free_bytes
    assert 0.0 == after.blocked_s
