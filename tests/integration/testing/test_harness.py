"""Workflows in a test: started, answered, moved in time, crashed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from agency import Context, Retry, StepFailed, WaitTimedOut, current_step, workflow
from agency.errors import InvalidInput, RunEnded
from agency.testing import Harness


class Order(BaseModel):
    sku: str
    pieces: int = 1


@workflow("order", version="1")
async def order(ctx: Context, input: Order) -> dict[str, object]:
    price = await ctx.step("price", find_price, input.sku)
    await ctx.sleep(timedelta(days=2))
    paid = await ctx.wait_event("paid")
    address = await ctx.input("Where to?", schema=str)
    return {"price": price * input.pieces, "paid": paid, "address": address}


async def find_price(sku: str) -> int:
    return len(sku)


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as opened:
        yield opened


def test_run_is_looked_at_when_it_waits(harness: Harness) -> None:
    run = harness.run(order, Order(sku="abc", pieces=2))

    assert "suspended" == run.status
    assert ["timer"] == [wait.kind for wait in run.waits]
    assert 3 == run.step("price").value


def test_run_goes_through_its_waits(harness: Harness) -> None:
    run = harness.run(order, {"sku": "abc"})

    harness.advance(days=2)
    assert "event" == harness.get(run).waits[0].kind
    run = harness.send_event(run, "paid", {"amount": 3})
    assert "input" == run.wait("input").kind
    run = harness.answer(run, "Ulm")

    assert ("completed", None) == (run.status, run.error)
    assert {"price": 3, "paid": {"amount": 3}, "address": "Ulm"} == run.output


def test_time_passes_only_when_it_is_moved(harness: Harness) -> None:
    run = harness.run(order, {"sku": "abc"})

    harness.advance(days=1, hours=23)

    assert "timer" == harness.get(run).waits[0].kind


def test_clock_that_is_moved_by_hand_wakes_what_is_due(harness: Harness) -> None:
    run = harness.run(order, {"sku": "abc"})

    harness.clock.move(timedelta(days=2))

    assert "event" == harness.get(run).waits[0].kind


def test_each_sleep_on_the_way_ends_at_its_own_moment(harness: Harness) -> None:
    @workflow("naps", version="1")
    async def naps(ctx: Context) -> list[float]:
        began = ctx.now()
        seen = []
        for _ in range(3):
            await ctx.sleep(timedelta(hours=1))
            seen.append((ctx.now() - began).total_seconds())
        return seen

    run = harness.run(naps)
    harness.advance(hours=10)

    assert [3600, 7200, 10800] == harness.get(run).output


def test_a_month_passes_at_once_although_the_engine_tidies_up_every_minute(
    harness: Harness,
) -> None:
    run = harness.run(order, {"sku": "abc"})
    harness.publish("news", "kept for whoever asks")
    began_s = time.monotonic()

    harness.advance(days=30)

    assert "event" == harness.get(run).waits[0].kind
    assert time.monotonic() - began_s < 2


def test_delays_between_retries_are_not_waited_for(harness: Harness) -> None:
    tries = []

    async def flaky() -> str:
        tries.append(current_step().attempt)
        if len(tries) < 4:
            raise ConnectionError("not yet")
        return "done"

    @workflow("patient", version="1")
    async def patient(ctx: Context) -> str:
        return await ctx.step("flaky", flaky, retry=Retry(attempts=5, base_s=600))

    run = harness.run(patient)

    assert ("completed", "done") == (run.status, run.output)
    assert [1, 2, 3, 4] == tries


def test_run_that_is_tried_again_as_a_whole_settles(harness: Harness) -> None:
    tries = []

    async def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return "done"

    @workflow("again", version="1", retry=Retry(attempts=5, base_s=600))
    async def again(ctx: Context) -> str:
        return await ctx.step("flaky", flaky)

    run = harness.run(again)

    assert ("completed", 3) == (run.status, run.attempt)


def test_event_that_does_not_come_times_out(harness: Harness) -> None:
    @workflow("brief", version="1")
    async def brief(ctx: Context) -> str:
        try:
            return str(await ctx.wait_event("paid", timeout_s=60))
        except WaitTimedOut:
            return "late"

    run = harness.run(brief)
    harness.advance(minutes=1)

    assert "late" == harness.get(run).output


def test_failure_says_which_step_it_came_from(harness: Harness) -> None:
    async def never() -> None:
        raise ValueError("this never works")

    @workflow("failing", version="1")
    async def failing(ctx: Context) -> None:
        await ctx.step("never", never)

    run = harness.run(failing)

    assert "failed" == run.status
    assert run.error is not None
    assert ("never#1", "ValueError") == (run.error.step, run.error.error_class)
    assert "this never works" == run.step("never").error


def test_restart_forgets_what_was_not_recorded_and_nothing_else(harness: Harness) -> None:
    run = harness.run(order, {"sku": "abc"})

    harness.restart()
    harness.advance(days=2)
    harness.restart()
    run = harness.send_event(run, "paid")
    harness.restart()
    run = harness.answer(run, "Ulm")

    assert "completed" == run.status


def test_input_that_does_not_fit_is_refused(harness: Harness) -> None:
    with pytest.raises(InvalidInput):
        harness.run(order, {"sku": 3})
    with pytest.raises(InvalidInput, match="is no workflow"):
        harness.run(find_price, "abc")


def test_run_that_waits_for_nothing_takes_no_answer(harness: Harness) -> None:
    @workflow("quick", version="1")
    async def quick(ctx: Context) -> int:
        return 1

    run = harness.run(quick)

    with pytest.raises(RunEnded):
        harness.answer(run, "what?")


def test_agent_says_what_the_model_was_told_to_say(harness: Harness) -> None:
    @workflow("ask", version="1")
    async def ask(ctx: Context, topic: str) -> str:
        answer = await ctx.call("agent", {"message": f"What is {topic}?"})
        return str(answer.response)

    harness.model.reply("A database.", when="sqlite")

    assert "A database." == harness.run(ask, "SQLite").output
    assert ["What is SQLite?"] == [one.messages[-1].content for one in harness.model.requests]


def test_run_waits_for_a_model_that_is_away(harness: Harness) -> None:
    @workflow("ask", version="1")
    async def ask(ctx: Context) -> str:
        try:
            return str((await ctx.call("agent", {"message": "Hello"})).response)
        except StepFailed as failed:
            return failed.error_code

    harness.model.reply("Hello!")
    harness.model.is_away = True

    run = harness.run(ask)
    assert "child" == run.waits[0].kind
    harness.model.is_away = False

    assert "Hello!" == harness.settle(run).output


@workflow("asks", version="1")
async def asks(ctx: Context) -> dict[str, object]:
    ok = await ctx.approve("Ship it?", show={"price": 3}, schema=int, expires_s=3600)
    return {"ok": bool(ok), "value": ok.value, "comment": ok.comment, "by": ok.decided_by}


def test_approval_is_given_with_a_value(harness: Harness) -> None:
    run = harness.run(asks)
    run = harness.approve(run, value=4, comment="a bit more", by="Ada")

    assert {"ok": True, "value": 4, "comment": "a bit more", "by": "Ada"} == run.output


def test_approval_is_denied(harness: Harness) -> None:
    run = harness.deny(harness.run(asks))

    assert {"ok": False, "value": None, "comment": "", "by": "a test"} == run.output
    with pytest.raises(LookupError, match="asks for: none"):
        harness.approve(run)


def test_approval_that_nobody_gives_expires(harness: Harness) -> None:
    run = harness.run(asks)

    harness.advance(hours=1)

    assert {"ok": False, "value": None, "comment": "", "by": None} == harness.get(run).output


def test_event_of_a_topic_reaches_who_waits(harness: Harness) -> None:
    @workflow("listens", version="1")
    async def listens(ctx: Context) -> object:
        return await ctx.wait_event("news", topic="news")

    runs = [harness.run(listens) for _ in range(2)]
    harness.publish("news", "one")
    assert [True, False] == [harness.get(run).status == "completed" for run in runs]
    harness.publish("news", "all", is_broadcast=True)

    assert ["one", "all"] == [harness.get(run).output for run in runs]


def test_files_are_loaded_as_the_daemon_does(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "hello.py"
    file.write_text(
        "from agency import workflow\n"
        "@workflow('hello')\n"
        "async def hello(ctx, name: str) -> str:\n"
        "    return f'Hello {name}.'\n"
    )

    harness.load(file)

    assert "Hello Ada." == harness.run("hello", "Ada").output


def test_fixture_needs_no_import_and_no_plugin_for_coroutines(tmp_path: Path) -> None:
    (tmp_path / "test_hello.py").write_text(
        """\
