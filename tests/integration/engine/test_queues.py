"""Named queues over a whole engine: limits, pauses, drains, bulk and keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agency import Context, workflow
from agency.config.schema import Queue
from agency.domain.run import RunStatus
from agency.engine.runs import StartedRun, StartRequest
from agency.errors import (
    IdempotencyMismatch,
    InvalidInput,
    QueueFull,
    QueueNotFound,
    WorkflowNotFound,
)
from tests.integration.engine.house import GUARD_S, House, open_house


class Stage:
    """Counts what is on it at once; nobody leaves before the gate is open."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.order: list[str] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Condition()

    async def enter(self, who: str, sort: str) -> None:
        self.order.append(who)
        self.now[sort] = self.now.get(sort, 0) + 1
        self.most[sort] = max(self.most.get(sort, 0), self.now[sort])
        async with self.entered:
            self.entered.notify_all()
        try:
            await self.gate.wait()
        finally:
            self.now[sort] -= 1

    async def until(self, count: int) -> None:
        async with asyncio.timeout(GUARD_S), self.entered:
            await self.entered.wait_for(lambda: len(self.order) >= count)


STAGE = Stage()


@pytest.fixture
def stage() -> Stage:
    STAGE.__init__()  # type: ignore[misc]
    return STAGE


@workflow("act", version="1")
async def act(ctx: Context, who: str) -> str:
    await STAGE.enter(who, "act")
    return who


@workflow("scan", version="1", queue="bulk", concurrency=2)
async def scan(ctx: Context, who: str) -> str:
    await STAGE.enter(who, "scan")
    return who


@workflow("ask", version="1")
async def ask(ctx: Context) -> str:
    return str(await ctx.wait_event("answer"))


@workflow("noop", version="1")
async def noop(ctx: Context) -> None:
    """Do nothing."""


@workflow("call", version="1")
async def call(ctx: Context, key: str) -> str:
    return str(await ctx.call("act", "child", concurrency_key=key))


@workflow("fail", version="1")
async def fail(ctx: Context) -> None:
    raise OSError("again")


ALL = (act, scan, ask, noop, call, fail)


async def counts(house: House, queue: str) -> tuple[int, int]:
    """Pending and running runs of a queue."""
    found = await house.queues.get(queue)
    return found.count(RunStatus.PENDING), found.count(RunStatus.RUNNING)


async def test_queue_and_workflow_are_limited(tmp_path: Path, stage: Stage) -> None:
    settings = {"narrow": Queue(concurrency=3), "other": Queue()}
    async with open_house(tmp_path, *ALL, queues=settings) as house:
        runs = [await house.start("act", str(i), queue="narrow") for i in range(8)]
        runs += [await house.start("scan", str(i)) for i in range(4)]
        runs += [await house.start("scan", str(i), queue="other") for i in range(4)]
        await stage.until(5)
        assert (5, 3) == await counts(house, "narrow")
        stage.gate.set()
        for run_id in runs:
            assert RunStatus.COMPLETED is (await house.ended(run_id)).run.status

    assert {"act": 3, "scan": 2} == stage.most


async def test_queue_is_the_one_asked_for_else_the_workflows_else_the_default(
    tmp_path: Path, stage: Stage
) -> None:
    async with open_house(tmp_path, *ALL, queues={"named": Queue()}) as house:
        requests = [("act", None), ("scan", None), ("scan", "named"), ("act", "bulk")]
        queues = []
        for name, queue in requests:
            request = StartRequest(workflow=name, input="x", queue=queue)
            queues.append((await house.runs.start(request)).run.queue)
        with pytest.raises(QueueNotFound):
            await house.start("act", "x", queue="nmaed")
        listed = await house.queues.list(after=None, limit=9)
        stage.gate.set()

    assert ["default", "bulk", "named", "bulk"] == queues
    assert ["bulk", "default", "named"] == [one.name for one in listed]


