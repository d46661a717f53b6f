import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, StepFailed, WaitTimedOut, workflow
from agency.errors import (
    AnswerNeeded,
    InvalidInput,
    RunEnded,
    SnapshotSpent,
    WaitAmbiguous,
    WaitNotAnswerable,
)
from tests.integration.engine.house import open_house


@dataclass
class Address:
    street: str
    number: int


async def nothing(value: Any = None) -> Any:
    return value


@workflow("sleeper")
async def sleeper(ctx: Context, seconds: float) -> str:
    await ctx.sleep(timedelta(seconds=seconds))
    return "awake"


@workflow("listener")
async def listener(ctx: Context) -> Any:
    return await ctx.wait_event("news")


@workflow("asker")
async def asker(ctx: Context) -> dict[str, Any]:
    address = await ctx.input("Where to?", schema=Address)
    return {"street": address.street, "number": address.number}


@workflow("parent")
async def parent(ctx: Context, value: Any) -> Any:
    return await ctx.call("child", value)


@workflow("child")
async def child(ctx: Context, value: Any) -> Any:
    if value == "wait":
        return await ctx.wait_event("news")
    if value == "fail":
        raise ValueError("bad child")
    return {"child": value}


async def test_sleep_ends_by_itself_also_over_a_restart(tmp_path: Path) -> None:
    async with open_house(tmp_path, sleeper) as house:
        run_id = await house.start("sleeper", 0.2)
        await house.suspended(run_id)
    async with open_house(tmp_path, sleeper) as house:
        assert "awake" == (await house.ended(run_id)).run.output


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_event_wakes_a_run_with_and_without_replay(tmp_path: Path, linger_s: float) -> None:
    async with open_house(tmp_path, listener, linger_s=linger_s) as house:
        run_id = await house.start("listener")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="other", payload=0)
        await house.runs.send(run_id, name="news", payload=[1, 2])
        assert [1, 2] == (await house.ended(run_id)).run.output


async def test_event_that_comes_before_its_waiter_is_kept(tmp_path: Path) -> None:
    @workflow("late")
    async def late(ctx: Context) -> Any:
        await ctx.wait_event("go")
        return [await ctx.wait_event("news"), await ctx.wait_event("news")]

    async with open_house(tmp_path, late) as house:
        run_id = await house.start("late")
        await house.suspended(run_id)
        for number in (1, 2):
            await house.runs.send(run_id, name="news", payload=number)
        await house.runs.send(run_id, name="go", payload=None)
        assert [1, 2] == (await house.ended(run_id)).run.output


async def test_event_sent_twice_with_one_id_counts_once(tmp_path: Path) -> None:
    @workflow("two")
    async def two(ctx: Context) -> Any:
        return [await ctx.wait_event("news"), await ctx.wait_event("news", timeout_s=0.1)]

    async with open_house(tmp_path, two) as house:
        run_id = await house.start("two")
        for _ in range(2):
            await house.runs.send(run_id, name="news", payload=1, event_id="e-1")
        run = (await house.ended(run_id)).run

    assert run.error is not None
    assert ("failed", "wait_timed_out") == (run.status, run.error.code)


