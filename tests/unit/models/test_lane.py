from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from agency.errors import ModelBusy
from agency.models.lane import BACKGROUND_EVERY, Lane, Lanes
from agency.ports.model import Urgency

INTERACTIVE, BACKGROUND = Urgency.INTERACTIVE, Urgency.BACKGROUND


async def order_of(lane: Lane, callers: list[tuple[str, Urgency, str]]) -> list[str]:
    """Let callers (name, urgency, key) queue behind a holder; tell in which order they got on."""
    order: list[str] = []

    async def call(name: str, urgency: Urgency, key: str) -> None:
        async with lane.place(urgency=urgency, turn_key=key):
            order.append(name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group, lane.place():
        for caller in callers:
            group.create_task(call(*caller))
        while lane.waiting < len(callers):
            await asyncio.sleep(0)
    assert lane.is_idle
    return order


async def test_callers_of_one_key_are_served_in_their_order() -> None:
    callers = [(str(i), INTERACTIVE, "") for i in range(5)]

    assert await order_of(Lane("m", places=1), callers) == ["0", "1", "2", "3", "4"]


async def test_interactive_calls_go_ahead_of_background_ones() -> None:
    callers = [("b1", BACKGROUND, ""), ("b2", BACKGROUND, ""), ("i1", INTERACTIVE, "")]

    assert await order_of(Lane("m", places=1), callers) == ["i1", "b1", "b2"]


async def test_keys_take_turns() -> None:
    callers = [(f"a{i}", INTERACTIVE, "a") for i in range(3)]
    callers += [("b0", INTERACTIVE, "b"), ("c0", INTERACTIVE, "c")]

    assert await order_of(Lane("m", places=1), callers) == ["a0", "b0", "c0", "a1", "a2"]


async def test_background_call_gets_its_turn_among_many_interactive_ones() -> None:
    callers = [("b", BACKGROUND, "")]
    callers += [(f"i{i}", INTERACTIVE, "") for i in range(BACKGROUND_EVERY + 3)]

    order = await order_of(Lane("m", places=1), callers)

    assert order.index("b") == BACKGROUND_EVERY


async def test_no_more_than_the_places_work_at_once() -> None:
    lane = Lane("m", places=2)
    working = highest = 0

    async def call() -> None:
        nonlocal working, highest
        async with lane.place():
            working += 1
            highest = max(highest, working)
            await asyncio.sleep(0)
            working -= 1

    await asyncio.gather(*(call() for _ in range(10)))

    assert highest == 2
    assert lane.is_idle


async def test_full_queue_refuses_and_says_when_to_come_again() -> None:
    lane = Lane("m", places=1, waiting_max=1)
    async with lane.place(), asyncio.TaskGroup() as group:
        waiting = group.create_task(lane.place().__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(ModelBusy) as caught:
            async with lane.place():
                pass
        waiting.cancel()

    assert caught.value.retry_after_s
    assert lane.is_idle


async def test_cancelled_waiter_is_left_out() -> None:
    lane = Lane("m", places=1)
    served: list[str] = []

    async def call(name: str) -> None:
        async with lane.place():
            served.append(name)

    async with lane.place():
        first, second = asyncio.create_task(call("first")), asyncio.create_task(call("second"))
        await asyncio.sleep(0)
        first.cancel()
    await asyncio.wait([first, second])

    assert served == ["second"]
    assert lane.is_idle


async def test_place_handed_to_a_cancelled_waiter_is_passed_on() -> None:
    """The cancel arrives after the hand-over and before the waiter has run."""
    lane = Lane("m", places=1)
    served: list[str] = []

    async def call(name: str) -> None:
        async with lane.place():
            served.append(name)

    async with AsyncExitStack() as holder:
        await holder.enter_async_context(lane.place())
        first, second = asyncio.create_task(call("first")), asyncio.create_task(call("second"))
        await asyncio.sleep(0)
        await holder.aclose()
        first.cancel()
    await asyncio.wait([first, second])

    assert first.cancelled()
    assert served == ["second"]
    assert lane.is_idle


async def test_lanes_of_unused_models_are_dropped() -> None:
    lanes = Lanes(places=1)
    async with lanes.place("a"), lanes.place("b"):
        assert lanes.used == 2

    assert lanes.used == 0


async def test_lane_is_shared_while_somebody_waits_in_it() -> None:
    lanes = Lanes(places=1)
    order: list[str] = []

    async def call(name: str) -> None:
        async with lanes.place("m"):
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(*(call(name) for name in "abc"))

    assert order == ["a", "a", "b", "b", "c", "c"]
    assert lanes.used == 0