from agency import workflow

@workflow("hello")
async def hello(ctx, name: str) -> str:
    return f"Hello {name}."

def test_hello(workflows):
    assert workflows.run(hello, "Ada").output == "Hello Ada."
"""
    )

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:asyncio",
            "-p",
            "no:aiohttp",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_code_that_holds_up_everything_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.testing.loop.STALL_S", 1.0)
    is_over = threading.Event()

    @workflow("stubborn", version="1")
    async def stubborn(ctx: Context) -> None:
        while not is_over.is_set():
            try:
                await ctx.sleep(60)
            except BaseException:
                time.sleep(0.01)  # so that this test costs little

    with Harness() as harness:
        with pytest.raises(TimeoutError, match=r"held up the event loop .*test_harness\.py:"):
            harness.run(stubborn)
        with pytest.raises(TimeoutError, match="nothing can be asked of it"):
            harness.run(stubborn)
        is_over.set()


def test_harness_is_not_asked_by_what_it_runs(harness: Harness) -> None:
    async def ask() -> str:
        return harness.run(order, {"sku": "abc"}).status

    @workflow("asks-back", version="1")
    async def asks_back(ctx: Context) -> str:
        return await ctx.step("ask", ask)

    run = harness.run(asks_back)

    assert run.error is not None
    assert "cannot be asked by the code that it runs" in run.error.message


def test_step_that_hangs_fails_the_test_and_not_the_suite(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.testing.harness.GUARD_S", 0.5)

    @workflow("hangs", version="1")
    async def hangs(ctx: Context) -> None:
        await ctx.step("hang", asyncio.Event().wait)

    with pytest.raises(TimeoutError, match=r"has not ended within 0\.5 s"):
        harness.run(hangs)