async def test_rate_lets_runs_through_as_time_passes(tmp_path: Path, stage: Stage) -> None:
    stage.gate.set()
    settings = {"slow": Queue(rate=1, rate_period_s=0.05)}
    async with open_house(tmp_path, *ALL, queues=settings) as house:
        loop = asyncio.get_running_loop()
        began = loop.time()
        runs = [await house.start("act", str(i), queue="slow") for i in range(5)]
        for run_id in runs:
            await house.ended(run_id)
        took = loop.time() - began

    assert list("01234") == stage.order
    assert took >= 4 * 0.05


async def test_paused_queue_takes_up_nothing_also_after_a_restart(
    tmp_path: Path, stage: Stage
) -> None:
    async with open_house(tmp_path, *ALL) as house:
        await house.queues.pause("default")
        run_id = await house.start("act", "a")
        assert (await house.queues.get("default")).is_paused

    async with open_house(tmp_path, *ALL) as house:
        other = await house.start("scan", "b")
        await stage.until(1)
        assert ["b"] == stage.order
        stage.gate.set()
        await house.ended(other)
        await house.queues.resume("default")
        await house.ended(run_id)

    assert ["b", "a"] == stage.order


async def test_drain_waits_until_nothing_of_the_queue_runs(tmp_path: Path, stage: Stage) -> None:
    async with open_house(tmp_path, *ALL) as house:
        await house.suspended(await house.start("ask"))
        running = await house.start("act", "a")
        await stage.until(1)
        early = await house.queues.drain("default", timeout_s=0)
        waiting = asyncio.ensure_future(house.queues.drain("default", timeout_s=GUARD_S))
        later = await house.start("act", "b")
        assert (1, True) == (early.count(RunStatus.RUNNING), early.is_paused)
        stage.gate.set()
        async with asyncio.timeout(GUARD_S):
            drained = await waiting
        assert RunStatus.COMPLETED is (await house.runs.get(running)).run.status
        assert RunStatus.PENDING is (await house.runs.get(later)).run.status
        with pytest.raises(QueueNotFound):
            await house.queues.drain("unknown", timeout_s=0)

    assert (0, 1) == (drained.count(RunStatus.RUNNING), drained.count(RunStatus.SUSPENDED))


async def test_full_queue_says_when_to_come_again(tmp_path: Path, stage: Stage) -> None:
    settings = {"small": Queue(size_max=2, concurrency=1)}
    async with open_house(tmp_path, *ALL, queues=settings) as house:
        await house.start("act", "a", queue="small")
        await stage.until(1)
        first = [await house.start("act", name, queue="small") for name in "bc"]
        with pytest.raises(QueueFull) as unknown:
            await house.start("act", "d", queue="small")
        stage.gate.set()
        for run_id in first:
            await house.ended(run_id)
        stage.gate.clear()
        await house.start("act", "e", queue="small")
        await stage.until(4)
        for name in "fg":
            await house.start("act", name, queue="small")
        with pytest.raises(QueueFull) as known:
            await house.start("act", "h", queue="small")

    assert 10.0 == unknown.value.retry_after_s
    assert known.value.retry_after_s == 1.0
    assert ["a", "b", "c", "e"] == stage.order


async def test_many_requests_stand_for_themselves(tmp_path: Path, stage: Stage) -> None:
    stage.gate.set()
    async with open_house(tmp_path, *ALL) as house:
        known = await house.runs.start(
            StartRequest(workflow="act", input="k", idempotency_key="k", request_hash="k")
        )
        outcomes = await house.runs.start_many(
            [
                StartRequest(workflow="act", input="a"),
                StartRequest(workflow="nothing", input="a"),
                StartRequest(workflow="act", input=7),
                StartRequest(workflow="act", input={1, 2}),
                StartRequest(workflow="act", input="k", idempotency_key="k", request_hash="k"),
                StartRequest(workflow="act", input="k", idempotency_key="k", request_hash="l"),
                StartRequest(workflow="act", input="a", queue="unknown"),
                StartRequest(workflow="act", input="a", priority=1001),
                StartRequest(workflow="act", input="b", max_attempts=7),
            ]
        )
        runs = [one.run for one in outcomes if isinstance(one, StartedRun)]
        for run in runs:
            await house.ended(run.id)

    assert [
        StartedRun,
        WorkflowNotFound,
        InvalidInput,
        InvalidInput,
        StartedRun,
        IdempotencyMismatch,
        QueueNotFound,
        InvalidInput,
        StartedRun,
    ] == [type(one) for one in outcomes]
    assert known.run.id == runs[1].id
    assert 7 == runs[2].max_attempts
    assert ["a", "b", "k"] == sorted(stage.order)


