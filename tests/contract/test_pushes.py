"""What every store of pushes promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agency.domain.push import NewPush, Push, PushProtocol, PushState
from agency.domain.retention import Bound
from agency.domain.run import RunStatus
from agency.errors import PushNotFound, TaskNotFound, TooManyPushes
from agency.ports.store import NOTHING, Store
from tests.contract.conftest import Opener
from tests.contract.making import T0, at, claim, make_run, start
from tests.contract.test_tasks import finish, question, start_task, suspend

URL = "https://example.org/hook"


def make_push(task_id: str, push_id: str = "p", **more: Any) -> NewPush:
    told: dict[str, Any] = {"url": URL, "protocol": PushProtocol.V1_0, "created_at": T0, **more}
    return NewPush(id=push_id, task_id=task_id, **told)


async def put(store: Store, task_id: str, push_id: str = "p", **more: Any) -> Push:
    return await store.pushes.put(make_push(task_id, push_id, **more), per_task_max=3)


async def told_after(store: Store, push: Push) -> list[RunStatus]:
    """Statuses that are still to be told of the push's run."""
    page = await store.updates.of_run(push.run_id, after=push.position, limit=100)
    return [update.status for update in page.updates]


async def test_push_is_read_as_it_was_put_also_by_the_next_daemon(opener: Opener) -> None:
    async with opener() as store:
        task_id = await start_task(store)
        more: dict[str, Any] = {
            "scheme": "Bearer",
            "sealed": b"\0sealed",
            "address": "http://here:1",
        }
        kept = await put(store, task_id, protocol=PushProtocol.V0_3, **more)

    async with opener() as store:
        assert kept == await store.pushes.get(task_id, "p")
        assert kept == await store.pushes.find(kept.number)
        assert [kept] == await store.pushes.list(task_id, after=0, limit=5)
    assert (kept.task_id, kept.run_id, kept.url) == (task_id, task_id, URL)
    assert (kept.protocol, kept.scheme, kept.sealed) == ("0.3", "Bearer", b"\0sealed")
    assert (kept.state, kept.tries, kept.sent, kept.skipped) == (PushState.ACTIVE, 0, 0, 0)
    assert (kept.address, kept.due_at, kept.error, kept.created_at) == (
        "http://here:1",
        None,
        "",
        T0,
    )


async def test_push_begins_with_the_status_that_the_task_has_or_with_its_start(
    store: Store,
) -> None:
    task_id = await start_task(store)
    await suspend(store, task_id, question("q"))

    now = await put(store, task_id, "now")
    whole = await put(store, task_id, "whole", whole_task=True)

    assert [RunStatus.SUSPENDED] == await told_after(store, now)
    assert RunStatus.PENDING == (await told_after(store, whole))[0]


async def test_end_of_a_task_that_has_ended_is_told(store: Store) -> None:
    task_id = await start_task(store)
    await finish(store, task_id, RunStatus.COMPLETED)

    push = await put(store, task_id)

    assert [RunStatus.COMPLETED] == await told_after(store, push)
    assert [push.number] == await store.pushes.unfinished(after=0, limit=5)


async def test_push_that_is_set_anew_never_goes_forward(store: Store) -> None:
    task_id = await start_task(store)
    whole = await put(store, task_id, whole_task=True)
    await finish(store, task_id, RunStatus.COMPLETED)

    again = await put(store, task_id, url="https://example.org/other")
    done = replace(again, position=999, state=PushState.DONE, tries=3, error="no")
    assert await store.pushes.note(done)
    once_more = await put(store, task_id)

    assert (again.number, again.position) == (whole.number, whole.position)
    assert again.url == "https://example.org/other"
    assert [RunStatus.COMPLETED] == await told_after(store, once_more)
    assert (once_more.state, once_more.tries, once_more.error) == (PushState.ACTIVE, 0, "")


async def test_what_was_begun_before_a_push_was_set_anew_is_not_noted(store: Store) -> None:
    task_id = await start_task(store)
    old = await put(store, task_id)
    new = await put(store, task_id, url="https://example.org/other")

    assert not await store.pushes.note(replace(old, position=99))
    assert new == await store.pushes.get(task_id, "p")
    assert await store.pushes.delete(task_id, "p")
    assert not await store.pushes.note(replace(new, position=99))


async def test_how_far_a_push_has_come_is_read_as_it_was_noted(store: Store) -> None:
    push = await put(store, await start_task(store))
    noted = replace(
        push, position=7, tries=2, due_at=at(5), sent=3, skipped=1, error="It broke.",
        error_at=at(4), sent_at=at(3),
    )  # fmt: skip

    assert await store.pushes.note(noted)
    assert noted == await store.pushes.find(push.number)


