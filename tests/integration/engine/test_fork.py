"""Forks and reruns: new runs that have in common what another had recorded before a point."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agency import Context, StepFailed, current_step, workflow
from agency.domain.run import RunStatus
from agency.engine.lineage import AnewWish
from agency.errors import ForkPointNotFound, IdempotencyMismatch, InvalidInput, RunNotSuspended
from tests.integration.engine.house import House, open_house
from tests.integration.engine.test_retry import retry
from tests.integration.engine.world import World


async def fork(house: House, run_id: str, at: int | str | None = None, **wish: Any) -> str:
    return (await house.engine.lineage.fork(run_id, AnewWish(at=at, **wish))).run.id


async def test_fork_does_again_what_comes_from_the_point_on(tmp_path: Path) -> None:
    world = World()

    @workflow("w")
    async def w(ctx: Context) -> Any:
        kept = [await ctx.step("a", world.do, "a"), ctx.random(), ctx.now().isoformat()]
        await ctx.step("b", world.do, "b")
        await ctx.step("c", world.do, "c")
        return kept

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w")).run
        world.calls.clear()
        preview = await house.engine.lineage.fork(source.id, AnewWish(at="b"), dry_run=True)
        assert {} == world.calls

        forked = (await house.ended(await fork(house, source.id, "b"))).run

        assert (await house.runs.get(source.id)).run == source
        assert 3 == (await house.runs.get(forked.id)).steps_executed

    assert ({"b": 1, "c": 1}, source.output) == (world.calls, forked.output)
    assert ["b#1", "c#1"] == [entry.key for entry in preview.again]
    assert (source.id, source.seed) == (forked.forked_from, forked.seed)
    assert forked.forked_at
    assert RunStatus.COMPLETED == forked.status


async def test_point_is_a_number_a_key_or_the_end(tmp_path: Path) -> None:
    world = World()

    @workflow("w")
    async def w(ctx: Context) -> None:
        for name in "aba":
            await ctx.step(name, world.do, name)

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w")).run.id
        entries = await house.runs.entries(source, after=0, limit=99)
        numbers = {entry.key: entry.number for entry in entries}
        number = numbers["a#2"]
        points: dict[int | str | None, str]
        points = {number: "a", "a#2": "a", "b": "ba", "a": "aba", None: ""}
        for at, done in points.items():
            world.calls.clear()
            await house.ended(await fork(house, source, at))
            assert sorted(done) == sorted(world.calls.elements())
        for wrong in ("z", "a#3", 0, 1 << 40, "01a1f8d8-8031-7cc8-8583-6de83c41b5bc"):
            with pytest.raises(ForkPointNotFound):
                await fork(house, source, wrong)


async def test_forked_step_has_an_idempotency_key_of_its_own(tmp_path: Path) -> None:
    keys: list[str] = []

    async def charge() -> None:
        keys.append(current_step().idempotency_key)

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("charge", charge)

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w")).run.id
        await house.ended(await fork(house, source, "charge"))

    assert 2 == len(set(keys))


async def test_fork_takes_another_input(tmp_path: Path) -> None:
    world = World()

    @workflow("w")
    async def w(ctx: Context, input: int) -> list[Any]:
        return [await ctx.step("a", world.do, "a"), input]

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w", 1)).run.id
        forked = await fork(house, source, None, input=2, has_input=True)
        assert ["a", 2] == (await house.ended(forked)).run.output
        with pytest.raises(InvalidInput):
            await fork(house, source, None, input="no number", has_input=True)

    assert {"a": 1} == world.calls


async def test_fork_in_the_middle_of_a_gather_keeps_the_branches_that_were_done(
    tmp_path: Path,
) -> None:
    world = World()
    first_done = asyncio.Event()

    async def after(name: str) -> str:
        await first_done.wait()
        return await world.do(name)

    @workflow("w", version="1")
    async def w(ctx: Context) -> list[str]:
        async def first() -> str:
            done = await ctx.step("x", world.do, "x")
            first_done.set()
            return done

        both = await ctx.gather(first(), ctx.step("y", after, "y"))
        return [*both, await ctx.step("z", world.do, "z")]

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w")).run.id
        world.calls.clear()
        (y,) = [key for key in await house.keys(source) if key.endswith("/y#1")]

        forked = (await house.ended(await fork(house, source, y))).run

    assert (["x", "y", "z"], {"y": 1, "z": 1}) == (forked.output, world.calls)


async def test_open_wait_is_opened_anew_and_the_mailbox_is_left(tmp_path: Path) -> None:
    world = World()

    @workflow("w")
    async def w(ctx: Context) -> list[Any]:
        got = await ctx.wait_event("first")
        await ctx.step("a", world.do, "a")
        return [got, await ctx.wait_event("second", timeout_s=3600)]

    async with open_house(tmp_path, w) as house:
        source = await house.start("w")
        await house.runs.send(source, name="first", payload=1)
        at_second = await house.until(source, lambda d: any(x.name == "second" for x in d.waits))
        (old,) = at_second.waits
        snapshot_id = (await house.suspended(source)).snapshot_id
        await house.runs.send(source, name="second", payload=2)
        assert [1, 2] == (await house.ended(source)).run.output
        world.calls.clear()

        forked = await fork(house, source, snapshot_id)
        (new,) = (await house.suspended(forked)).waits
        await house.runs.send(forked, name="second", payload="other")

        assert [1, "other"] == (await house.ended(forked)).run.output
        assert [1, 2] == (await house.runs.get(source)).run.output

    assert old.due_at is not None
    assert new.due_at is not None
    assert new.due_at > old.due_at
    assert {} == world.calls


@pytest.mark.parametrize("is_after", [True, False])
async def test_wait_in_a_branch_has_the_outcome_that_it_had_at_the_point(
    tmp_path: Path, *, is_after: bool
) -> None:
    """The point lies in another branch, before the event came or after it."""
    world = World()

    @workflow("w", version="1")
    async def w(ctx: Context) -> dict[str, Any]:
        async def steps() -> None:
            await ctx.step("a", world.do, "a")
            await ctx.wait_event("go")
            await ctx.step("b", world.do, "b")

        return await ctx.gather(paid=ctx.wait_event("paid"), steps=steps())

    async with open_house(tmp_path, w) as house:
        source = await house.start("w")
        await house.until(source, lambda d: len(d.waits) == 2)
        if is_after:
            await house.runs.send(source, name="paid", payload="early")
        await house.runs.send(source, name="go", payload=None)
        if not is_after:
            await house.until(source, lambda d: d.steps_executed == 2)
            await house.runs.send(source, name="paid", payload="late")
        await house.ended(source)
        (b,) = [key for key in await house.keys(source) if key.endswith("b#1")]

        forked = await fork(house, source, b)
        if not is_after:
            waits = (await house.until(forked, lambda d: bool(d.waits))).waits
            assert ["paid"] == [wait.name for wait in waits]
            await house.runs.send(forked, name="paid", payload="anew")
        output = (await house.ended(forked)).run.output

    assert ("early" if is_after else "anew") == output["paid"]


async def test_children_that_had_not_ended_are_started_anew(tmp_path: Path) -> None:
    world = World()

    @workflow("child")
    async def child(ctx: Context, input: str) -> str:
        await ctx.step(input, world.do, input)
        if input == "open":
            await ctx.wait_event("on")
        return input

    @workflow("w")
    async def w(ctx: Context) -> list[str]:
        return [await ctx.call("child", "done"), await ctx.call("child", "open")]

    async with open_house(tmp_path, w, child) as house:
        source = await house.start("w")
        detail = await house.until(source, lambda d: world.calls["open"] == 1 and bool(d.waits))
        await house.suspended(source)
        (old,) = detail.waits

        forked = await fork(house, source)
        (new,) = (await house.until(forked, lambda d: bool(d.waits))).waits
        assert new.target != old.target
        await house.until(new.target, lambda d: bool(d.waits))
        await house.runs.send(new.target, name="on", payload=None)

        assert ["done", "open"] == (await house.ended(forked)).run.output
        assert RunStatus.SUSPENDED == (await house.runs.get(old.target)).run.status

    assert {"done": 1, "open": 2} == world.calls


async def test_fork_of_a_retried_run_takes_the_way_that_it_took(tmp_path: Path) -> None:
    world = World("a")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            done = await ctx.step("a", world.do, "a")
        except StepFailed as failed:
            await ctx.step("tell", world.do, "tell")
            raise ValueError("no a") from failed
        return done + await ctx.step("b", world.do, "b")

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w")).run.id
        world.mend()
        assert "ab" == (await retry(house, source)).output
        world.calls.clear()

        forked = (await house.ended(await fork(house, source, "b"))).run

    assert ("ab", {"b": 1}) == (forked.output, world.calls)


async def test_rerun_begins_with_nothing(tmp_path: Path) -> None:
    world = World()

    @workflow("w")
    async def w(ctx: Context, input: int) -> list[Any]:
        return [input, await ctx.step("a", world.do, "a"), ctx.random()]

    async with open_house(tmp_path, w) as house:
        source = (await house.run("w", 1, tags={"a": "b"})).run
        plain = await house.engine.lineage.rerun(source.id, AnewWish())
        edited = await house.engine.lineage.rerun(source.id, AnewWish(input=5, has_input=True))
        first = (await house.ended(plain.run.id)).run
        second = (await house.ended(edited.run.id)).run
        family = await house.engine.lineage.family(source.id, limit=9)

    assert ([1, "a"], [5, "a"], 3) == (first.output[:2], second.output[:2], world.calls["a"])
    assert source.output[2] != first.output[2]
    assert (source.id, {"a": "b"}) == (first.rerun_of, first.tags)
    assert {first.id, second.id} == {kin.run_id for kin in family.kin if kin.relation == "rerun"}


async def test_same_request_forks_once(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.wait_event("on")

    async with open_house(tmp_path, w) as house:
        source = await house.start("w")
        await house.suspended(source)
        wish = AnewWish(idempotency_key="k", request_hash="h")
        forks = await asyncio.gather(*(house.engine.lineage.fork(source, wish) for _ in range(10)))
        with pytest.raises(IdempotencyMismatch):
            await house.engine.lineage.fork(
                source, AnewWish(idempotency_key="k", request_hash="other")
            )

    assert 1 == len({one.run.id for one in forks})
    assert 1 == sum(one.is_new for one in forks)


async def test_run_is_resumed_by_its_id(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        return await ctx.input("Who?")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        lineage = house.engine.lineage
        preview = await lineage.resume(run_id, input="ada", has_input=True, dry_run=True)
        assert ["input#1"] == list(preview.waits)
        assert RunStatus.SUSPENDED == (await house.runs.get(run_id)).run.status
        await lineage.resume(run_id, input="ada", has_input=True)
        assert "ada" == (await house.ended(run_id)).run.output
        pending = await house.start("w", available_at=house.engine._clock.now().replace(year=2999))
        with pytest.raises(RunNotSuspended):
            await lineage.resume(pending)


async def test_family_goes_up_and_down_and_says_when_it_is_cut(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context, input: int) -> int:
        if input == 1:
            ctx.continue_as(2)
        return input

    async with open_house(tmp_path, w) as house:
        first = (await house.run("w", 1)).run
        successor = first.output["continued_as"]
        await house.ended(successor)
        forked = await fork(house, successor)
        reruns = [(await house.engine.lineage.rerun(forked, AnewWish())).run.id for _ in range(3)]
        whole = await house.engine.lineage.family(forked, limit=9)
        cut = await house.engine.lineage.family(forked, limit=3)

    kin = {one.run_id: (one.relation, one.of, one.is_ancestor) for one in whole.kin}
    assert ("fork", forked, True) == kin[successor]
    assert ("successor", successor, True) == kin[first.id]
    assert all(("rerun", forked, False) == kin[one] for one in reruns)
    assert (True, False, 4) == (whole.is_whole, cut.is_whole, len(cut.kin))