async def test_many_messages_to_a_session_answer_it_or_queue(tmp_path: Path) -> None:
    async with open_house(tmp_path, ask, noop) as house:
        await house.suspended(await house.start("ask", session_id="s"))
        busy, fine = await house.runs.start_many(
            [
                StartRequest(workflow="noop", input=None, session_id="s"),
                StartRequest(workflow="noop", input=None, session_id="t"),
            ]
        )

    assert "session_busy" == getattr(busy, "code", None)
    assert isinstance(fine, StartedRun)


async def test_two_thousand_keys_that_come_twice_at_once_run_once_each(tmp_path: Path) -> None:
    async with open_house(tmp_path, noop) as house:

        async def request(i: int) -> str:
            wanted = StartRequest(
                workflow="noop", input=None, idempotency_key=f"k{i}", request_hash="h"
            )
            return (await house.runs.start(wanted)).run.id

        ids = await asyncio.gather(
            *(request(i) for i in range(2000)), *(request(i) for i in range(2000))
        )
        for run_id in set(ids):
            detail = await house.ended(run_id)
            assert (RunStatus.COMPLETED, 1) == (detail.run.status, detail.run.epoch)

    assert ids[:2000] == ids[2000:]
    assert 2000 == len(set(ids))


async def test_delay_puts_a_run_off(tmp_path: Path, stage: Stage) -> None:
    stage.gate.set()
    async with open_house(tmp_path, *ALL) as house:
        late = await house.start("act", "late", delay_s=0.2)
        soon = await house.start("act", "soon")
        await house.ended(soon)
        assert RunStatus.PENDING is (await house.runs.get(late)).run.status
        await house.ended(late)

    assert ["soon", "late"] == stage.order


async def test_runs_with_one_key_are_worked_on_one_at_a_time(tmp_path: Path, stage: Stage) -> None:
    stage.gate.set()
    async with open_house(tmp_path, *ALL) as house:
        runs = [await house.start("act", str(i), concurrency_key="k") for i in range(20)]
        for run_id in runs:
            await house.ended(run_id)

    assert {"act": 1} == stage.most
    assert [str(i) for i in range(20)] == stage.order


async def test_child_with_its_parents_key_does_not_wait_for_it(
    tmp_path: Path, stage: Stage
) -> None:
    stage.gate.set()
    async with open_house(tmp_path, *ALL) as house:
        parent = await house.start("call", "k", concurrency_key="k", priority=5)
        behind = await house.start("act", "behind", concurrency_key="k")
        assert "child" == (await house.ended(parent)).run.output
        await house.ended(behind)

    assert ["child", "behind"] == stage.order


async def test_attempts_of_a_run_are_those_asked_for(tmp_path: Path) -> None:
    async with open_house(tmp_path, fail) as house:
        once = await house.ended(await house.start("fail"))
        more = await house.ended(await house.start("fail", max_attempts=2))

    assert (RunStatus.FAILED, 1) == (once.run.status, once.run.attempt)
    assert (RunStatus.DEAD_LETTER, 2) == (more.run.status, more.run.attempt)


@pytest.mark.parametrize(
    "options", [{"queue": ""}, {"queue": "a/b"}, {"queue": "x" * 65}, {"concurrency": 0}]
)
def test_workflow_that_names_what_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        workflow("w", **options)  # type: ignore[arg-type]
