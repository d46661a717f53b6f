"""Streams of tasks: what is told, in which order, to how many, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import UnsupportedOperationError

from agency import Content, Context, Rejected, text_part, workflow
from agency.a2a.operations import Event
from tests.integration.tasks.desk import (
    AT_ONCE,
    GUARD_S,
    Desk,
    by,
    open_desk,
    request,
    shown,
    texts,
)


@workflow("echo")
async def echo(_: Context, said: str) -> str:
    return said


@workflow("work")
async def work(ctx: Context, said: str) -> str:
    await ctx.deliver("log", "one ", is_last=False)
    await ctx.input("Go on?")
    await ctx.deliver("log", "x" * 5000, append=True)
    ctx.progress(1, 2, "half")
    await ctx.step("rest", str)
    return said


@workflow("talk")
async def talk(ctx: Context, said: Content) -> Content:
    match said.parts[0].text:
        case "hello":
            return Content(parts=[text_part("Hello.")], is_message=True)
        case "refuse":
            raise Rejected("no")
        case "late":
            await ctx.sleep(0.7)
            return Content(parts=[text_part("Late.")], is_message=True)
        case _:
            await ctx.deliver("log", "told")
            return Content(parts=[text_part("made")])


@workflow("chain")
async def chain(ctx: Context, number: int) -> int:
    await ctx.deliver("log", str(number))
    await ctx.input("On?")
    if number:
        ctx.continue_as(number - 1)
    return number


ALL = (echo, work, talk, chain)


async def all_of(events: AsyncGenerator[Event, None]) -> list[str]:
    async with asyncio.timeout(GUARD_S), aclosing(events):
        return [shown(event) async for event in events]


def stream(desk: Desk, name: str, *parts: Any, **more: Any) -> AsyncGenerator[Event, None]:
    return desk.to(name).on_message_send_stream(request(*parts, **more), by())


def subscribe(desk: Desk, name: str, task_id: str) -> AsyncGenerator[Event, None]:
    return desk.to(name).on_subscribe_to_task(pb.SubscribeToTaskRequest(id=task_id), by())


async def test_stream_tells_a_task_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        told = await all_of(stream(desk, "echo", "x"))

        # Whether it was begun before it was first looked at is a matter of luck.
        assert told[0] in {"task submitted", "task working"}
        assert ["output. x", "status completed"] == told[-2:]


async def test_stream_of_a_message_ends_when_it_is_the_callers_turn(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        events = stream(desk, "work", "x")
        async with asyncio.timeout(GUARD_S):
            first = await anext(events)
        assert isinstance(first, pb.Task)
        subscribed = subscribe(desk, "work", first.id)
        snapshot = await anext(subscribed)
        rest = await all_of(events)
        assert ["log one ", "status input_required"] == rest[-2:]

        told = await all_of(stream(desk, "work", "yes", task_id=first.id))
        long = f"log+. {'x' * 5000}"
        # Its progress rides with a commit, and is told before or after that has said more.
        assert ["task working", long, "output. x", "status completed"] == [
            one for one in told if one != "status working"
        ]
        # Whoever has subscribed is told of all of it.
        everything = [shown(snapshot), *(await all_of(subscribed))]
        assert [long, "output. x", "status completed"] == [
            one for one in everything if one != "status working"
        ][-3:]


async def test_progress_is_told_in_words(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("work", "x")
        events = desk.to("work").on_message_send_stream(request("yes", task_id=task.id), by())
        async with asyncio.timeout(GUARD_S), aclosing(events):
            said = [
                texts(event.status.message.parts)
                async for event in events
                if isinstance(event, pb.TaskStatusUpdateEvent) and event.status.HasField("message")
            ]

        assert [["1 of 2: half"]] == said


async def test_many_who_subscribe_are_told_the_same_also_after_a_restart(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("work", "x")

    async with open_desk(tmp_path, *ALL) as desk:
        streams = [subscribe(desk, "work", task.id) for _ in range(5)]
        firsts = [shown(await anext(one)) for one in streams]
        assert ["task input_required"] * 5 == firsts
        leaver = subscribe(desk, "work", task.id)
        await anext(leaver)
        await leaver.aclose()
        listening = [asyncio.create_task(all_of(one)) for one in streams]
        await desk.send("work", "yes", task_id=task.id, configuration=AT_ONCE)
        told = await asyncio.gather(*listening)

        assert told[0][-2:] == ["output. x", "status completed"]
        assert [told[0]] * 5 == told
        with pytest.raises(UnsupportedOperationError):
            await anext(subscribe(desk, "work", task.id))


async def test_snapshot_and_what_follows_tell_each_piece_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("work", "x")
        subscribed = subscribe(desk, "work", task.id)
        first = await anext(subscribed)
        assert isinstance(first, pb.Task)
        listening = asyncio.create_task(all_of(subscribed))
        await desk.send("work", "yes", task_id=task.id)
        told = await listening

        assert ["one "] == texts(first.artifacts[0].parts)
        assert 1 == sum(one.startswith("log") for one in told)
        final = await desk.get("work", task.id)
        assert ["one ", "x" * 5000] == texts(final.artifacts[0].parts)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("hello", ["message Hello."], id="message"),
        pytest.param("refuse", ["task rejected"], id="refused"),
        pytest.param("late", ["task working", "output. Late.", "status completed"], id="late"),
    ],
)
async def test_stream_of_what_may_be_a_message_is_one_or_a_task(
    tmp_path: Path, said: str, expected: list[str]
) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        told = await all_of(stream(desk, "talk", said))

        # A timer's end is told, too.
        assert expected == [one for one in told if one != "status working"]


async def test_stream_goes_on_with_the_run_that_a_task_goes_on_as(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("chain", "1")
        listening = asyncio.create_task(all_of(subscribe(desk, "chain", task.id)))
        task = await desk.send("chain", "on", task_id=task.id)
        task = await desk.send("chain", "on", task_id=task.id)
        told = await listening

        assert ["task input_required", "log. 0", "status input_required", "output. "] == [
            one for one in told if one != "status working"
        ][:4]
        assert "status completed" == told[-1]


async def test_stream_ends_when_the_daemon_stops(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("work", "x")
        subscribed = subscribe(desk, "work", task.id)
        await anext(subscribed)
        listening = asyncio.create_task(all_of(subscribed))
        desk.house.engine.updates.close()

        assert [] == await listening


async def test_cancelled_task_ends_its_streams(tmp_path: Path) -> None:
    async with open_desk(tmp_path, *ALL) as desk:
        task = await desk.send("work", "x")
        subscribed = subscribe(desk, "work", task.id)
        await anext(subscribed)
        await desk.to("work").on_cancel_task(pb.CancelTaskRequest(id=task.id), by())

        assert "status canceled" == (await all_of(subscribed))[-1]


@workflow("flood")
async def flood(ctx: Context, pieces: int) -> None:
    await ctx.input("Go?")
    for number in range(pieces):
        await ctx.deliver("log", f"{number}:{'x' * 3000}", append=True)


async def test_slow_reader_misses_nothing_and_costs_a_bounded_memory(tmp_path: Path) -> None:
    async with open_desk(tmp_path, flood) as desk:
        task = await desk.send("flood", "200")
        slow, fast = subscribe(desk, "flood", task.id), subscribe(desk, "flood", task.id)
        await anext(slow)
        await anext(fast)
        listening = asyncio.create_task(all_of(fast))
        await desk.send("flood", "go", task_id=task.id, configuration=AT_ONCE)
        first = await anext(slow)  # it is attached now, and reads no more until the end
        assert "status working" == shown(first)
        told = await listening
        late = await all_of(slow)

        pieces = [one.partition(":")[0] for one in told if one.startswith("log")]
        assert [f"log+. {number}" for number in range(200)] == pieces
        assert pieces == [one.partition(":")[0] for one in late if one.startswith("log")]
        assert "status completed" == late[-1]
