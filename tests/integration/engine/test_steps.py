import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from agency import Context, NotDone, Permanent, Retry, StepFailed, current_step, workflow
from agency.errors import ForeignTask, ModelInterrupted, ModelUnavailable
from tests.integration.engine.house import open_house


@dataclass
class Receipt:
    number: int
    lines: tuple[str, ...]


async def test_result_is_what_the_record_decodes_to_also_the_first_time(tmp_path: Path) -> None:
    seen = []

    async def make() -> Receipt:
        return Receipt(7, ("a", "b"))

    async def plain() -> object:
        return ("x", 1)

    @workflow("order")
    async def order(ctx: Context) -> Receipt:
        seen.append(await ctx.step("plain", plain))
        receipt = await ctx.step("make", make)
        seen.append(receipt)
        return receipt

    async with open_house(tmp_path, order) as house:
        detail = await house.run("order")

    assert ("completed", {"number": 7, "lines": ["a", "b"]}) == (
        detail.run.status,
        detail.run.output,
    )
    assert [["x", 1], Receipt(7, ("a", "b"))] == seen
    assert 2 == detail.steps_executed


async def test_plain_function_runs_in_a_thread_and_knows_its_step(tmp_path: Path) -> None:
    def work(value: int) -> list[str]:
        info = current_step()
        return [threading.current_thread().name, info.key, info.idempotency_key, str(value)]

    @workflow("w")
    async def w(ctx: Context, value: int) -> list[str]:
        return await ctx.step("work", work, value)

    async with open_house(tmp_path, w) as house:
        thread, key, idempotency_key, value = (await house.run("w", 5)).run.output

    assert thread.startswith("step-")
    assert ("work#1", "5") == (key, value)
    assert 36 == len(idempotency_key)


async def test_recorded_step_is_not_run_again_after_a_suspension(tmp_path: Path) -> None:
    calls = []

    async def effect(name: str) -> str:
        calls.append(name)
        return name.upper()

    @workflow("w")
    async def w(ctx: Context) -> list[object]:
        first = await ctx.step("effect", effect, "a")
        payload = await ctx.wait_event("go")
        second = await ctx.step("effect", effect, "b")
        return [first, payload, second]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
    async with open_house(tmp_path, w) as house:
        await house.runs.send(run_id, name="go", payload={"n": 1})
        detail = await house.ended(run_id)

    assert ["A", {"n": 1}, "B"] == detail.run.output
    assert ["a", "b"] == calls


async def test_failure_is_raised_the_same_live_and_on_replay(tmp_path: Path) -> None:
    seen = []

    async def fail() -> None:
        raise ValueError("no luck")

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.step("fail", fail)
        except StepFailed as failed:
            seen.append((failed.error_code, failed.error_class, str(failed), failed.step))
        await ctx.wait_event("go")
        return "caught"

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.send(run_id, name="go", payload=None)
        detail = await house.ended(run_id)

    assert "caught" == detail.run.output
    assert [("error", "ValueError", "no luck", "fail#1")] * 2 == seen


async def test_uncaught_failure_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    async def fail() -> None:
        raise Permanent("the shop is closed")

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("fail", fail)

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "permanent", "the shop is closed", "fail#1") == (
        run.status,
        run.error.code,
        run.error.message,
        run.error.step,
    )


async def test_failed_try_is_repeated_by_its_policy_and_recorded(tmp_path: Path) -> None:
    tries = []

    async def flaky() -> str:
        tries.append(current_step().attempt)
        if len(tries) < 3:
            raise ConnectionError("reset")
        return "done"

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("flaky", flaky, retry=Retry(attempts=5, base_s=0.001))

    async with open_house(tmp_path, w) as house:
        detail = await house.run("w")
        entries = await house.runs.entries(detail.run.id, after=0, limit=10)

    assert "done" == detail.run.output
    assert [1, 2, 3] == tries
    assert ["flaky#1~1", "flaky#1~2", "flaky#1"] == [entry.key for entry in entries]