async def test_pushes_are_listed_by_task_in_their_order(store: Store) -> None:
    task_id, other = await start_task(store), await start_task(store, "m2")
    pushes = [await put(store, task_id, name) for name in ("b", "a", "c")]
    await put(store, other, "d")

    first = await store.pushes.list(task_id, after=0, limit=2)

    assert pushes[:2] == first
    assert pushes[2:] == await store.pushes.list(task_id, after=first[-1].number, limit=2)


async def test_a_task_has_so_many_pushes_at_most_and_one_may_be_set_anew(store: Store) -> None:
    task_id = await start_task(store)
    for name in ("a", "b", "c"):
        await put(store, task_id, name)

    with pytest.raises(TooManyPushes):
        await put(store, task_id, "d")
    await put(store, task_id, "c")
    await store.pushes.delete(task_id, "a")
    await put(store, task_id, "d")


async def test_only_tasks_have_pushes(store: Store) -> None:
    run = await start(store)

    for task_id in (run.id, "nobody"):
        with pytest.raises(TaskNotFound):
            await put(store, task_id)
        with pytest.raises(PushNotFound):
            await store.pushes.get(task_id, "p")
        assert [] == await store.pushes.list(task_id, after=0, limit=5)
        assert not await store.pushes.delete(task_id, "p")


async def test_deleted_push_is_gone(store: Store) -> None:
    task_id = await start_task(store)
    push = await put(store, task_id)

    assert await store.pushes.delete(task_id, "p")
    assert not await store.pushes.delete(task_id, "p")
    assert await store.pushes.find(push.number) is None
    assert (await put(store, task_id)).number != push.number


async def test_look_finds_whom_new_entries_concern(store: Store) -> None:
    assert not (await store.pushes.changed(after=0, limit=10)).any_active
    quiet, busy = await start_task(store, "m1"), await start_task(store, "m2")
    pushes = [await put(store, quiet), await put(store, busy, "a"), await put(store, busy, "b")]
    newest = await store.updates.newest()
    nothing = await store.pushes.changed(after=newest, limit=10)
    await suspend(store, busy, question("q"))

    looked = await store.pushes.changed(after=newest, limit=10)

    assert ([], newest, True) == (list(nothing.numbers), nothing.seen, nothing.any_active)
    assert sorted(looked.numbers) == [pushes[1].number, pushes[2].number]
    assert looked.seen == await store.updates.newest()
    one = await store.pushes.changed(after=newest, limit=1)
    assert one.seen == newest + 1


async def test_pushes_that_are_done_are_not_looked_for(store: Store) -> None:
    task_id = await start_task(store)
    push = await put(store, task_id)
    await finish(store, task_id, RunStatus.FAILED)
    assert [push.number] == await store.pushes.unfinished(after=0, limit=5)

    await store.pushes.note(replace(push, state=PushState.GIVEN_UP))

    assert [] == await store.pushes.unfinished(after=0, limit=5)
    looked = await store.pushes.changed(after=0, limit=100)
    assert (list(looked.numbers), looked.any_active) == ([], False)


async def test_push_goes_on_with_the_run_that_its_task_goes_on_as(store: Store) -> None:
    task_id = await start_task(store)
    push = await put(store, task_id)
    claimed = await claim(store, task_id)
    heir = make_run()
    await store.runs.finish(
        claimed,
        NOTHING,
        status=RunStatus.COMPLETED,
        output=1,
        error=None,
        successor=heir,
        now=at(2),
    )

    moved = await store.pushes.find(push.number)

    assert moved is not None
    assert (moved.task_id, moved.run_id) == (task_id, heir.id)
    assert [moved] == await store.pushes.list(heir.id, after=0, limit=5)
    assert moved == await store.pushes.get(task_id, "p")


async def test_task_is_kept_until_its_end_was_told_and_takes_its_pushes_with_it(
    store: Store,
) -> None:
    task_id = await start_task(store)
    push = await put(store, task_id)
    await finish(store, task_id, RunStatus.COMPLETED)
    number = (await store.runs.get(task_id)).run.number
    old = {RunStatus.COMPLETED: Bound(ended_before=at(100), through=0)}

    kept = await store.upkeep.retire([number], old, rows_max=100)
    await store.pushes.note(replace(push, state=PushState.DONE))
    gone = await store.upkeep.retire([number], old, rows_max=100)

    assert ((kept.runs, kept.kept), (gone.runs, gone.kept)) == ((0, 1), (1, 0))
    assert await store.pushes.find(push.number) is None


async def test_all_active_pushes_are_given_up_at_once(store: Store) -> None:
    done, active = (
        await put(store, await start_task(store)),
        await put(store, await start_task(store, "m2")),
    )
    await store.pushes.note(replace(done, state=PushState.DONE))

    assert await store.pushes.give_up() == 1

    found = [await store.pushes.find(one.number) for one in (done, active)]
    assert [one.state for one in found if one] == [PushState.DONE, PushState.GIVEN_UP]
    assert not await store.pushes.note(active)
    assert await store.pushes.give_up() == 0
