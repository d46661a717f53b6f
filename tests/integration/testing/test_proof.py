"""Workflows that are killed at every place: the safe come through, the planted faults are found."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agency import (
    Context,
    LegContext,
    NotDone,
    Retry,
    Saga,
    StepFailed,
    current_step,
    workflow,
)
from agency.testing import AnswerMissing, Harness, NotResumable

COUNTED = 0
SEEN: dict[str, int] = {}
SENT: list[str] = []


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as opened:
        yield opened


async def double(value: int) -> int:
    return value * 2


def plainly(value: int) -> list[int]:
    return [value, value]


async def echo(value: Any) -> Any:
    return value


# --- what comes through -------------------------------------------------------------------------


@workflow("child", version="1")
async def child(ctx: Context, input: int) -> int:
    await ctx.sleep(60)
    return await ctx.step("double", double, input)


@workflow("whole", version="1")
async def whole(ctx: Context, input: int) -> dict[str, Any]:
    """Meet everything that a run can meet."""
    ctx.at_end(echo, "the end")
    drawn = await ctx.step("echo", echo, [ctx.random(), ctx.uuid(), ctx.now().isoformat()])
    plain = await ctx.step("plainly", plainly, input)
    receipt = await ctx.step("charge", echo, "receipt", effect="once")
    both = await ctx.gather(left=ctx.step("double", double, 1), right=ctx.call("child", 5))
    items = await ctx.map("item", [1, 2, 3], double, limit=2)
    won = await ctx.first(paid=ctx.wait_event("paid"), late=ctx.sleep(3600))
    address = await ctx.input("Where to?", schema=str)
    return {
        "plain": plain,
        "receipt": receipt,
        "both": both,
        "items": items,
        "won": [won.name, won.value],
        "address": address,
        "same": drawn[1] == drawn[1],
    }


def test_run_that_meets_everything_comes_through(harness: Harness) -> None:
    harness.add(child)

    proof = harness.prove_resumable(
        whole, 21, answers={"paid": {"amount": 3}, "input": "Lindenweg 7"}
    )

    assert "completed" == proof.status
    assert ["paid", {"amount": 3}] == proof.output["won"]
    assert proof.places == proof.kills or proof.kills >= proof.places - 4
    assert {"echo#1", "plainly#1", "double#1"} <= set(proof.repeated)
    # What has happened was decided to be done: it is repeated only where it had not begun.
    assert "charge#1" not in proof.repeated


def test_long_run_is_proven_in_a_few_seconds(harness: Harness) -> None:
    @workflow("long", version="1")
    async def long(ctx: Context, input: int) -> int:
        value = 1
        for _ in range(input):
            value = await ctx.step("double", double, value)
        return value

    began_s = time.perf_counter()
    proof = harness.prove_resumable(long, 20)

    assert 2**20 == proof.output
    assert 42 == proof.kills == proof.places
    assert time.perf_counter() - began_s < 20


def test_time_limits_come_due_where_nothing_is_answered(harness: Harness) -> None:
    harness.add(child)

    proof = harness.prove_resumable(whole, 21, answers={"input": "Lindenweg 7"})

    assert ["late", None] == proof.output["won"]


def test_steps_may_hand_back_something_else_each_time(harness: Harness) -> None:
    async def token() -> str:
        return uuid4().hex

    @workflow("tokens", version="1")
    async def tokens(ctx: Context) -> list[str]:
        return [await ctx.step("token", token) for _ in range(3)]

    assert 8 == harness.prove_resumable(tokens).kills


def test_retries_come_through(harness: Harness) -> None:
    async def at_third_try() -> str:
        if current_step().attempt < 3:
            raise ConnectionError("not yet")
        return "done"

    async def not_done_at_first() -> str:
        if current_step().attempt < 2:
            raise NotDone("the till is closed")
        return "paid"

    @workflow("patient", version="1")
    async def patient(ctx: Context) -> list[str]:
        again = Retry(attempts=5, base_s=600)
        return [
            await ctx.step("flaky", at_third_try, retry=again),
            await ctx.step("pay", not_done_at_first, effect="once", retry=again),
        ]

    assert ["done", "paid"] == harness.prove_resumable(patient).output


def test_failure_that_is_expected_comes_through(harness: Harness) -> None:
    async def never() -> None:
        raise ValueError("this never works")

    @workflow("failing", version="1")
    async def failing(ctx: Context) -> None:
        await ctx.step("never", never)

    assert "failed" == harness.prove_resumable(failing, ends_as="failed").status
    with pytest.raises(NotResumable, match=r"left undisturbed it ended as failed, .*never works"):
        harness.prove_resumable(failing)


def test_agent_comes_through(harness: Harness) -> None:
    @workflow("ask", version="1")
    async def ask(ctx: Context) -> str:
        answer = await ctx.call("agent", {"message": "Hello"})
        return str(answer.response)

    harness.model.reply("Hello!", times=1)
    harness.model.reply("Hello again!")

    assert "Hello!" == harness.prove_resumable(ask).output


def test_approvals_and_topics_come_through(harness: Harness) -> None:
    @workflow("ships", version="1")
    async def ships(ctx: Context) -> list[object]:
        ok = await ctx.approve("Ship it?", schema=int)
        await ctx.publish("shipped", {"value": ok.value})
        news = await ctx.wait_event("news", topic="news")
        return [bool(ok), ok.value, news]

    answers = {"approve": {"decision": "approve", "value": 3}, "news": "good"}

    assert [True, 3, "good"] == harness.prove_resumable(ships, answers=answers).output


def test_saga_comes_through_forward_and_back(harness: Harness) -> None:
    shop = {"reserved": 0, "charged": 0}
    trip = Saga("trip")

    async def release(ctx: LegContext, result: str) -> None:
        shop["reserved"] = 0

    async def refund(ctx: LegContext, result: str) -> None:
        shop["charged"] = 0

    @trip.leg("reserve", undo=release)
    async def reserve(ctx: LegContext) -> str:
        shop["reserved"] = 1
        return "seat 12"

    @trip.leg("charge", undo=refund)
    async def charge(ctx: LegContext) -> str:
        shop["charged"] = 1
        return str(ctx.results["reserve"])

    @trip.leg("ship")
    async def ship(ctx: LegContext) -> str:
        if ctx.input == "nowhere":
            raise ValueError("there is no such place")
        return f"{ctx.results['charge']} to {ctx.input}"

    there = harness.prove_resumable(trip, "Ulm", outside=[shop])
    back = harness.prove_resumable(trip, "nowhere", outside=[shop], ends_as="compensated")

    assert "seat 12 to Ulm" == there.output["ship"]
    assert {"reserve#1", "charge#1", "ship#1"} == set(there.repeated)
    assert {"!end/undo.charge#1", "!end/undo.reserve#1"} <= set(back.repeated)


def test_unanswered_wait_is_named(harness: Harness) -> None:
    @workflow("asks", version="1")
    async def asks(ctx: Context) -> str:
        return str(await ctx.input("Where to?", name="address"))

    with pytest.raises(AnswerMissing, match=r"'address#1' \(input\)"):
        harness.prove_resumable(asks)


def test_world_outside_survives_the_kill_and_is_new_for_each(harness: Harness) -> None:
    @workflow("sends", version="1")
    async def sends(ctx: Context) -> int:
        await ctx.step("send", send, "hello")
        return await ctx.step("count", count)

    async def send(text: str) -> None:
        key = current_step().idempotency_key
        if key not in SENT:
            SENT.append(key)

    async def count() -> int:
        return len(SENT)

    assert 1 == harness.prove_resumable(sends, outside=[SENT]).output
    assert [] == SENT


def test_files_outside_are_put_back_for_each_try(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "report"

    def write() -> None:
        file.write_text(file.read_text() + "line\n" if file.exists() else "line\n")

    def size() -> int:
        return len(file.read_text().splitlines())

    @workflow("reports", version="1")
    async def reports(ctx: Context) -> bool:
        await ctx.step("write", write)
        return await ctx.step("size", size) > 0

    proof = harness.prove_resumable(reports, reset=lambda: file.unlink(missing_ok=True))

    assert {"write#1": 1, "size#1": 1} == proof.repeated


# --- what does not ------------------------------------------------------------------------------


def refused(harness: Harness, unsafe: Any, input: Any = None, **options: Any) -> str:
    with pytest.raises(NotResumable) as caught:
        harness.prove_resumable(unsafe, input, **options)
    return str(caught.value)


def test_time_of_the_machine_is_found_where_it_is_called(harness: Harness) -> None:
    @workflow("clocked", version="1")
    async def clocked(ctx: Context) -> str:
        if datetime.now().year > 2000:  # noqa: DTZ005
            await ctx.step("double", double, 1)
        return "done"

    message = refused(harness, clocked)

    assert "calls datetime.now(): take ctx.now()" in message
    assert "test_proof.py:" in message


def test_time_of_the_machine_is_found_where_it_is_hidden(harness: Harness) -> None:
    def hidden() -> float:
        return time.time()

    @workflow("clocked", version="1")
    async def clocked(ctx: Context) -> float:
        began = hidden()
        await ctx.step("double", double, 1)
        return began

    message = refused(harness, clocked)

    assert "it ended as completed: 1" in message
    assert "and without the kill as completed: 1" in message


def test_chance_of_the_machine_is_found(harness: Harness) -> None:
    @workflow("dice", version="1")
    async def dice(ctx: Context) -> str:
        if random.random() < 0.5:
            return str(await ctx.step("double", double, 1))
        return str(await ctx.step("plainly", plainly, 1))

    assert "calls random.random(): take ctx.random()" in refused(harness, dice)


def test_other_order_of_steps_shows_both_keys(harness: Harness) -> None:
    calls = iter(range(1000))

    def flip() -> bool:
        return next(calls) % 2 == 0

    @workflow("flips", version="1")
    async def flips(ctx: Context) -> int:
        if flip():
            return await ctx.step("heads", double, 1)
        return await ctx.step("tails", double, 1)

    message = refused(harness, flips)

    assert re.search(
        r"killed just \w+ .*: its code asks for '(heads|tails)#1' where '(heads|tails)#1' is "
        r"recorded next: it is not deterministic",
        message,
    )


def test_arguments_that_are_not_recorded_are_found(harness: Harness) -> None:
    calls = iter(range(1000))

    @workflow("numbers", version="1")
    async def numbers(ctx: Context) -> str:
        await ctx.step("save", save, next(calls))
        return "done"

    async def save(number: int) -> None:
        """Nothing of it is handed back."""

    message = refused(harness, numbers)

    assert "the step 'save#1' was called with [" in message
    assert "its arguments are not made from what is recorded" in message


def test_count_in_a_global_is_found(harness: Harness) -> None:
    @workflow("counts", version="1")
    async def counts(ctx: Context) -> int:
        global COUNTED  # noqa: PLW0603  what is planted
        COUNTED += 1
        await ctx.step("double", double, 1)
        return COUNTED

    message = refused(harness, counts)

    assert "COUNTED was" in message
    assert "changed outside of a step" in message
    assert 0 == COUNTED


def test_what_one_step_leaves_in_memory_for_another_is_found(harness: Harness) -> None:
    @workflow("leaves", version="1")
    async def leaves(ctx: Context) -> int:
        await ctx.step("put", put)
        return await ctx.step("take", take)

    async def put() -> None:
        SEEN["value"] = 42

    async def take() -> int:
        return SEEN["value"]

    message = refused(harness, leaves)

    assert "killed just before 'take#1' was recorded" in message
    assert "it ended as failed, 'value'" in message
    assert {} == SEEN


def test_list_that_is_changed_outside_of_a_step_is_found(harness: Harness) -> None:
    said = []

    @workflow("says", version="1")
    async def says(ctx: Context) -> int:
        said.append("began")
        return await ctx.step("double", double, 1)

    message = refused(harness, says)

    assert "said was ['began'] and is ['began', 'began'], changed outside of a step" in message
    assert [] == said


def test_file_that_is_written_outside_of_a_step_is_found(harness: Harness, tmp_path: Path) -> None:
    @workflow("writes", version="1")
    async def writes(ctx: Context) -> int:
        (tmp_path / "log").write_text("began")
        return await ctx.step("double", double, 1)

    message = refused(harness, writes)

    assert f"wrote to '{tmp_path}/log' outside of a step" in message
    assert "test_proof.py:" in message


async def test_connection_that_is_made_outside_of_a_step_is_found(harness: Harness) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    @workflow("connects", version="1")
    async def connects(ctx: Context) -> int:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return await ctx.step("double", double, 1)

    async with server:
        message = await asyncio.to_thread(refused, harness, connects)

    assert f"connected to ('127.0.0.1', {port}) outside of a step" in message


@pytest.mark.parametrize("what", [BaseException, asyncio.CancelledError])
def test_swallowed_cancellation_is_found(harness: Harness, what: type[BaseException]) -> None:
    @workflow("swallows", version="1")
    async def swallows(ctx: Context) -> str:
        try:
            await ctx.sleep(60)
        except what:
            return "interrupted"
        return "slept"

    assert "the code of 'swallows' swallows that it is left" in refused(harness, swallows)


def test_result_that_is_no_json_is_found(harness: Harness) -> None:
    async def make() -> object:
        return object()

    @workflow("makes", version="1")
    async def makes(ctx: Context) -> str:
        return str(await ctx.step("make", make))

    message = refused(harness, makes)

    assert "left undisturbed it ended as failed" in message
    assert "not JSON" in message or "JSON types" in message


def test_once_step_whose_target_is_asked_twice_is_counted(harness: Harness) -> None:
    charged: list[str] = []

    async def charge() -> str:
        charged.append("card")
        return f"receipt {len(charged)}"

    @workflow("charges", version="1")
    async def charges(ctx: Context) -> str:
        try:
            return await ctx.step("charge", charge, effect="once")
        except StepFailed:
            return "not charged"

    proof = harness.prove_resumable(charges, outside=[charged])

    assert "receipt 1" == proof.output
    assert {} == proof.repeated


def test_as_many_places_as_are_wanted_are_tried(harness: Harness) -> None:
    @workflow("long", version="1")
    async def long(ctx: Context) -> int:
        for _ in range(10):
            await ctx.step("double", double, 1)
        return 1

    proof = harness.prove_resumable(long, kills_max=5)

    assert (5, 22) == (proof.kills, proof.places)