async def test_long_retry_delay_is_a_timer_that_survives_a_restart(tmp_path: Path) -> None:
    tries = []

    async def flaky() -> str:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("reset")
        return "done"

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("flaky", flaky, retry=Retry(attempts=2, base_s=0.3, jitter=False))

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        waits = (await house.suspended(run_id)).waits
    assert ["timer"] == [wait.kind for wait in waits]
    async with open_house(tmp_path, w) as house:
        detail = await house.ended(run_id)

    assert ("done", 2) == (detail.run.output, len(tries))


async def test_async_step_is_cancelled_at_its_time_limit(tmp_path: Path) -> None:
    cancelled = []

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            await ctx.step("slow", slow, timeout_s=0.02)
        except StepFailed as failed:
            return failed.error_code
        return ""

    async with open_house(tmp_path, w) as house:
        assert "timed_out" == (await house.run("w")).run.output
    assert [True] == cancelled


async def test_late_plain_function_returns_before_the_next_try(tmp_path: Path) -> None:
    running: list[int] = []
    overlapped = []

    def slow() -> str:
        overlapped.append(len(running))
        running.append(1)
        if len(overlapped) == 1:
            time.sleep(0.15)
        running.pop()
        return "second"

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("slow", slow, timeout_s=0.05, retry=Retry(attempts=2, base_s=0.0))

    async with open_house(tmp_path, w) as house:
        assert "second" == (await house.run("w")).run.output
    assert [0, 0] == overlapped


async def test_result_that_is_not_json_fails_the_step_with_a_hint(tmp_path: Path) -> None:
    async def bad() -> object:
        return {1, 2}

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("bad", bad)

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "NotJson") == (run.status, run.error.error_class)


async def test_result_that_does_not_fit_its_annotation_fails_the_step(tmp_path: Path) -> None:
    async def bad() -> Receipt:
        return {"number": "many"}  # type: ignore[return-value]  # the mistake is the point

    @workflow("w")
    async def w(ctx: Context) -> None:
        await ctx.step("bad", bad)

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "InvalidInput") == (run.status, run.error.error_class)


@pytest.mark.parametrize("decision", ["done", "again", "fail"])
async def test_once_step_in_doubt_asks_and_follows_the_decision(
    tmp_path: Path, decision: str
) -> None:
    calls = []

    async def charge() -> str:
        calls.append(current_step().idempotency_key)
        if len(calls) == 1:
            raise ConnectionError("lost in the middle")
        return "charged"

    @workflow("w")
    async def w(ctx: Context) -> str:
        try:
            return await ctx.step("charge", charge, effect="once")
        except StepFailed as failed:
            return failed.error_code

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        detail = await house.suspended(run_id)
        assert [("decision", "charge")] == [(wait.kind, wait.name) for wait in detail.waits]
        assert detail.snapshot_id is not None
        answer = {"decision": decision} | ({"result": "by hand"} if decision == "done" else {})
        await house.runs.resume(detail.snapshot_id, input=answer, has_input=True)
        output = (await house.ended(run_id)).run.output

    expected = {"done": "by hand", "again": "charged", "fail": "decided_failed"}
    assert expected[decision] == output
    assert 1 == len(set(calls))
    assert (2 if decision == "again" else 1) == len(calls)


async def test_once_step_that_is_known_not_done_is_tried_again(tmp_path: Path) -> None:
    calls = []

    async def charge() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise NotDone("refused before anything happened")
        if len(calls) == 2:
            raise BlockingIOError("refused")
        return "charged"

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step(
            "charge",
            charge,
            effect="once",
            not_done_on=[BlockingIOError],
            retry=Retry(attempts=3, base_s=0.001),
        )

    async with open_house(tmp_path, w) as house:
        assert "charged" == (await house.run("w")).run.output


