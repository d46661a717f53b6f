"""Retry: an ended run goes on from what its own error names, and from nothing else."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, Retry, StepFailed, workflow
from agency.domain.run import RunStatus
from agency.engine.lineage import AnewWish, RetryWish
from agency.errors import (
    NameTaken,
    RunChanged,
    RunHasParent,
    RunNotFound,
    RunNotRetryable,
    SessionBusy,
    WorkflowNotFound,
)
from tests.integration.engine.house import House, crashed, open_house
from tests.integration.engine.world import World

WISH = RetryWish()


async def retry(house: House, run_id: str, **wish: Any) -> Any:
    await house.engine.lineage.retry(run_id, RetryWish(**wish))
    return (await house.settled(run_id)).run


async def test_retried_run_does_what_failed_again_and_nothing_else(tmp_path: Path) -> None:
    world = World("b")

    @workflow("w")
    async def w(ctx: Context) -> list[str]:
        return [await ctx.step(name, world.do, name) for name in "abc"]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        assert "failed" == (await house.settled(run_id)).run.status
        world.mend()

        run = await retry(house, run_id)

    assert (RunStatus.COMPLETED, ["a", "b", "c"]) == (run.status, run.output)
    assert (1, 1, None) == (run.generation, run.attempt, run.error)
    assert {"b": 1, "c": 1} == world.calls


async def test_dead_letter_has_all_its_attempts_again(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w", retry=Retry(attempts=2, base_s=0))
    async def w(ctx: Context) -> str:
        return await ctx.step("a", world.do, "a", retry=Retry(attempts=3, base_s=0))

    async with open_house(tmp_path, w) as house:
        dead = (await house.run("w")).run
        assert (RunStatus.DEAD_LETTER, 6) == (dead.status, world.calls["a"])

        again = await retry(house, dead.id)
        assert (RunStatus.DEAD_LETTER, 12) == (again.status, world.calls["a"])
        assert 4 == (await retry(house, dead.id, max_attempts=4)).attempt


async def test_failure_that_was_caught_stays(tmp_path: Path) -> None:
    world = World("caught", "named")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.step("caught", world.do, "caught")
        except StepFailed:
            return await ctx.step("named", world.do, "named")
        return "not caught"

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        world.mend()

        run = await retry(house, run_id)

    assert ("named", {"named": 1}) == (run.output, world.calls)


async def test_cause_of_an_error_is_done_again(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            return await ctx.step("a", world.do, "a")
        except StepFailed as failed:
            await ctx.step("tell", world.do, "tell")
            raise ValueError("no a") from failed

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        world.mend()
        run = await retry(house, run_id)
        assert ("a", {"a": 1}) == (run.output, world.calls)

        # What was done on the way that is not gone again stays recorded.
        assert "tell#1" in await house.keys(run_id)


async def test_work_on_the_way_to_a_failure_is_not_done_twice(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            return await ctx.step("a", world.do, "a")
        except StepFailed as failed:
            await ctx.step("tell", world.do, "tell")
            raise ValueError("no a") from failed

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id

        run = await retry(house, run_id)

    assert (RunStatus.FAILED, {"a": 2, "tell": 1}) == (run.status, world.calls)


@pytest.mark.parametrize("kind", ["gather", "map"])
async def test_all_branches_that_failed_are_done_again(tmp_path: Path, kind: str) -> None:
    world = World("b", "d")

    @workflow("w")
    async def w(ctx: Context) -> list[str]:
        if kind == "map":
            return await ctx.map("each", "abcd", world.do)
        return await ctx.gather(*(ctx.step("each", world.do, name) for name in "abcd"))

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        world.mend()

        run = await retry(house, run_id)

    assert (list("abcd"), {"b": 1, "d": 1}) == (run.output, world.calls)


async def test_failure_that_a_branch_has_caught_stays_beside_one_that_failed(
    tmp_path: Path,
) -> None:
    world = World("x", "y")

    @workflow("w")
    async def w(ctx: Context) -> list[str]:
        async def careful() -> str:
            try:
                return await ctx.step("x", world.do, "x")
            except StepFailed:
                return "without x"

        return await ctx.gather(careful(), ctx.step("y", world.do, "y"))

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        world.mend()

        run = await retry(house, run_id)

    assert (["without x", "y"], {"y": 1}) == (run.output, world.calls)


async def test_failed_child_is_started_anew_in_the_next_generation(tmp_path: Path) -> None:
    world = World("inner")

    @workflow("child")
    async def child(ctx: Context) -> str:
        await ctx.step("first", world.do, "first")
        return await ctx.step("inner", world.do, "inner")

    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.step("before", world.do, "before")
        return await ctx.call("child")

    async with open_house(tmp_path, w, child) as house:
        run_id = (await house.run("w")).run.id
        family = await house.engine.lineage.family(run_id, limit=10)
        (old,) = [kin.run_id for kin in family.kin if kin.relation == "child"]
        with pytest.raises(RunHasParent):
            await house.engine.lineage.retry(old, WISH)
        world.mend()

        run = await retry(house, run_id)

        family = await house.engine.lineage.family(run_id, limit=10)
        children = [(kin.status, kin.run_id) for kin in family.kin if kin.relation == "child"]

    assert ("inner", {"first": 1, "inner": 1}) == (run.output, world.calls)
    assert {"failed", "completed"} == {status for status, _ in children}
    assert old in {one for _, one in children}


async def test_child_that_fails_is_started_anew_by_the_runs_own_retry(tmp_path: Path) -> None:
    calls: list[int] = []

    async def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("down")
        return "up"

    @workflow("child")
    async def child(ctx: Context) -> str:
        return await ctx.step("flaky", flaky)

    @workflow("w", retry=Retry(attempts=2, base_s=0))
    async def w(ctx: Context) -> Any:
        return await ctx.call("child")

    async with open_house(tmp_path, w, child) as house:
        run = (await house.ended(await house.start("w"))).run

    assert (RunStatus.COMPLETED, "up", 2) == (run.status, run.output, len(calls))


async def test_wait_that_timed_out_is_opened_anew(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.wait_event("paid", timeout_s=0.05)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        assert "failed" == (await house.ended(run_id)).run.status
        await house.engine.lineage.retry(run_id, WISH)
        await house.runs.send(run_id, name="paid", payload=12)
        run = (await house.ended(run_id)).run

    assert (RunStatus.COMPLETED, 12) == (run.status, run.output)


async def test_each_retry_has_the_time_that_the_run_once_had(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w", timeout_s=100)
    async def w(ctx: Context) -> str:
        return await ctx.step("a", world.do, "a")

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run
        for _ in range(3):
            run = await retry(house, run.id)
            retried_at = (await house.store.lineage.retries(run.id, limit=1))[-1].at
            assert run.deadline_at == retried_at + timedelta(seconds=100)
        rerun = (await house.engine.lineage.rerun(run.id, AnewWish())).run

    assert rerun.deadline_at == rerun.created_at + timedelta(seconds=100)


async def test_run_that_timed_out_waits_on_where_it_was(tmp_path: Path) -> None:
    world = World()

    @workflow("w", timeout_s=2.0)
    async def w(ctx: Context) -> Any:
        await ctx.step("a", world.do, "a")
        return await ctx.gather(ctx.wait_event("paid"), ctx.wait_event("sent"))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="sent", payload="sent")
        timed_out = (await house.ended(run_id)).run
        assert RunStatus.TIMED_OUT == timed_out.status
        assert timed_out.deadline_at is not None

        await house.engine.lineage.retry(run_id, WISH)
        again = await house.runs.get(run_id)
        assert again.run.deadline_at is not None
        assert again.run.deadline_at > timed_out.deadline_at
        await house.runs.send(run_id, name="paid", payload="paid")
        run = (await house.ended(run_id)).run

    assert (["paid", "sent"], {"a": 1}) == (run.output, world.calls)


async def test_work_for_the_end_is_done_at_each_end(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context) -> str:
        ctx.at_end(world.do, "end")
        return await ctx.step("a", world.do, "a")

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        assert {"a": 1, "end": 1} == world.calls
        world.mend()

        await retry(house, run_id)

    assert {"a": 1, "end": 1} == world.calls


async def test_step_keeps_its_idempotency_key_when_its_run_is_retried(tmp_path: Path) -> None:
    from agency import current_step

    seen: list[str] = []

    async def charge() -> None:
        seen.append(current_step().idempotency_key)
        raise OSError("no answer")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("charge", charge)

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        await retry(house, run_id)

    assert (2, 1) == (len(seen), len(set(seen)))


async def test_only_ends_that_a_retry_can_mend_are_retried(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.wait_event("on")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        with pytest.raises(RunNotRetryable):
            await house.engine.lineage.retry(run_id, WISH)
        await house.runs.cancel(run_id)
        with pytest.raises(RunNotRetryable, match="cancelled"):
            await house.engine.lineage.retry(run_id, WISH)
        with pytest.raises(RunNotFound):
            await house.engine.lineage.retry("none", WISH)


async def test_name_and_session_are_taken_again_if_they_are_free(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context, then: str) -> None:
        await ctx.step("a", world.do, "a" if then == "fail" else "b")
        await ctx.wait_event("on")

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w", "fail", name="n", session_id="s")).run.id
        named = await house.start("w", "wait", name="n")
        with pytest.raises(NameTaken):
            await house.engine.lineage.retry(run_id, WISH, dry_run=True)
        with pytest.raises(NameTaken):
            await house.engine.lineage.retry(run_id, WISH)
        await house.runs.cancel(named)
        busy = await house.start("w", "wait", session_id="s")
        await house.suspended(busy)
        with pytest.raises(SessionBusy):
            await house.engine.lineage.retry(run_id, WISH)
        await house.runs.cancel(busy)
        world.mend()
        await house.engine.lineage.retry(run_id, WISH)
        await house.suspended(run_id)
        with pytest.raises(NameTaken):
            await house.start("w", "wait", name="n")


async def test_one_of_many_retries_wins(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("a", world.do, "a")
        await ctx.wait_event("on")

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        world.mend()
        outcomes = await asyncio.gather(
            *(house.engine.lineage.retry(run_id, WISH) for _ in range(20)), return_exceptions=True
        )
        await house.suspended(run_id)

    lost = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert 19 == len(lost)
    assert {RunChanged, RunNotRetryable} >= {type(error) for error in lost}
    assert 1 == world.calls["a"]


async def test_retry_survives_a_crash_right_after_it(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        await ctx.step("before", world.do, "before")
        return await ctx.step("a", world.do, "a")

    path = tmp_path / "one"
    path.mkdir()
    async with open_house(path, w) as house:
        run_id = (await house.run("w")).run.id
        world.mend()
        await house.store.lineage.retry(
            (await house.runs.get(run_id)).run,
            plan=_plan(await house.store.lineage.outline(run_id)),
            deadline_at=None,
            max_attempts=None,
            provider=None,
            principal="local",
            now=house.engine._clock.now(),
        )
        copy = crashed(path, tmp_path / "two")

    async with open_house(copy, w) as house:
        run = (await house.ended(run_id)).run

    assert "a" == run.output
    assert 0 == world.calls["before"]


def _plan(outline: Any) -> Any:
    from agency.engine.plans import plan_retry

    return plan_retry(outline)


async def test_preview_names_what_is_done_again_and_changes_nothing(tmp_path: Path) -> None:
    world = World("b")

    @workflow("w")
    async def w(ctx: Context) -> list[str]:
        return [await ctx.step(name, world.do, name) for name in "ab"]

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        before = await house.runs.get(run_id)
        world.mend()

        preview = await house.engine.lineage.retry(run_id, WISH, dry_run=True)

        assert ["a#1"] == [entry.key for entry in preview.stays]
        assert ["b#1"] == [entry.key for entry in preview.again]
        assert before == await house.runs.get(run_id)
        assert {} == world.calls
        assert 0 == len((await house.engine.lineage.family(run_id, limit=9)).retries)
        await retry(house, run_id)

    assert {entry.key[0] for entry in preview.again} == set(world.calls)


async def test_retries_are_kept_with_what_they_undid(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("a", world.do, "a")

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
        await retry(house, run_id, principal="ada")
        world.mend()
        await retry(house, run_id, principal="bob")
        family = await house.engine.lineage.family(run_id, limit=9)

    assert [(1, "ada"), (2, "bob")] == [(one.generation, one.principal) for one in family.retries]
    assert all(one.error is not None and "broken" in one.error.message for one in family.retries)


async def test_run_whose_workflow_is_gone_is_not_retried(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        raise OSError("no")

    async with open_house(tmp_path, w) as house:
        run_id = (await house.run("w")).run.id
    async with open_house(tmp_path) as house:
        with pytest.raises(WorkflowNotFound):
            await house.engine.lineage.retry(run_id, WISH)


async def test_timer_that_the_end_cut_off_keeps_its_moment(tmp_path: Path) -> None:
    @workflow("w", timeout_s=1.5)
    async def w(ctx: Context) -> str:
        await ctx.sleep(timedelta(hours=1))
        return "slept"

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        (timer,) = (await house.suspended(run_id)).waits
        await house.ended(run_id)
        await house.engine.lineage.retry(run_id, WISH)
        (again,) = (await house.suspended(run_id)).waits

    assert timer.due_at == again.due_at
