"""A question of a run that is retried is asked again, as a record of its own."""

from pathlib import Path

from agency import Context, workflow
from agency.engine.lineage import RetryWish
from tests.integration.engine.house import open_house


async def test_input_that_timed_out_is_asked_for_again_by_a_retry(tmp_path: Path) -> None:
    @workflow("w")
    async def w(ctx: Context) -> object:
        return await ctx.input("Where to?", timeout_s=0.05)

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        assert "failed" == (await house.ended(run_id)).run.status
        await house.engine.lineage.retry(run_id, RetryWish())
        detail = await house.ended(run_id)

    assert detail.run.error is not None
    assert ("failed", "wait_timed_out") == (detail.run.status, detail.run.error.code)
