"""Tasks under faults: no room, a daemon that stops, crowds, tasks that are deleted under way."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import A2AError, TaskNotFoundError
from aiohttp import web

from agency import Context, workflow
from agency.domain.retention import Bound
from agency.domain.run import RunStatus
from agency.errors import AgencyError, RunEnded, StoreFull, WaitTaken
from agency.storage.sqlite.space import Space
from tests.integration.tasks.desk import (
    AT_ONCE,
    GUARD_S,
    Desk,
    by,
    open_desk,
    request,
    shown,
    state,
)


@workflow("ask")
async def ask(ctx: Context, said: str) -> str:
    return said + str(await ctx.input("Which?"))


async def test_nothing_is_taken_while_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Space) -> None:
        raise StoreFull("There is no room.")

    async with open_desk(tmp_path, ask) as desk:
        task = await desk.send("ask", "a")
        with monkeypatch.context() as patched:
            patched.setattr(Space, "check", refuse)
            with pytest.raises(StoreFull):
                await desk.send("ask", "b", message_id="b")
            with pytest.raises(StoreFull):
                await desk.send("ask", "1", task_id=task.id, message_id="c")
            assert "input_required" == state(await desk.get("ask", task.id))
        # The same messages count when there is.
        assert "input_required" == state(await desk.send("ask", "b", message_id="b"))
        assert "completed" == state(await desk.send("ask", "1", task_id=task.id, message_id="c"))


async def test_callers_who_wait_are_answered_when_the_daemon_stops(tmp_path: Path) -> None:
    @workflow("slow")
    async def slow(ctx: Context, said: str) -> str:
        await ctx.sleep(3600)
        return said

    async with open_desk(tmp_path, slow) as desk:
        waiting = asyncio.create_task(desk.send("slow", "x"))
        async with asyncio.timeout(GUARD_S):
            while not await desk.house.store.runs.count_by_status():
                await asyncio.sleep(0)
            await desk.ground.patience.end(web.Application())
            assert state(await waiting) in {"submitted", "working"}


async def test_one_of_many_answers_at_once_is_taken(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ask) as desk:
        task = await desk.send("ask", "a")
        to = desk.to("ask")
        outcomes = await asyncio.gather(
            *(to.on_message_send(request(str(i), task_id=task.id), by()) for i in range(10)),
            return_exceptions=True,
        )
        taken = [one for one in outcomes if isinstance(one, pb.Task)]
        refused = [one for one in outcomes if isinstance(one, AgencyError | A2AError)]

        assert (1, 9) == (len(taken), len(refused))
        reasons = {type(one) for one in refused if isinstance(one, AgencyError)}
        assert {WaitTaken, RunEnded} >= reasons
        assert 2 == sum(one.role == pb.ROLE_USER for one in taken[0].history)


async def test_deleted_task_is_absent_and_ends_what_is_told_of_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ask) as desk:
        task = await desk.send("ask", "a")
        await desk.to("ask").on_cancel_task(pb.CancelTaskRequest(id=task.id), by())
        await desk.send("ask", "b")  # the newest wait stays with its run
        run = (await desk.house.runs.get(task.id)).run
        await delete(desk, run.number)

        with pytest.raises(TaskNotFoundError):
            await desk.get("ask", task.id)
        listed = await desk.to("ask").on_list_tasks(pb.ListTasksRequest(), by())
        assert 1 == listed.total_size


async def delete(desk: Desk, number: int) -> None:
    bounds = {RunStatus.CANCELLED: Bound(ended_before=None, through=number)}
    retired = await desk.house.store.upkeep.retire([number], bounds, rows_max=1000, told=None)
    assert 1 == retired.runs


async def test_crowd_of_callers_each_has_a_task_of_its_own(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ask) as desk:
        to = desk.to("ask")

        async def converse(number: int) -> list[str]:
            caller = by(f"caller-{number}")
            async with aclosing(to.on_message_send_stream(request(f"{number}-"), caller)) as events:
                told = [event async for event in events]
            first = told[0]
            assert isinstance(first, pb.Task)
            answer = request("x", task_id=first.id, configuration=AT_ONCE)
            async with aclosing(
                to.on_subscribe_to_task(pb.SubscribeToTaskRequest(id=first.id), caller)
            ) as events:
                await anext(events)
                await to.on_message_send(answer, caller)
                return [shown(event) async for event in events]

        async with asyncio.timeout(GUARD_S * 2):
            told = await asyncio.gather(*(converse(number) for number in range(50)))

        for number, lines in enumerate(told):
            assert [f"output. {number}-x", "status completed"] == lines[-2:]
        assert 0 == desk.house.engine.updates.watching
