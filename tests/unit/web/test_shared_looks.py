"""Looks that are shared: none is older than the request that it answers."""

from __future__ import annotations

import asyncio

import pytest

from agency.errors import RunNotFound
from agency.web.shared_looks import SharedLooks


class Thing:
    """Something that is looked at; a look begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.state = 0
        self.looks = 0
        self.is_quick = False
        self.error: Exception | None = None
        self.begun: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def look(self, key: str) -> int:
        self.looks += 1
        seen = self.state
        if not self.is_quick:
            go = asyncio.Event()
            self.begun.put_nowait(go)
            await go.wait()
        if self.error is not None:
            raise self.error
        return seen


async def test_those_who_come_during_a_look_share_the_next() -> None:
    thing = Thing()
    shared = SharedLooks(thing.look)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first = group.create_task(shared.get("a"))
        begun = await thing.begun.get()
        thing.state = 1
        others = [group.create_task(shared.get("a")) for _ in range(50)]
        await asyncio.sleep(0)
        begun.set()
        (await thing.begun.get()).set()

    assert first.result() == 0
    assert {1} == {other.result() for other in others}
    assert thing.looks == 2
    assert not shared._turns


async def test_different_things_do_not_wait_for_each_other() -> None:
    thing = Thing()
    shared = SharedLooks(thing.look)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(shared.get("a"))
        group.create_task(shared.get("b"))
        both = [await thing.begun.get(), await thing.begun.get()]
        for begun in both:
            begun.set()

    assert thing.looks == 2


@pytest.mark.parametrize("leader_waits", [False, True])
async def test_a_leader_who_leaves_leaves_the_others_their_look(*, leader_waits: bool) -> None:
    thing = Thing()
    shared = SharedLooks(thing.look)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first = group.create_task(shared.get("a"))
        begun = await thing.begun.get()
        leader = group.create_task(shared.get("a"))
        await asyncio.sleep(0)
        follower = group.create_task(shared.get("a"))
        await asyncio.sleep(0)
        if leader_waits:
            leader.cancel()
            await asyncio.sleep(0)
            begun.set()
        else:
            begun.set()
            await thing.begun.get()
            leader.cancel()
        (await thing.begun.get()).set()

    assert (first.result(), follower.result()) == (0, 0)
    assert leader.cancelled()
    assert not shared._turns


async def test_a_follower_who_leaves_takes_nothing_with_it() -> None:
    thing = Thing()
    shared = SharedLooks(thing.look)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(shared.get("a"))
        begun = await thing.begun.get()
        tasks = [group.create_task(shared.get("a")) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        begun.set()
        (await thing.begun.get()).set()

    assert (tasks[0].result(), tasks[2].result()) == (0, 0)


@pytest.mark.parametrize("error", [RunNotFound("a"), ZeroDivisionError("a bug")])
async def test_all_hear_of_an_error(error: Exception) -> None:
    thing = Thing()
    shared = SharedLooks(thing.look)

    async with asyncio.timeout(5):
        tasks = [asyncio.create_task(shared.get("a"))]
        begun = await thing.begun.get()
        tasks += [asyncio.create_task(shared.get("a")) for _ in range(3)]
        await asyncio.sleep(0)
        thing.error = error
        thing.is_quick = True
        begun.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(error)} == {type(each) for each in found}
    assert not shared._turns
