"""`RunStore.start` and `RunStore.claim`."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from agency.domain.entry import EntryKind
from agency.domain.run import RunStatus
from agency.domain.wait import WaitKind
from agency.errors import IdempotencyMismatch, NameTaken, SessionBusy
from agency.ports.store import NOTHING, Claim, RunFilter, Store
from tests.contract.conftest import Opener
from tests.contract.making import (
    BOOT,
    BROKE,
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
)


async def test_started_run_is_read_as_it_was_handed_in(store: Store) -> None:
    new = make_run(
        name="order-1",
        input={"a": [1, None, "ä"]},
        priority=3,
        max_attempts=5,
        available_at=at(5),
        deadline_at=at(60),
        session_id="s",
        idempotency_key="k",
        request_hash="h",
        correlation_id="c",
        principal="p",
        tags={"team": "blue"},
        provider="rehearsal",
        seed=2**63 + 5,
    )

    started = await store.runs.start(new)
    detail = await store.runs.get(new.id)

    assert started.is_new
    assert started.run == detail.run
    run = detail.run
    assert (RunStatus.PENDING, 0, 1, None) == (run.status, run.epoch, run.attempt, run.owner)
    for name in ("name", "input", "priority", "max_attempts", "available_at", "deadline_at"):
        assert getattr(new, name) == getattr(run, name)
    for name in ("session_id", "idempotency_key", "correlation_id", "principal", "tags", "seed"):
        assert getattr(new, name) == getattr(run, name)
    assert "rehearsal" == run.provider
    assert T0 == run.created_at


async def test_started_run_is_there_after_opening_again(opener: Opener) -> None:
    async with opener() as store:
        run = await start(store)

    async with opener() as store:
        assert run == (await store.runs.get(run.id)).run


async def test_known_idempotency_key_gives_the_same_run(store: Store) -> None:
    first = await store.runs.start(make_run(idempotency_key="k", request_hash="h"))

    second = await store.runs.start(make_run(idempotency_key="k", request_hash="h"))

    assert not second.is_new
    assert first.run.id == second.run.id


async def test_known_idempotency_key_gives_the_run_also_after_its_end(store: Store) -> None:
    claimed = await start_claimed(store, idempotency_key="k", request_hash="h", name="n")
    await finish(store, claimed, output=1)

    again = await store.runs.start(make_run(idempotency_key="k", request_hash="h", name="n"))

    assert (claimed.run_id, 1) == (again.run.id, again.run.output)


async def test_idempotency_key_with_another_request_is_refused(store: Store) -> None:
    await start(store, idempotency_key="k", request_hash="h")

    with pytest.raises(IdempotencyMismatch):
        await start(store, idempotency_key="k", request_hash="other")


async def test_one_idempotency_key_at_once_makes_one_run(store: Store) -> None:
    requests = [make_run(idempotency_key="k", request_hash="h") for _ in range(50)]

    started = await asyncio.gather(*(store.runs.start(new) for new in requests))

    assert 1 == sum(one.is_new for one in started)
    assert 1 == len({one.run.id for one in started})
    assert 1 == len(await store.runs.list(RunFilter(), before=None, limit=100))


async def test_start_of_a_known_id_finds_the_run(store: Store) -> None:
    new = make_run()
    await store.runs.start(new)

    again = await store.runs.start(new)

    assert (new.id, False) == (again.run.id, again.is_new)


async def test_name_of_a_live_run_is_refused(store: Store) -> None:
    run = await start(store, name="n")

    with pytest.raises(NameTaken) as refused:
        await start(store, name="n")

    assert run.id == refused.value.run_id


async def test_name_is_free_again_after_the_end(store: Store) -> None:
    await finish(store, await start_claimed(store, name="n"))

    assert "n" == (await start(store, name="n")).name


async def test_one_name_at_once_makes_one_run(store: Store) -> None:
    results = await asyncio.gather(
        *(store.runs.start(make_run(name="n")) for _ in range(20)), return_exceptions=True
    )

    assert 19 == sum(isinstance(result, NameTaken) for result in results)


async def test_refused_start_touches_no_neighbour(store: Store) -> None:
    await start(store, name="n")
    requests = [make_run(name="n" if i % 3 == 0 else None) for i in range(30)]

    results = await asyncio.gather(
        *(store.runs.start(new) for new in requests), return_exceptions=True
    )

    assert [i % 3 == 0 for i in range(30)] == [isinstance(r, NameTaken) for r in results]
    assert {RunStatus.PENDING: 21} == await store.runs.count_by_status()


async def test_session_whose_run_is_suspended_is_busy(store: Store) -> None:
    claimed, _ = await start_suspended(store, wait_for("ask", WaitKind.INPUT), session_id="s")

    with pytest.raises(SessionBusy) as refused:
        await start(store, session_id="s")

    assert (claimed.run_id, "ask") == (refused.value.run_id, refused.value.wait)


@pytest.mark.parametrize("kind", [WaitKind.TIMER, WaitKind.RESOURCE])
async def test_message_queues_behind_a_run_that_goes_on_by_itself(
    store: Store, kind: WaitKind
) -> None:
    first, _ = await start_suspended(store, wait_for("w", kind), session_id="s")

    second = await start(store, session_id="s")

    assert first.run_id == (await store.runs.get(second.id)).behind
    assert () == tuple(await store.runs.claim(limit=10, owner=BOOT, now=T0))


async def test_busy_session_gives_the_run_of_a_known_key_all_the_same(store: Store) -> None:
    changes = {"session_id": "s", "idempotency_key": "k", "request_hash": "h"}
    claimed, _ = await start_suspended(store, wait_for("ask", WaitKind.INPUT), **changes)

    again = await store.runs.start(make_run(**changes))

    assert (claimed.run_id, False) == (again.run.id, again.is_new)


async def test_run_queues_behind_the_live_run_of_its_session(store: Store) -> None:
    first = await start_claimed(store, session_id="s")
    second = await start(store, session_id="s")
    third = await start(store, session_id="s")

    nothing = await store.runs.claim(limit=10, owner=BOOT, now=T0)
    behind = (await store.runs.get(second.id)).behind
    wakes = await finish(store, first)
    ready = await store.runs.claim(limit=10, owner=BOOT, now=T0)

    assert [] == list(nothing)
    assert first.run_id == behind
    assert [second.id] == ids(wakes)
    assert [second.id] == ids(ready)
    assert second.id == (await store.runs.get(third.id)).behind
    assert (await store.runs.get(second.id)).behind is None


async def test_queued_run_is_not_claimed_by_name_either(store: Store) -> None:
    await start_claimed(store, session_id="s")
    second = await start(store, session_id="s")

    assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=T0, only=second.id))


async def test_end_in_the_middle_of_a_session_wakes_nobody(store: Store) -> None:
    first = await start_claimed(store, session_id="s")
    second = await start(store, session_id="s")
    third = await start(store, session_id="s")

    ending = await end(store, second.id)

    assert [] == list(ending.wakes)
    assert [third.id] == ids(await finish(store, first))


async def test_suspended_run_keeps_its_session(store: Store) -> None:
    first = await start_claimed(store, session_id="s")
    second = await start(store, session_id="s")

    await suspend(store, first, wait_for_event("paid"))

    assert [] == list(await store.runs.claim(limit=10, owner=BOOT, now=T0))
    assert first.run_id == (await store.runs.get(second.id)).behind


async def test_claim_takes_highest_priority_then_longest_ready(store: Store) -> None:
    low = await start(store, priority=-1)
    late = await start(store, available_at=at(2))
    early = await start(store, available_at=at(1))
    high = await start(store, priority=9, available_at=at(3))
    same = await start(store, available_at=at(2))

    runs = await store.runs.claim(limit=10, owner=BOOT, now=at(3))

    assert [high.id, early.id, late.id, same.id, low.id] == ids(runs)


async def test_claim_is_bounded_across_priorities(store: Store) -> None:
    wanted = [await start(store, priority=priority) for priority in (5, 4, 3)]

    assert ids(wanted[:2]) == ids(await store.runs.claim(limit=2, owner=BOOT, now=T0))
    assert [] == list(await store.runs.claim(limit=0, owner=BOOT, now=T0))


async def test_run_is_not_claimed_before_it_is_due(store: Store) -> None:
    run = await start(store, available_at=at(10))

    assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=at(9)))
    assert [] == list(await store.runs.claim(limit=1, owner=BOOT, now=at(9), only=run.id))
    assert [run.id] == ids(await store.runs.claim(limit=1, owner=BOOT, now=at(10)))


@pytest.mark.parametrize("available_at", [None, T0, at(-1)])
async def test_accepted_run_is_ready_though_the_clock_is_set_back(
    store: Store, available_at: datetime | None
) -> None:
    run = await start(store, available_at=available_at)
    other = await start(store, available_at=available_at)

    assert [run.id] == ids(await store.runs.claim(limit=1, owner=BOOT, now=at(-3600)))
    await claim(store, other.id, now=at(-3600))


async def test_woken_and_released_runs_are_ready_though_the_clock_is_set_back(
    store: Store,
) -> None:
    woken, _ = await start_suspended(store, wait_for_event("a"))
    await deliver(store, woken.run_id, "a")
    released = await start_claimed(store)
    await store.runs.release(released, NOTHING, available_at=T0, now=T0)
    failed = await start_claimed(store, max_attempts=2)
    await store.runs.release(failed, NOTHING, available_at=at(-1), failed=BROKE, now=T0)
    ended = await start_claimed(store)
    await record(store, ended, entries=[make_step("undo", kind=EntryKind.AT_END)])
    await suspend(store, ended, wait_for_event("a"))
    await end(store, ended.run_id)
    held = await start(store, available_at=at(60))
    await hold(store, held.id)
    await answer(store, held.id, "!operator#1")

    runs = await store.runs.claim(limit=9, owner=BOOT, now=at(-3600))

    wanted = [woken.run_id, released.run_id, failed.run_id, ended.run_id, held.id]
    assert sorted(wanted) == sorted(ids(runs))


async def test_run_that_was_put_off_is_ready_after_a_crash_though_the_clock_is_set_back(
    store: Store,
) -> None:
    run = await start(store, available_at=at(60))
    await claim(store, run.id, now=at(60))

    await store.runs.recover(owner="boot-2", now=T0)

    await claim(store, run.id, owner="boot-2")


async def test_runs_that_were_put_off_and_others_are_claimed_in_one_order(store: Store) -> None:
    late = await start(store, available_at=at(3))
    first = await start(store)
    later = await start(store, available_at=at(5))
    second = await start(store, created_at=at(4))
    low = await start(store, available_at=at(1), priority=-1)
    never = await start(store, available_at=at(99), priority=9)

    batches = [
        ids(await store.runs.claim(limit=limit, owner=BOOT, now=at(5))) for limit in (3, 1, 9)
    ]

    assert [[first.id, late.id, second.id], [later.id], [low.id]] == batches
    assert RunStatus.PENDING == await status_of(store, never.id)


async def test_claim_sets_owner_epoch_and_first_start(store: Store) -> None:
    run = await start(store)
    (first,) = await store.runs.claim(limit=1, owner="boot-1", now=at(1))
    claimed = Claim(first.number, first.id, first.epoch)
    await store.runs.release(claimed, NOTHING, available_at=T0, now=T0)

    (second,) = await store.runs.claim(limit=1, owner="boot-2", now=at(2))

    assert ("boot-1", 1, RunStatus.RUNNING) == (first.owner, first.epoch, first.status)
    assert ("boot-2", 2, at(1)) == (second.owner, second.epoch, second.started_at)
    assert run.number == second.number
    assert second == (await store.runs.get(run.id)).run


async def test_each_run_is_handed_to_one_caller(store: Store) -> None:
    started = [await start(store) for _ in range(40)]

    batches = await asyncio.gather(
        *(store.runs.claim(limit=3, owner=f"boot-{i}", now=T0) for i in range(20))
    )

    claimed = [run.id for batch in batches for run in batch]
    assert sorted(run.id for run in started) == sorted(claimed)


async def test_claim_of_one_leaves_the_others(store: Store) -> None:
    first, second = await start(store), await start(store)

    await claim(store, second.id)

    assert RunStatus.PENDING == await status_of(store, first.id)