async def test_run_waits_for_an_absent_resource_and_goes_on_by_itself(tmp_path: Path) -> None:
    is_up = [False]

    async def health() -> bool:
        return is_up[0]

    async def ask() -> str:
        if not is_up[0]:
            raise ModelUnavailable("model:fake", "connection refused")
        return "answer"

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("ask", ask)

    async with open_house(tmp_path, w, health={"model:fake": health}) as house:
        run_id = await house.start("w")
        detail = await house.suspended(run_id)
        is_up[0] = True
        ended = await house.ended(run_id)

    assert [("resource", "model:fake")] == [(wait.kind, wait.target) for wait in detail.waits]
    assert ("answer", 1) == (ended.run.output, ended.run.attempt)


async def test_call_that_dies_three_times_under_a_healthy_server_is_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.engine.steps.DEATH_PAUSE_S", 0.001)
    calls = []

    async def health() -> bool:
        return True

    async def ask() -> str:
        calls.append(1)
        raise ModelInterrupted("model:fake", "runner died")

    @workflow("w")
    async def w(ctx: Context) -> str:
        return await ctx.step("ask", ask)

    async with open_house(tmp_path, w, health={"model:fake": health}) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "model_crashed", 3) == (run.status, run.error.code, len(calls))


async def test_call_from_a_foreign_task_is_refused(tmp_path: Path) -> None:
    async def nothing() -> None: ...

    @workflow("w")
    async def w(ctx: Context) -> str:
        async def elsewhere() -> None:
            await ctx.step("nothing", nothing)

        with pytest.raises(ForeignTask):
            await asyncio.gather(elsewhere())
        return "refused"

    async with open_house(tmp_path, w) as house:
        assert "refused" == (await house.run("w")).run.output


async def test_isolated_step_runs_in_a_process_that_is_killed_at_its_limit(
    tmp_path: Path,
) -> None:
    from tests.integration.engine.isolated_steps import own_pid, sleep_long

    @workflow("w")
    async def w(ctx: Context) -> list[object]:
        pid = await ctx.step("pid", own_pid, isolation="process")
        try:
            await ctx.step("long", sleep_long, isolation="process", timeout_s=0.6)
        except StepFailed as failed:
            return [pid, failed.error_code]
        return []

    import os

    async with open_house(tmp_path, w) as house:
        pid, code = (await house.run("w")).run.output

    assert os.getpid() != pid
    assert "timed_out" == code


async def test_run_is_tried_again_as_a_whole_and_failed_steps_with_it(tmp_path: Path) -> None:
    calls = {"good": 0, "bad": 0}

    async def good() -> str:
        calls["good"] += 1
        return "g"

    async def bad() -> str:
        calls["bad"] += 1
        if calls["bad"] < 2:
            raise ConnectionError("down")
        return "b"

    @workflow("w", retry=Retry(attempts=3, base_s=0.01))
    async def w(ctx: Context) -> str:
        return await ctx.step("good", good) + await ctx.step("bad", bad)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        detail = await house.ended(run_id)

    assert ("gb", 2, {"good": 1, "bad": 2}) == (detail.run.output, detail.run.attempt, calls)


async def test_run_whose_tries_are_used_up_is_a_dead_letter(tmp_path: Path) -> None:
    async def bad() -> str:
        raise ConnectionError("down")

    @workflow("w", retry=Retry(attempts=2, base_s=0.01))
    async def w(ctx: Context) -> str:
        return await ctx.step("bad", bad)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        run = (await house.ended(run_id)).run

    assert ("dead_letter", 2) == (run.status, run.attempt)


async def test_sleep_inside_asyncio_timeout_is_refused(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> str:
        async with asyncio.timeout(5):
            await ctx.sleep(timedelta(seconds=1))
        return ""

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "wait_inside_timeout") == (run.status, run.error.code)


async def test_step_that_is_not_awaited_fails_the_run(tmp_path: Path) -> None:
    async def effect() -> None: ...

    @workflow("w")
    async def w(ctx: Context) -> str:
        ctx.step("effect", effect)  # the mistake is the point
        return "done"

    async with open_house(tmp_path, w) as house:
        run = (await house.run("w")).run

    assert run.error is not None
    assert ("failed", "not_awaited") == (run.status, run.error.code)
    assert "ctx.step('effect')" in run.error.message
