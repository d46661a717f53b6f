"""A place to work in: given up while somebody else is waited for."""

from __future__ import annotations

import asyncio

import pytest

from agency.mcp.call import Turn


async def test_place_is_free_while_a_client_is_asked() -> None:
    places = asyncio.Semaphore(1)
    turn = Turn(places, timeout_s=10)

    async with turn.taken():
        assert places.locked()
        async with turn.paused():
            assert not places.locked()
        assert places.locked()

    assert not places.locked()


async def test_time_in_which_a_client_is_asked_does_not_count() -> None:
    turn, began = Turn(asyncio.Semaphore(1), timeout_s=0.05), asyncio.get_running_loop().time()

    async with turn.taken(), turn.paused():
        # Longer than the limit, by the clock that it is measured with.
        while asyncio.get_running_loop().time() - began < 0.1:
            await asyncio.sleep(0.01)


async def test_work_that_takes_too_long_ends() -> None:
    with pytest.raises(TimeoutError):
        async with Turn(asyncio.Semaphore(1), timeout_s=0.01).taken():
            await asyncio.Event().wait()


async def test_place_is_given_back_when_the_asking_is_broken_off() -> None:
    places = asyncio.Semaphore(1)

    async def work() -> None:
        turn = Turn(places, timeout_s=10)
        async with turn.taken(), turn.paused():
            asked.set()
            await asyncio.Event().wait()

    asked = asyncio.Event()
    working = asyncio.create_task(work())
    await asked.wait()
    working.cancel()
    await asyncio.wait([working])

    assert working.cancelled()
    assert not places.locked()


async def test_who_is_cancelled_while_a_client_is_asked_waits_for_no_place() -> None:
    places = asyncio.Semaphore(1)

    async def work() -> None:
        turn = Turn(places, timeout_s=10)
        async with turn.taken(), turn.paused():
            asked.set()
            await asyncio.Event().wait()

    asked = asyncio.Event()
    working = asyncio.create_task(work())
    await asked.wait()
    await places.acquire()
    working.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([working])

    assert working.cancelled()
    places.release()
    assert not places.locked()