async def test_wait_ends_at_its_time_limit(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.wait_event("never", timeout_s=0.05)
        except WaitTimedOut as error:
            return error.error_code
        return ""

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        assert "wait_timed_out" == (await house.ended(run_id)).run.output


async def test_input_is_checked_when_it_is_given(tmp_path: Path) -> None:
    async with open_house(tmp_path, asker) as house:
        run_id = await house.start("asker")
        detail = await house.suspended(run_id)
        assert detail.snapshot_id is not None
        assert "Where to?" == detail.waits[0].show["prompt"]
        with pytest.raises(AnswerNeeded):
            await house.runs.resume(detail.snapshot_id)
        with pytest.raises(InvalidInput) as refused:
            await house.runs.resume(
                detail.snapshot_id, input={"street": 1, "number": "x"}, has_input=True
            )
        assert {"/input/street", "/input/number"} == {f.where for f in refused.value.faults}
        await house.runs.resume(
            detail.snapshot_id, input={"street": "Elm", "number": 3}, has_input=True
        )
        assert {"street": "Elm", "number": 3} == (await house.ended(run_id)).run.output
        with pytest.raises(RunEnded):
            await house.runs.resume(detail.snapshot_id, input={}, has_input=True)


async def test_snapshot_is_spent_once_the_run_has_gone_on(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        return [await ctx.input("one"), await ctx.input("two")]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        first = (await house.suspended(run_id)).snapshot_id
        assert first is not None
        await house.runs.resume(first, input=1, has_input=True)
        second = (
            await house.until(run_id, lambda d: d.snapshot_id not in {None, first})
        ).snapshot_id
        with pytest.raises(SnapshotSpent) as spent:
            await house.runs.resume(first, input=9, has_input=True)
        assert second is not None
        assert second == spent.value.newest
        await house.runs.resume(second, input=2, has_input=True)
        assert [1, 2] == (await house.ended(run_id)).run.output


async def test_resume_raced_by_many_is_won_by_one(tmp_path: Path) -> None:
    async with open_house(tmp_path, asker) as house:
        run_id = await house.start("asker")
        snapshot = (await house.suspended(run_id)).snapshot_id
        assert snapshot is not None
        answers = await asyncio.gather(
            *(
                house.runs.resume(snapshot, input={"street": "s", "number": n}, has_input=True)
                for n in range(20)
            ),
            return_exceptions=True,
        )
        detail = await house.ended(run_id)

    assert 1 == sum(answer == run_id for answer in answers)
    assert "completed" == detail.run.status


async def test_timer_that_is_resumed_ends_now(tmp_path: Path) -> None:
    async with open_house(tmp_path, sleeper) as house:
        run_id = await house.start("sleeper", 3600)
        snapshot = (await house.suspended(run_id)).snapshot_id
        assert snapshot is not None
        await house.runs.resume(snapshot)
        assert "awake" == (await house.ended(run_id)).run.output


async def test_wait_must_be_named_when_there_are_several(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(a=ctx.wait_event("x"), b=ctx.input("y"), c=ctx.call("child", 1))

    async with open_house(tmp_path, w, child) as house:
        run_id = await house.start("w")
        detail = await house.until(
            run_id, lambda d: d.run.status == "suspended" and len(d.waits) == 2
        )
        assert detail.snapshot_id is not None
        with pytest.raises(WaitAmbiguous):
            await house.runs.resume(detail.snapshot_id, input=1, has_input=True)
        await house.runs.resume(detail.snapshot_id, wait="x", input=1, has_input=True)
        detail = await house.until(
            run_id, lambda d: d.run.status == "suspended" and len(d.waits) == 1
        )
        assert detail.snapshot_id is not None
        await house.runs.resume(detail.snapshot_id, input=2, has_input=True)
        output = (await house.ended(run_id)).run.output

    assert {"a": 1, "b": 2, "c": {"child": 1}} == output


async def test_child_hands_its_output_to_its_parent(tmp_path: Path) -> None:
    async with open_house(tmp_path, parent, child) as house:
        run_id = await house.start("parent", "x")
        assert {"child": "x"} == (await house.ended(run_id)).run.output


async def test_child_that_fails_raises_in_its_parent(tmp_path: Path) -> None:
    async with open_house(tmp_path, parent, child) as house:
        run_id = await house.start("parent", "fail")
        run = (await house.ended(run_id)).run

    assert run.error is not None
    assert ("failed", "ChildFailed") == (run.status, run.error.error_class)
    assert "bad child" in run.error.message


async def test_child_cannot_be_resumed_through_its_parent(tmp_path: Path) -> None:
    async with open_house(tmp_path, parent, child) as house:
        run_id = await house.start("parent", "wait")
        detail = await house.suspended(run_id)
        assert detail.snapshot_id is not None
        with pytest.raises(WaitNotAnswerable):
            await house.runs.resume(detail.snapshot_id, input=1, has_input=True)


async def test_cancelling_a_parent_cancels_its_children(tmp_path: Path) -> None:
    async with open_house(tmp_path, parent, child) as house:
        run_id = await house.start("parent", "wait")
        detail = await house.until(run_id, lambda d: bool(d.waits) and d.run.status == "suspended")
        child_id = detail.waits[0].target
        await house.suspended(child_id)
        await house.runs.cancel(run_id)
        assert "cancelled" == (await house.ended(child_id)).run.status
        assert "cancelled" == (await house.ended(run_id)).run.status


async def test_operator_holds_a_run_and_what_arrives_is_kept(tmp_path: Path) -> None:
    async with open_house(tmp_path, listener) as house:
        run_id = await house.start("listener")
        await house.suspended(run_id)
        snapshot = await house.runs.suspend(run_id, reason="look", wait_s=1)
        assert snapshot is not None
        await house.runs.send(run_id, name="news", payload="kept")
        assert "suspended" == (await house.runs.get(run_id)).run.status
        await house.runs.resume(snapshot.id)
        assert "kept" == (await house.ended(run_id)).run.output


async def test_running_run_is_held_at_its_next_safe_point(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    steps = []

    async def slow() -> None:
        steps.append("slow")
        await go_on.wait()

    async def after() -> None:
        steps.append("after")

    @workflow("w")
    async def w(ctx: Context) -> str:
        await ctx.step("slow", slow)
        await ctx.step("after", after)
        return "done"

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.until(run_id, lambda _: bool(steps))
        assert await house.runs.suspend(run_id, reason="look", wait_s=0.05) is None
        go_on.set()
        detail = await house.suspended(run_id)
        assert (["slow"], ["operator"]) == (steps, [wait.kind for wait in detail.waits])
        assert detail.snapshot_id is not None
        await house.runs.resume(detail.snapshot_id)
        assert "done" == (await house.ended(run_id)).run.output
    assert ["slow", "after"] == steps


async def test_cancel_stops_the_work_in_flight_and_runs_what_was_registered(
    tmp_path: Path,
) -> None:
    started = asyncio.Event()
    seen = []

    async def slow() -> None:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("stopped")
            raise

    async def clean(what: str) -> None:
        seen.append(what)

    @workflow("w")
    async def w(ctx: Context) -> None:
        ctx.at_end(clean, "first")
        ctx.at_end(clean, "second")
        await ctx.step("slow", slow)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await started.wait()
        await house.runs.cancel(run_id, reason="enough")
        run = (await house.ended(run_id)).run

    assert run.error is not None
    assert ("cancelled", "Cancelled: enough") == (run.status, run.error.message)
    assert ["stopped", "second", "first"] == seen


async def test_cancel_of_a_suspended_run_runs_what_was_registered(tmp_path: Path) -> None:
    seen = []

    async def clean() -> None:
        seen.append("clean")

    @workflow("w")
    async def w(ctx: Context) -> None:
        ctx.at_end(clean)
        await ctx.wait_event("never")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
    async with open_house(tmp_path, w) as house:
        await house.runs.cancel(run_id)
        run = (await house.ended(run_id)).run

    assert ("cancelled", ["clean"]) == (run.status, seen)


async def test_cancel_in_a_once_step_waits_for_the_decision(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def charge() -> None:
        started.set()
        await asyncio.sleep(30)

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("charge", charge, effect="once")
        await ctx.step("never", nothing)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await started.wait()
        await house.runs.cancel(run_id)
        detail = await house.suspended(run_id)
        assert ["decision"] == [wait.kind for wait in detail.waits]
        assert detail.snapshot_id is not None
        await house.runs.resume(
            detail.snapshot_id, input={"decision": "done", "result": None}, has_input=True
        )
        run = await house.ended(run_id)
        entries = await house.runs.entries(run_id, after=0, limit=10)

    assert "cancelled" == run.run.status
    assert ["charge#1!1", "charge#1"] == [entry.key for entry in entries]


async def test_deadline_stops_a_running_and_a_suspended_run(tmp_path: Path) -> None:
    async def slow() -> None:
        await asyncio.sleep(30)

    @workflow("busy", timeout_s=0.1)
    async def busy(ctx: Context) -> None:
        await ctx.step("slow", slow)

    @workflow("idle", timeout_s=0.1)
    async def idle(ctx: Context) -> None:
        await ctx.wait_event("never")

    async with open_house(tmp_path, busy, idle) as house:
        for name in ("busy", "idle"):
            run_id = await house.start(name)
            assert "timed_out" == (await house.ended(run_id)).run.status


async def test_changed_code_suspends_the_run_and_is_accepted_by_decision(tmp_path: Path) -> None:
    @workflow("w")
    async def before(ctx: Context) -> Any:
        one = await ctx.step("one", nothing, 1)
        return [one, await ctx.wait_event("go")]

    @workflow("w")
    async def after(ctx: Context) -> Any:
        other = await ctx.step("other", nothing, 2)
        return [other, await ctx.wait_event("go")]

    async with open_house(tmp_path, before) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
    async with open_house(tmp_path, after) as house:
        await house.runs.send(run_id, name="go", payload="went")
        detail = await house.until(
            run_id, lambda d: any(wait.kind == "version" for wait in d.waits)
        )
        wait = next(wait for wait in detail.waits if wait.kind == "version")
        assert ("one#1", "other#1") == (wait.show["recorded"], wait.show["asked"])
        assert detail.snapshot_id is not None
        await house.runs.resume(
            detail.snapshot_id, wait=wait.key, input={"action": "accept"}, has_input=True
        )
        assert [2, "went"] == (await house.ended(run_id)).run.output


async def test_run_of_a_workflow_that_is_not_loaded_waits_for_it(tmp_path: Path) -> None:
    async with open_house(tmp_path, listener) as house:
        run_id = await house.start("listener")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="news", payload=1)
    async with open_house(tmp_path) as house:
        detail = await house.until(run_id, lambda d: d.run.status == "suspended" or bool(d.waits))
    async with open_house(tmp_path, listener) as house:
        detail = await house.runs.get(run_id)
        if detail.run.status != "completed" and detail.snapshot_id is not None:
            await house.runs.resume(
                detail.snapshot_id, input={"action": "continue"}, has_input=True
            )
        assert 1 == (await house.ended(run_id)).run.output


async def test_run_continues_as_its_successor(tmp_path: Path) -> None:
    @workflow("count")
    async def count(ctx: Context, n: int) -> Any:
        await ctx.step("tick", nothing, n)
        if n < 3:
            ctx.continue_as(n + 1)
        return n

    async with open_house(tmp_path, count) as house:
        run_id = await house.start("count", 1, name="counter")
        seen = []
        while True:
            run = (await house.ended(run_id)).run
            seen.append(run.output)
            if run.output == 3:
                break
            run_id = run.output["continued_as"]
        assert run.name == "counter"

    assert 3 == len(seen)


async def test_time_random_and_ids_are_the_same_on_replay(tmp_path: Path) -> None:
    seen: list[tuple[datetime, float, str]] = []

    @workflow("w")
    async def w(ctx: Context) -> None:
        seen.append((ctx.now(), ctx.random(), ctx.uuid()))
        await ctx.wait_event("go")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        await house.ended(run_id)

    assert 2 == len(seen)
    assert seen[0] == seen[1]


async def test_swallowed_suspension_is_raised_again(tmp_path: Path) -> None:
    seen = []

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.wait_event("go")
        except BaseException:
            seen.append("dropped")
            await ctx.step("forbidden", nothing)
        return "went on"

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.until(run_id, lambda _: bool(seen))
        assert [] == [e.key for e in await house.runs.entries(run_id, after=0, limit=9)][1:]
        await house.runs.send(run_id, name="go", payload=None)
        assert "went on" == (await house.ended(run_id)).run.output


async def test_progress_is_seen_while_a_step_is_under_way(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def slow() -> None:
        await go_on.wait()

    @workflow("w")
    async def w(ctx: Context) -> None:
        ctx.progress(3, 10, "copying")
        await ctx.step("slow", slow)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        detail = await house.until(run_id, lambda d: d.run.progress is not None)
        go_on.set()
        await house.ended(run_id)

    assert {"done": 3, "total": 10, "note": "copying"} == detail.run.progress


async def test_step_failure_in_a_handler_is_ordinary(tmp_path: Path) -> None:
    async def bad() -> None:
        raise RuntimeError("no")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        try:
            await ctx.step("bad", bad)
        except StepFailed:
            return await ctx.step("undo", nothing, "undone")

    async with open_house(tmp_path, w) as house:
        assert "undone" == (await house.run("w")).run.output


async def test_input_of_a_plain_type_is_checked_at_the_start(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context, value: str) -> str:
        return value

    async with open_house(tmp_path, w) as house:
        with pytest.raises(InvalidInput):
            await house.start("w", 3)
        with pytest.raises(InvalidInput):
            await house.start("w", None)
        assert "x" == (await house.run("w", "x")).run.output
