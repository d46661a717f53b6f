"""Live updates: in order, without a gap, once each, for as many as watch."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from agency import Context, workflow
from agency.core.ids import new_id
from agency.domain.run import RunStatus
from agency.domain.update import UpdateFilter, UpdateType
from agency.engine import channel as channels
from agency.engine.channel import Dialect
from agency.errors import RunNotFound, ShuttingDown, UpdatesAhead
from tests.integration.engine.house import GUARD_S, House, open_house
from tests.integration.engine.watching import LINES, Watcher, line, watch_to_end, watching


async def nothing(number: int) -> int:
    return number


@workflow("steps", version="1")
async def steps(ctx: Context, input: int) -> int:
    for number in range(input):
        await ctx.step("a", nothing, number)
    return input


@workflow("gated", version="1")
async def gated(ctx: Context, input: int) -> int:
    await ctx.wait_event("go")
    for number in range(input):
        await ctx.step("a", nothing, number)
    return input


@workflow("fails", version="1")
async def fails(ctx: Context) -> None:
    await ctx.step("a", broken)


def broken() -> None:
    raise ValueError("no")


@workflow("speaks", version="1")
async def speaks(ctx: Context) -> str:
    await ctx.wait_event("go")

    async def say() -> str:
        for word in ("one ", "two ", "three"):
            ctx.token(word)
        return "one two three"

    said: str = await ctx.step("say", say)
    ctx.token("outside of a step")
    return said


def expected(count: int) -> list[tuple[str, str]]:
    """What is told of a gated run from its wait on."""
    recorded = [("step", f"a#{number + 1}") for number in range(count)]
    woken = [("status", "pending"), ("status", "running")]
    return [*woken, *recorded, ("status", "completed")]


async def all_ids(house: House, run_id: str) -> list[int]:
    page = await house.store.updates.of_run(run_id, after=0, limit=100_000)
    return [update.id for update in page.updates]


async def test_run_is_watched_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        run_id = await house.start("gated", 2)
        await house.suspended(run_id)
        async with watching(house.engine.updates, run_id, after=0) as watcher:
            await watcher.until(lambda: len(watcher.seen) >= 4)
            await house.runs.send(run_id, name="go", payload=None)
            await watcher.until(lambda: watcher.subscription.is_ended)

        begin = [("status", "pending"), ("status", "running"), ("wait", "event-go#1")]
        assert [*begin, ("status", "suspended"), *expected(2)] == watcher.told
        assert await all_ids(house, run_id) == watcher.ids
        assert 0 == house.engine.updates.watching


async def test_without_a_number_it_begins_now(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        run_id = await house.start("gated", 1)
        await house.suspended(run_id)
        async with watching(house.engine.updates, run_id) as watcher:
            await house.runs.send(run_id, name="go", payload=None)
            await watcher.until(lambda: watcher.subscription.is_ended)

        assert expected(1) == watcher.told


async def test_end_of_a_run_that_had_ended_before_is_told(tmp_path: Path) -> None:
    async with open_house(tmp_path, steps) as house:
        run_id = (await house.run("steps", 3)).run.id

        watcher = await watch_to_end(house.engine.updates, run_id)

        assert [("status", "completed")] == watcher.told


async def test_nothing_comes_after_the_end(tmp_path: Path) -> None:
    async with open_house(tmp_path, steps) as house:
        hub = house.engine.updates
        run_id = (await house.run("steps", 3)).run.id
        whole = (await watch_to_end(hub, run_id, after=0)).ids

        assert None is await hub.subscribe_run(run_id, UpdateFilter(), LINES, after=whole[-1])
        again = await watch_to_end(hub, run_id, after=whole[2])
        assert whole[3:] == again.ids


async def test_unknown_run_and_numbers_that_were_never_given_are_refused(tmp_path: Path) -> None:
    async with open_house(tmp_path, steps) as house:
        hub = house.engine.updates
        run_id = (await house.run("steps", 1)).run.id
        newest = await house.store.updates.newest()

        with pytest.raises(RunNotFound):
            await hub.subscribe_run(new_id(), UpdateFilter(), LINES, after=None)
        for ask in (
            hub.subscribe(UpdateFilter(), LINES, after=newest + 1),
            hub.subscribe_run(run_id, UpdateFilter(), LINES, after=newest + 1),
        ):
            with pytest.raises(UpdatesAhead) as caught:
                await ask
            assert {"after": newest + 1, "newest": newest} == caught.value.data
        assert 0 == hub.watching


async def test_all_runs_are_watched_in_the_order_of_the_commits(tmp_path: Path) -> None:
    async with open_house(tmp_path, steps) as house:
        async with watching(house.engine.updates, after=0) as watcher:
            runs = await asyncio.gather(*(house.run("steps", 20) for _ in range(8)))
            await watcher.until(lambda: watcher.told.count(("status", "completed")) == 8)

        newest = await house.store.updates.newest()
        page = await house.store.updates.tail(
            after=0, types=frozenset(UpdateType), runs=frozenset(), limit=newest
        )
        assert [update.id for update in page.updates] == watcher.ids
        assert {run.run.id for run in runs} == {run_id for _, run_id, *_ in watcher.seen}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (UpdateFilter(workflow="fails"), {"pending", "running", "failed", "a#1"}),
        (UpdateFilter(statuses=frozenset({RunStatus.FAILED})), {"failed"}),
        (UpdateFilter(types=frozenset({UpdateType.FAILURE})), {"a#1"}),
        (UpdateFilter(session_id="s"), {"pending", "running", "completed"}),
        (UpdateFilter(tags=frozenset({("team", "a")})), {"pending", "running", "completed"}),
        (UpdateFilter(queue="other"), set()),
    ],
)
async def test_only_what_is_wanted_is_told(
    tmp_path: Path, wanted: UpdateFilter, told: set[str]
) -> None:
    async with open_house(tmp_path, steps, fails) as house:
        async with (
            watching(house.engine.updates, wanted=wanted, after=0) as live,
            watching(house.engine.updates) as witness,
        ):
            await house.run("steps", 0, session_id="s", tags={"team": "a", "size": "b"})
            await house.run("fails")
            await witness.until(lambda: ("status", "failed") in witness.told)
        async with watching(house.engine.updates, wanted=wanted, after=0) as replayed:
            if told:
                await replayed.until(lambda: len(replayed.seen) == len(live.seen))

        assert told == {what for _, what in live.told}
        assert live.seen == replayed.seen


async def test_end_is_told_whatever_is_wanted_of_a_run(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        run_id = await house.start("gated", 2)
        await house.suspended(run_id)
        wanted = UpdateFilter(types=frozenset({UpdateType.PROGRESS}))
        async with watching(house.engine.updates, run_id, wanted=wanted) as watcher:
            await house.runs.send(run_id, name="go", payload=None)
            await watcher.until(lambda: watcher.subscription.is_ended)

        assert [("status", "completed")] == watcher.told


async def test_many_watchers_of_one_run_miss_nothing_and_share_what_is_written(
    tmp_path: Path,
) -> None:
    written = 0

    def counted(update: Any) -> bytes:
        nonlocal written
        written += 1
        return line(update)

    dialect = Dialect(update=counted)
    async with open_house(tmp_path, gated) as house, AsyncExitStack() as stack:
        run_id = await house.start("gated", 300)
        await house.suspended(run_id)
        watchers = [
            await stack.enter_async_context(watching(house.engine.updates, run_id, dialect=dialect))
            for _ in range(200)
        ]
        await asyncio.sleep(0)
        await house.runs.send(run_id, name="go", payload=None)
        for watcher in watchers:
            await watcher.until(lambda: watcher.subscription.is_ended)  # noqa: B023

    assert all(expected(300) == watcher.told for watcher in watchers)
    # Once for all who were attached; a page more for those who came while it was made live.
    assert written < 3 * len(expected(300))


async def test_watcher_that_has_no_room_reads_on_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "RING_FRAMES_MAX", 10)
    monkeypatch.setattr(channels, "CHUNK_BYTES_MAX", 200)
    source = random.Random(7)
    async with open_house(tmp_path, steps) as house:
        async with (
            watching(house.engine.updates, after=0, has_room=lambda: False) as never,
            watching(
                house.engine.updates, after=0, has_room=lambda: source.random() < 0.5
            ) as sometimes,
            watching(house.engine.updates, after=0) as always,
        ):
            await asyncio.gather(*(house.run("steps", 50) for _ in range(6)))
            for watcher in (never, sometimes, always):
                await watcher.until(
                    lambda: watcher.told.count(("status", "completed")) == 6  # noqa: B023
                )

        assert always.ids == sometimes.ids == never.ids
        assert len(always.ids) == 6 * 53
        # How often depends on the machine; that it happened is what the rest is worth something by.
        assert min(never.detached, sometimes.detached) > 1


async def test_stream_ends_also_for_one_whom_the_end_itself_has_filled(tmp_path: Path) -> None:
    taken: list[Watcher] = []
    async with open_house(tmp_path, gated) as house:
        run_id = await house.start("gated", 2)
        await house.suspended(run_id)
        async with watching(
            house.engine.updates, run_id, has_room=lambda: not taken[0].has_end
        ) as watcher:
            taken.append(watcher)
            await watcher.until_attached()
            await house.runs.send(run_id, name="go", payload=None)
            await watcher.until(lambda: watcher.has_end)
            async with asyncio.timeout(GUARD_S):
                while not watcher.subscription.is_ended:
                    await asyncio.sleep(0.005)

    assert 1 == watcher.told.count(("status", "completed"))


async def test_reconnecting_in_the_middle_of_a_burst_leaves_no_gap(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        hub = house.engine.updates
        run_id = await house.start("gated", 400)
        await house.suspended(run_id)
        seen: list[int] = []
        await house.runs.send(run_id, name="go", payload=None)
        last, is_over = 0, False
        while not is_over:
            async with watching(hub, run_id, after=last) as watcher:
                await watcher.until(lambda: len(watcher.seen) >= 20 or watcher.has_end)
            seen += watcher.ids
            last, is_over = seen[-1], watcher.has_end

        assert await all_ids(house, run_id) == seen


async def test_numbers_go_on_over_a_restart(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        run_id = await house.start("gated", 3)
        await house.suspended(run_id)
        async with watching(house.engine.updates, run_id, after=0) as watcher:
            await watcher.until(lambda: len(watcher.seen) == 4)
    before = watcher.ids
    async with open_house(tmp_path, gated) as house:
        async with watching(house.engine.updates, run_id, after=before[-1]) as watcher:
            await house.runs.send(run_id, name="go", payload=None)
            await watcher.until(lambda: watcher.subscription.is_ended)

        assert expected(3) == watcher.told
        assert await all_ids(house, run_id) == before + watcher.ids


async def test_tokens_are_shown_live_before_the_result_and_are_not_kept(tmp_path: Path) -> None:
    async with open_house(tmp_path, speaks) as house:
        run_id = await house.start("speaks")
        await house.suspended(run_id)
        async with (
            watching(house.engine.updates, run_id) as watcher,
            watching(house.engine.updates, run_id, dialect=Dialect(update=line)) as other,
        ):
            await watcher.until_attached()
            await house.runs.send(run_id, name="go", payload=None)
            for one in (watcher, other):
                await one.until(lambda: one.subscription.is_ended)  # noqa: B023
        replayed = await watch_to_end(house.engine.updates, run_id, after=0)

        said = "".join(what for kind, what in watcher.told if kind == "token")
        assert "one two three" == said
        kinds = [kind for kind, _ in watcher.told]
        assert kinds.index("token") < kinds.index("step")
        assert "token" not in {kind for kind, _ in [*other.told, *replayed.told]}


async def test_nobody_watching_costs_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path, steps) as house:
        looks = 0
        tail = house.store.updates.tail

        async def counted(**more: Any) -> Any:
            nonlocal looks
            looks += 1
            return await tail(**more)

        house.store.updates.tail = counted  # type: ignore[method-assign]
        await house.run("steps", 50)

        assert 0 == looks


async def test_watcher_that_leaves_at_once_leaves_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        hub = house.engine.updates
        run_id = await house.start("gated", 1)
        for _ in range(20):
            subscription = await hub.subscribe_run(run_id, UpdateFilter(), LINES, after=0)
            assert subscription is not None
            subscription.close()
            subscription.close()
        assert 0 == hub.watching
        task = asyncio.ensure_future(watch_to_end(hub, run_id))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with watching(hub, run_id, after=0) as watcher:
            await house.runs.send(run_id, name="go", payload=None)
            await watcher.until(lambda: watcher.subscription.is_ended)

        assert await all_ids(house, run_id) == watcher.ids


async def test_all_streams_end_when_the_engine_stops(tmp_path: Path) -> None:
    async with open_house(tmp_path, gated) as house:
        hub = house.engine.updates
        run_id = await house.start("gated", 1)
        await house.suspended(run_id)
        one = asyncio.ensure_future(watch_to_end(hub, run_id))
        async with watching(hub) as other:
            async with asyncio.timeout(GUARD_S):
                while hub.watching < 2:
                    await asyncio.sleep(0)
            await house.engine.__aexit__(None, None, None)
            await one

            assert other.subscription.is_ended
        with pytest.raises(ShuttingDown):
            await hub.subscribe(UpdateFilter(), LINES, after=None)
