"""Effects that may have happened: nothing repeats or forgets them unasked."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency import Context, NotDone, Retry, workflow
from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.disk import HeldDisk, block_until_recorded
from tests.integration.engine.house import GUARD_S, Between, House, crashed, open_house


@dataclass
class Receipt:
    number: int


async def echo(value: Any = None) -> Any:
    return value


async def decision_key(house: House, run_id: str) -> str:
    """Key of the decision that the suspended run waits for."""
    detail = await house.until(
        run_id,
        lambda detail: (
            detail.run.status == "suspended"
            and any(wait.kind == "decision" for wait in detail.waits)
        ),
    )
    (key,) = [wait.key for wait in detail.waits if wait.kind == "decision"]
    return key


class Till:
    """Something outside that is charged, and takes as long as it is told to.

    Attributes:
        charges: How often it was charged.
        is_charging: Set while it is.
        may_end: Until it is set the charge does not come back.
    """

    def __init__(self) -> None:
        self.charges = 0
        self.is_charging = asyncio.Event()
        self.may_end = asyncio.Event()

    async def charge(self) -> str:
        self.charges += 1
        self.is_charging.set()
        await self.may_end.wait()
        return "paid"


@pytest.mark.parametrize("decision", ["done", "again", "fail"])
async def test_cancel_in_a_charge_asks_and_no_event_answers_for_it(
    tmp_path: Path, decision: str
) -> None:
    till = Till()

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        async def leg() -> None:
            await ctx.wait_event("x")
            await ctx.step("after", echo, 1)

        await ctx.gather(a=leg(), b=ctx.step("charge", till.charge, effect="once"))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await till.is_charging.wait()
        await house.until(run_id, lambda d: any(wait.name == "x" for wait in d.waits))
        await house.runs.cancel(run_id)
        key = await decision_key(house, run_id)
        await house.runs.send(run_id, name="x", payload=1)
        assert key == await decision_key(house, run_id)
        await house.resume(run_id, {"decision": decision}, wait=key)
        assert "cancelled" == (await house.ended(run_id)).run.status

    assert 1 == till.charges


@pytest.mark.parametrize("how", ["cancel", "deadline", "go on"])
async def test_charge_that_a_kill_has_interrupted_is_asked_about(tmp_path: Path, how: str) -> None:
    till = Till()

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        await ctx.step("charge", till.charge, effect="once")
        return str(await ctx.step("after", echo, "after"))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w", timeout_s=1.5 if how == "deadline" else None)
        await till.is_charging.wait()
        left = crashed(tmp_path, tmp_path / "killed")
        if how == "deadline":
            await house.until(run_id, lambda d: d.run.ending is not None)

    async with open_house(left, w) as house:
        if how == "cancel":
            await house.runs.cancel(run_id)
        key = await decision_key(house, run_id)
        await house.resume(run_id, {"decision": "done", "result": "paid"}, wait=key)
        run = (await house.ended(run_id)).run

    expected = {"cancel": "cancelled", "deadline": "timed_out", "go on": "completed"}
    assert expected[how] == run.status
    assert 1 == till.charges


async def test_charge_known_not_done_is_not_asked_about_when_the_run_is_tried_again(
    tmp_path: Path,
) -> None:
    tries = []

    async def refuse() -> None:
        tries.append(1)
        raise NotDone("refused")

    @workflow("w", retry=Retry(attempts=2, base_s=0))
    async def w(ctx: Context) -> None:
        await ctx.step("charge", refuse, effect="once")

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert ("dead_letter", 2) == (run.status, run.attempt)
    assert [1, 1] == tries


async def test_result_that_does_not_fit_is_asked_for_again(tmp_path: Path) -> None:
    async def pay() -> Receipt:
        raise OSError("connection lost")

    @workflow("w", version="1")
    async def w(ctx: Context) -> int:
        return (await ctx.step("charge", pay, effect="once")).number

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        asked = {await decision_key(house, run_id)}
        for result in (None, {"number": "seven"}):
            await house.resume(run_id, {"decision": "done", "result": result})
            asked.add(await decision_key(house, run_id))
        await house.resume(run_id, {"decision": "done", "result": {"number": 7}})
        run = (await house.ended(run_id)).run

    assert 7 == run.output
    assert 3 == len(asked)


async def test_losing_charge_whose_result_is_being_committed_is_not_asked_about(
    tmp_path: Path,
) -> None:
    till = Till()
    won = asyncio.Event()

    async def win() -> str:
        await won.wait()
        return "won"

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        race = await ctx.first(x=ctx.step("x", win), y=ctx.step("pay", till.charge, effect="once"))
        return race.name

    async with open_house(tmp_path, w, linger_s=30.0) as house:
        run_id = await house.start("w")
        await till.is_charging.wait()
        async with HeldDisk(house.store) as disk:
            won.set()
            await disk.until_waiting(1)
            disk.let_go()
            block_until_recorded(tmp_path, "first#1.x/x#1")
            till.may_end.set()
        run = (await house.ended(run_id)).run
        keys = await house.keys(run_id)

    assert ("completed", "x") == (run.status, run.output)
    assert {"first#1.y/pay#1!1", "first#1.y/pay#1", "first#1.x/x#1", "first#1"} == set(keys)


@pytest.mark.parametrize("decision", ["done", "again", "fail"])
async def test_losing_charge_is_asked_about_before_the_run_goes_on(
    tmp_path: Path, decision: str
) -> None:
    till = Till()

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        race = await ctx.first(
            go=ctx.wait_event("go"), y=ctx.step("pay", till.charge, effect="once")
        )
        await ctx.wait_event("more")
        return race.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await till.is_charging.wait()
        await house.runs.send(run_id, name="go", payload=None)
        key = await decision_key(house, run_id)
        await house.resume(run_id, {"decision": decision, "result": "paid"}, wait=key)
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["more"])
        await house.runs.send(run_id, name="more", payload=None)
        assert "go" == (await house.ended(run_id)).run.output

    assert 1 == till.charges


async def test_result_of_a_losing_charge_must_fit_it_too(tmp_path: Path) -> None:
    """A crash before the winner is recorded would let the branch read it."""
    charging = asyncio.Event()

    async def charge() -> Receipt:
        charging.set()
        await asyncio.Event().wait()
        raise AssertionError

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        race = await ctx.first(go=ctx.wait_event("go"), y=ctx.step("pay", charge, effect="once"))
        return race.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await charging.wait()
        await house.runs.send(run_id, name="go", payload=None)
        asked = [await decision_key(house, run_id)]
        for result in ("paid", {"number": 7}):
            await house.resume(run_id, {"decision": "done", "result": result}, wait=asked[-1])
            if result == "paid":
                asked.append(await decision_key(house, run_id))
        assert "go" == (await house.ended(run_id)).run.output

    assert 2 == len(set(asked))


def stop_before(number: int, reached: asyncio.Event) -> Callable[[SqliteStore], Between]:
    """Make a room of runs that is closing when so many recordings have been asked for."""

    def between(store: SqliteStore) -> Between:
        asked = 0

        async def record(*args: Any, **more: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked >= number:
                reached.set()
                await asyncio.sleep(0)
            return await store.runs.record(*args, **more)

        return Between(store.runs, record=record)

    return between


@pytest.mark.parametrize("number", range(1, 6))
async def test_stop_while_a_decision_is_carried_out_fails_nothing(
    tmp_path: Path, number: int
) -> None:
    till = Till()

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        race = await ctx.first(
            y=ctx.step("pay", till.charge, effect="once"), go=ctx.wait_event("go")
        )
        await ctx.wait_event("more")
        return race.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await till.is_charging.wait()
        await house.runs.send(run_id, name="go", payload=None)
        await decision_key(house, run_id)

    reached = asyncio.Event()
    async with open_house(tmp_path, w, runs=stop_before(number, reached)) as house:
        await house.resume(run_id, {"decision": "again"})
        asked = asyncio.ensure_future(reached.wait())
        settled = asyncio.ensure_future(
            house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["more"])
        )
        await asyncio.wait({asked, settled}, return_when=asyncio.FIRST_COMPLETED, timeout=GUARD_S)
        asked.cancel()
        settled.cancel()

    async with open_house(tmp_path, w) as house:
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["more"])
        await house.runs.send(run_id, name="more", payload=None)
        assert "go" == (await house.ended(run_id)).run.output
    assert 1 == till.charges


async def test_question_that_is_not_yet_recorded_is_asked_once_when_the_run_is_cancelled(
    tmp_path: Path,
) -> None:
    has_failed = asyncio.Event()

    async def charge() -> None:
        has_failed.set()
        raise OSError("the connection was lost")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.gather(
            ctx.step("charge", charge, effect="once"),
            ctx.step("busy", asyncio.sleep, GUARD_S),
        )

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        async with asyncio.timeout(GUARD_S):
            await has_failed.wait()
        await house.runs.cancel(run_id)
        await house.resume(run_id, {"decision": "fail"}, wait=await decision_key(house, run_id))
        detail = await house.ended(run_id)

    assert "cancelled" == detail.run.status
