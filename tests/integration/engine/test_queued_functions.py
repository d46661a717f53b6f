"""Plain functions that wait for a thread, and whose run ends meanwhile."""

import threading
from pathlib import Path

from agency import Context, workflow
from tests.integration.engine.house import GUARD_S, open_house


async def test_function_that_waits_for_a_thread_is_not_begun_once_its_run_is_cancelled(
    tmp_path: Path,
) -> None:
    begun = []
    has_begun, may_end = threading.Event(), threading.Event()

    def work(name: str) -> str:
        begun.append(name)
        if name == "long":
            has_begun.set()
            assert may_end.wait(GUARD_S)
        return name

    @workflow("w")
    async def w(ctx: Context, name: str) -> str:
        return await ctx.step("work", work, name)

    async with open_house(tmp_path, w, step_threads=1) as house:
        long = await house.start("w", "long")
        await house.until(long, lambda _: has_begun.is_set())
        queued = await house.start("w", "queued")
        await house.until(queued, lambda detail: detail.run.status == "running")
        await house.runs.cancel(queued)
        assert "cancelled" == (await house.ended(queued)).run.status
        may_end.set()
        after = await house.run("w", "after")

    assert "after" == after.run.output
    assert ["long", "after"] == begun
