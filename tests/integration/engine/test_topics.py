"""Topics, as authors wait at them and publish in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from agency.core.limits import TOPIC_BATCH_ROWS_MAX
from agency.domain.topic import TopicMode
from agency.engine.retry import Retry
from agency.errors import InvalidInput, TopicFull
from tests.integration.engine.house import House, crashed, open_house


@dataclass
class Price:
    sku: str
    amount: int


@workflow("follow")
async def follow(ctx: Context, where: dict[str, Any] | None = None) -> Any:
    return await ctx.wait_event("price", topic="prices", where=where)


@workflow("tell")
async def tell(ctx: Context, value: Any) -> str:
    await ctx.publish("prices", value, name="price")
    await ctx.wait_event("more")
    return "told"


async def publish(house: House, payload: Any, topic: str = "prices", **more: Any) -> Any:
    more.setdefault("name", "price")
    return await house.engine.topics.publish(topic, payload, **more)


async def kept(house: House, topic: str = "prices") -> int:
    return (await house.engine.topics.get(topic)).events


@pytest.mark.parametrize("linger_s", [0.0, 5.0])
async def test_event_wakes_the_run_that_it_fits(tmp_path: Path, linger_s: float) -> None:
    async with open_house(tmp_path, follow, linger_s=linger_s) as house:
        a = await house.start("follow", {"sku": "a"})
        b = await house.start("follow", {"sku": "b"})
        for run_id in (a, b):
            await house.suspended(run_id)

        await publish(house, {"sku": "b"})

        assert {"sku": "b"} == (await house.ended(b)).run.output
        await publish(house, {"sku": "a"})
        assert {"sku": "a"} == (await house.ended(a)).run.output


async def test_payload_is_typed_by_its_schema(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> int:
        price = await ctx.wait_event("price", topic="prices", schema=Price)
        assert isinstance(price, Price)
        return price.amount

    async with open_house(tmp_path, w) as house:
        await publish(house, {"sku": "a", "amount": 3})
        assert 3 == (await house.run("w")).run.output


async def test_filter_on_events_to_the_run_itself(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        paid = await ctx.wait_event("paid", where={"amount": {"ge": 10}})
        return [paid, await ctx.wait_event("paid")]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        for amount in (3, 12):
            await house.runs.send(run_id, name="paid", payload={"amount": amount})

        assert [{"amount": 12}, {"amount": 3}] == (await house.ended(run_id)).run.output


@pytest.mark.parametrize(
    "wait",
    [
        {"topic": ""},
        {"topic": "x" * 257},
        {"topic": "a\nb"},
        {"where": {"a": {"above": 1}}},
        {"where": {"a": {"in": 1}}},
        {"where": {"": 1}},
        {"where": [1]},
        {"where": {"a": "x" * 5000}},
    ],
)
async def test_wait_that_cannot_be_used_fails_the_run(tmp_path: Path, wait: dict[str, Any]) -> None:
    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.wait_event("n", **wait)

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "invalid_input") == (run.status, run.error.code)


async def test_published_step_counts_once_when_it_is_repeated_after_a_kill(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path / "a", tell) as house:
        run_id = await house.start("tell", 7)
        await house.suspended(run_id)
        copy = crashed(tmp_path / "a", tmp_path / "b")

    import sqlite3

    # As if the kill had come between the event and the record of the step.
    with sqlite3.connect(copy / "agency.db") as database:
        database.execute("DELETE FROM journal WHERE key IN ('publish-prices#1', 'event-more#1')")
        database.execute("DELETE FROM waits")
        database.execute("UPDATE runs SET status = 'pending', snapshot_id = NULL")
    database.close()
    async with open_house(copy, tell) as house:
        await house.until(run_id, lambda d: [wait.name for wait in d.waits] == ["more"])
        assert 1 == await kept(house)
        await house.runs.send(run_id, name="more", payload=None)
        assert "told" == (await house.ended(run_id)).run.output
        assert "publish-prices#1" in await house.keys(run_id)


async def test_step_that_finds_the_topic_full_is_tried_again(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        await ctx.publish(
            "prices", 2, name="price", retry=Retry(attempts=100, base_s=0.02, cap_s=0.02)
        )
        return "done"

    async with open_house(tmp_path, w, follow, topic_events_max=1) as house:
        await publish(house, 1)
        run_id = await house.start("w")
        await house.until(run_id, lambda d: d.run.started_at is not None)
        assert 1 == (await house.run("follow")).run.output
        assert "done" == (await house.ended(run_id)).run.output
        assert 2 == (await house.run("follow")).run.output


async def test_full_topic_takes_again_what_has_room_once_others_have_expired(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, follow, topic_events_max=1) as house:
        await publish(house, 1, keep_s=0.01)
        async with asyncio.timeout(5):
            while True:
                try:
                    await publish(house, 2)
                    break
                except TopicFull:
                    await asyncio.sleep(0.01)

        assert 2 == (await house.run("follow")).run.output


async def test_broadcast_reaches_more_runs_than_one_transaction_looks_at(tmp_path: Path) -> None:
    number = TOPIC_BATCH_ROWS_MAX + 20
    async with open_house(tmp_path, follow) as house:
        run_ids = [await house.start("follow") for _ in range(number)]
        for run_id in run_ids:
            await house.suspended(run_id)

        published = await publish(house, 1, mode=TopicMode.BROADCAST)

        assert published.is_spreading
        for run_id in run_ids:
            assert 1 == (await house.ended(run_id)).run.output


async def test_broadcast_that_was_cut_off_goes_on_after_a_start(tmp_path: Path) -> None:
    number = TOPIC_BATCH_ROWS_MAX + 20
    async with open_house(tmp_path / "a", follow) as house:
        run_ids = [await house.start("follow") for _ in range(number)]
        for run_id in run_ids:
            await house.suspended(run_id)
        # By the store alone: whoever publishes is killed before the rest.
        house.engine.topics.spread = lambda: None  # type: ignore[method-assign]
        published = await publish(house, 1, mode=TopicMode.BROADCAST)
        assert published.is_spreading
        copy = crashed(tmp_path / "a", tmp_path / "b")

    async with open_house(copy, follow) as house:
        for run_id in run_ids:
            assert 1 == (await house.ended(run_id)).run.output


async def test_loop_takes_each_broadcast_once_also_over_a_restart(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> list[Any]:
        found: list[Any] = []
        while len(found) < 4:
            found.append(await ctx.wait_event("price", topic="prices"))
        return found

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        for i in range(2):
            await publish(house, i, mode=TopicMode.BROADCAST)
        await house.until(run_id, lambda d: [wait.key for wait in d.waits] == ["event-price#3"])
    async with open_house(tmp_path, w) as house:
        for i in range(2, 4):
            await publish(house, i, mode=TopicMode.BROADCAST)
        assert [0, 1, 2, 3] == (await house.ended(run_id)).run.output


async def test_event_that_a_losing_branch_had_taken_goes_to_another_run(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        won = await ctx.first(
            x=ctx.wait_event("go"),
            y=ctx.wait_event("price", topic="prices"),
        )
        await ctx.wait_event("end")
        return won.name

    async with open_house(tmp_path, w, follow) as house:
        run_id = await house.start("w")
        detail = await house.suspended(run_id)
        assert detail.snapshot_id is not None
        # While an operator holds the run both come, and "go" is looked at first.
        await house.runs.suspend(run_id, reason="look", wait_s=5)
        await house.runs.send(run_id, name="go", payload=None)
        await publish(house, 5)
        assert 0 == await kept(house)
        other = await house.start("follow")
        await house.suspended(other)

        await house.resume(run_id, wait="!operator#1")

        assert 5 == (await house.ended(other)).run.output
        await house.runs.send(run_id, name="end", payload=None)
        assert "x" == (await house.ended(run_id)).run.output


async def test_sleeping_branch_loses_to_a_topic(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        won = await ctx.first(
            price=ctx.wait_event("price", topic="prices"), late=ctx.sleep(timedelta(hours=1))
        )
        return won.name

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await publish(house, 1)
        assert "price" == (await house.ended(run_id)).run.output


@pytest.mark.parametrize(
    "event", [{"keep_s": 0.0}, {"keep_s": -1.0}, {"keep_s": 1e9}, {"topic": ""}, {"topic": "\n"}]
)
async def test_event_that_cannot_be_published_is_refused(
    tmp_path: Path, event: dict[str, Any]
) -> None:
    async with open_house(tmp_path, follow) as house:
        with pytest.raises(InvalidInput):
            await publish(house, 1, **event)
        assert [] == list(await house.engine.topics.list(after=None, limit=9))


async def test_event_that_comes_while_the_last_are_swept_is_swept_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path) as house:
        topics, store = house.engine.topics, house.store.topics
        has_events = store.has_events

        async def has_events_just_before() -> bool:
            found = await has_events()
            await publish(house, 1, keep_s=0.001)
            return found

        await publish(house, 0, keep_s=0.001)
        later = house.engine._clock.now() + timedelta(hours=1)
        with monkeypatch.context() as patch:
            patch.setattr(store, "has_events", has_events_just_before)
            again = await topics.sweep(later)
        assert again is not None
        await topics.sweep(again)

        assert not await has_events()


async def test_expired_events_are_swept(tmp_path: Path) -> None:
    async with open_house(tmp_path, follow) as house:
        await publish(house, 1, keep_s=0.01)
        later = house.engine._clock.now() + timedelta(minutes=2)

        again = await house.engine.topics.sweep(later)

        assert again is None
        assert [] == list(await house.engine.topics.list(after=None, limit=9))


async def test_names_of_topics_may_have_any_signs(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> Any:
        await ctx.publish("a/b#c~d!e:f", [1])
        return await ctx.wait_event("n", topic="a/b#c~d!e:f")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await publish(house, 2, topic="a/b#c~d!e:f", name="n")
        assert 2 == (await house.ended(run_id)).run.output
