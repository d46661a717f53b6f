"""What the store promises about updates: one order, no gap, no number twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.core.json import decode
from agency.core.limits import BLOB_BYTES_MIN, UPDATE_BYTES_MAX
from agency.domain.entry import EntryKind
from agency.domain.run import RunStatus
from agency.domain.update import Update, UpdateType
from agency.errors import RunNotFound
from agency.ports.store import Store, Writes
from agency.ports.updates import HookStep
from tests.contract.conftest import Opener
from tests.contract.making import (
    BROKE,
    T0,
    answer,
    at,
    claim,
    deliver,
    end,
    finish,
    hold,
    make_step,
    record,
    start,
    start_claimed,
    start_suspended,
    suspend,
    wait_for_event,
)

EVERYTHING = frozenset(UpdateType)


async def all_updates(store: Store, after: int = 0) -> Sequence[Update]:
    page = await store.updates.tail(
        after=after, types=EVERYTHING, runs=frozenset(), limit=1_000_000
    )
    return page.updates


async def of_run(store: Store, run_id: str) -> list[tuple[str, Any]]:
    """Types of a run's updates, with the status of those that are one and else the key."""
    page = await store.updates.of_run(run_id, after=0, limit=1000)
    return [
        (update.type.value, update.status.value if update.type == "status" else update.key)
        for update in page.updates
    ]


async def test_life_of_a_run_is_seen_in_its_order(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("a#1")])
    await suspend(store, claimed, wait_for_event("paid"))
    await deliver(store, claimed.run_id, "paid")
    claimed = await claim(store, claimed.run_id)
    # What is recorded in the commit of the end comes before the end.
    await store.runs.finish(
        claimed,
        Writes(entries=[make_step("b#1")]),
        status=RunStatus.COMPLETED,
        output=1,
        error=None,
        now=at(9),
    )

    assert [
        ("status", "pending"),
        ("status", "running"),
        ("step", "a#1"),
        ("status", "suspended"),
        ("status", "pending"),
        ("status", "running"),
        ("step", "b#1"),
        ("status", "completed"),
    ] == await of_run(store, claimed.run_id)
    assert at(9) == (await store.updates.last_status(claimed.run_id)).at


async def test_one_order_for_all_runs(store: Store) -> None:
    one, other = await start_claimed(store), await start_claimed(store)
    await record(store, one, entries=[make_step("a#1")])
    await record(store, other, entries=[make_step("a#1")])
    await finish(store, one)

    seen = await all_updates(store)

    assert [one, one, other, other, one, other, one] == [
        one if update.run_id == one.run_id else other for update in seen
    ]
    numbers = [update.id for update in seen]
    assert sorted(set(numbers)) == numbers


async def test_update_tells_whose_it_is(store: Store) -> None:
    run = await start(
        store, name="n", session_id="s", queue="default", tags={"team": "a"}, workflow="w"
    )

    [update] = await all_updates(store)

    assert (run.id, run.number, "n", "w", "default", "s", {"team": "a"}, T0) == (
        update.run_id,
        update.run_number,
        update.name,
        update.workflow,
        update.queue,
        update.session_id,
        update.tags,
        update.at,
    )


async def test_what_belongs_to_a_status_is_told_with_it(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for_event("paid"), max_attempts=2)
    assert {"reason": "test"} == decode(
        (await store.updates.last_status(claimed.run_id)).data or b""
    )
    await deliver(store, claimed.run_id, "paid")
    claimed = await claim(store, claimed.run_id)

    await store.runs.release(claimed, Writes(), available_at=at(5), failed=BROKE, now=T0)

    update = await store.updates.last_status(claimed.run_id)
    assert RunStatus.PENDING is update.status
    assert {"attempt": 2, "error": "error"} == decode(update.data or b"")


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.TIMED_OUT])
async def test_end_from_outside_is_seen(store: Store, status: RunStatus) -> None:
    run = await start(store)

    await end(store, run.id, status)

    update = await store.updates.last_status(run.id)
    assert (status, True) == (update.status, update.is_end)


async def test_hold_and_its_lifting_are_seen(store: Store) -> None:
    run = await start(store)

    await hold(store, run.id)
    held = await store.updates.last_status(run.id)
    await answer(store, run.id, "!operator#1")

    assert {"reason": "look"} == decode(held.data or b"")
    assert [("status", "pending"), ("status", "suspended"), ("status", "pending")] == await of_run(
        store, run.id
    )


async def test_progress_is_one_row_with_a_new_number_each_time(store: Store) -> None:
    claimed = await start_claimed(store)
    seen: list[int] = []
    for done in range(3):
        await record(store, claimed, progress={"done": done}, has_progress=True)
        [progress] = [
            update for update in await all_updates(store) if update.type == UpdateType.PROGRESS
        ]
        assert {"done": done} == decode(progress.data or b"")
        seen.append(progress.id)

    assert sorted(set(seen)) == seen


async def test_updates_are_not_part_of_what_a_run_has_recorded(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(
        store, claimed, entries=[make_step("a#1")], progress={"done": 1}, has_progress=True
    )
    await suspend(store, claimed, wait_for_event("paid"))

    journal = await store.journal.load(claimed.number)
    listed = await store.journal.entries(claimed.run_id, after=0, limit=100)

    assert [["a#1"], ["a#1"]] == [[one.key for one in each] for each in (journal.entries, listed)]
    assert 1 == (await store.runs.get(claimed.run_id)).steps_executed


async def test_claim_that_recorded_nothing_counts_as_a_crash(opener: Opener) -> None:
    """A change of status is no sign of life: the claim itself has made it."""
    async with opener() as store:
        claimed = await start_claimed(store)
        await record(store, claimed, entries=[make_step("a#1")])
        await store.runs.recover(owner="boot-2", now=T0)
        await claim(store, claimed.run_id, owner="boot-2")
        await store.runs.recover(owner="boot-3", now=T0)

        assert 1 == (await store.runs.get(claimed.run_id)).run.crashes


async def test_tail_is_read_in_pages_without_gap(store: Store) -> None:
    claimed = await start_claimed(store)
    for number in range(20):
        await record(store, claimed, entries=[make_step(f"a#{number}")])
    whole = [update.id for update in await all_updates(store)]

    found: list[int] = []
    after = 0
    while True:
        page = await store.updates.tail(after=after, types=EVERYTHING, runs=frozenset(), limit=3)
        if page.seen == after:
            break
        found += [update.id for update in page.updates]
        after = page.seen

    assert whole == found
    assert after == await store.updates.newest()


async def test_tail_reads_what_is_wanted(store: Store) -> None:
    one, other = await start_claimed(store), await start_claimed(store)
    for claimed in (one, other):
        await record(store, claimed, entries=[make_step("a#1")])

    async def seen(types: set[UpdateType], runs: set[int]) -> list[tuple[bool, str]]:
        page = await store.updates.tail(
            after=0, types=frozenset(types), runs=frozenset(runs), limit=100
        )
        assert await store.updates.newest() == page.seen
        return [(update.run_id == one.run_id, update.type.value) for update in page.updates]

    assert [] == await seen(set(), set())
    assert [(True, "step"), (False, "step")] == await seen({UpdateType.STEP}, set())
    assert [(True, "status"), (True, "status"), (True, "step")] == await seen(set(), {one.number})
    assert [(True, "status"), (True, "status"), (True, "step"), (False, "step")] == await seen(
        {UpdateType.STEP}, {one.number}
    )


async def test_updates_of_a_run_are_read_in_pages(store: Store) -> None:
    claimed, other = await start_claimed(store), await start_claimed(store)
    for number in range(5):
        await record(store, claimed, entries=[make_step(f"a#{number}")])
        await record(store, other, entries=[make_step(f"a#{number}")])

    first = await store.updates.of_run(claimed.run_id, after=0, limit=4)
    second = await store.updates.of_run(claimed.run_id, after=first.seen, limit=4)

    assert ["", "", "a#0", "a#1"] == [update.key for update in first.updates]
    assert first.updates[-1].id == first.seen
    assert ["a#2", "a#3", "a#4"] == [update.key for update in second.updates]
    assert await store.updates.newest() == second.seen
    nothing = await store.updates.of_run(claimed.run_id, after=second.seen, limit=4)
    assert ([], second.seen) == (list(nothing.updates), nothing.seen)


async def test_unknown_run_has_no_updates(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await store.updates.of_run(new_id(), after=0, limit=1)
    with pytest.raises(RunNotFound):
        await store.updates.last_status(new_id())


@pytest.mark.parametrize("characters", [UPDATE_BYTES_MAX + 1, BLOB_BYTES_MIN + 1])
async def test_what_is_too_long_for_watchers_is_left_out_and_its_length_told(
    store: Store, characters: int
) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("a#1", "x" * characters)])

    [step] = [update for update in await all_updates(store) if update.key]

    assert (None, characters + 2) == (step.data, step.data_bytes)


async def test_book_keeping_is_not_seen(store: Store) -> None:
    claimed = await start_claimed(store)
    kinds = [EntryKind.NOW, EntryKind.AT_END]
    await record(store, claimed, entries=[make_step(f"{kind}#1", kind=kind) for kind in kinds])

    assert [("status", "pending"), ("status", "running")] == await of_run(store, claimed.run_id)


async def test_failure_that_was_made_void_keeps_its_key(store: Store) -> None:
    claimed = await start_claimed(store)
    await record(store, claimed, entries=[make_step("a#1", kind=EntryKind.FAILURE)])
    await record(store, claimed, superseded=["a#1"], entries=[make_step("a#1")])

    assert [("failure", "a#1"), ("step", "a#1")] == (await of_run(store, claimed.run_id))[2:]


async def test_numbers_go_on_after_the_store_was_opened_again(opener: Opener) -> None:
    async with opener() as store:
        await start(store)
        before = await store.updates.newest()
    async with opener() as store:
        await start(store)

        assert [before + 1] == [update.id for update in await all_updates(store, before)]


async def test_listener_hears_of_commits_until_it_leaves(store: Store) -> None:
    heard = asyncio.Event()
    leave = store.updates.listen(heard.set)
    await start(store)
    assert heard.is_set()

    leave()
    heard.clear()
    await start(store)

    assert not heard.is_set()


async def test_hook_begins_with_what_comes_after_it(store: Store) -> None:
    await start(store)
    newest = await store.updates.newest()

    assert newest == await store.updates.open_hook("h", now=T0)
    await start(store)
    assert newest == await store.updates.open_hook("h", now=at(1))


async def test_hook_never_goes_back(opener: Opener) -> None:
    async with opener() as store:
        for name in ("h", "other"):
            await store.updates.open_hook(name, now=T0)
        step = HookStep(name="h", position=7, calls=5, skipped=1)
        await store.updates.save_hooks([step], now=at(1))
        late = HookStep(name="h", position=3, calls=2, skipped=0)
        await store.updates.save_hooks([late], now=at(2))
    async with opener() as store:
        assert 7 == await store.updates.open_hook("h", now=at(3))
        assert [("h", 7, 7, 1, at(2)), ("other", 0, 0, 0, T0)] == [
            (one.name, one.position, one.calls, one.skipped, one.changed_at)
            for one in await store.updates.hooks()
        ]
