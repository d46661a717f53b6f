"""A read that the engine rests on is cut off: it is made again, and no run fails for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agency import Context, workflow
from agency.errors import ReadTooLong
from agency.storage.sqlite.store import SqliteStore
from tests.integration.engine.house import Between, crashed, open_house


class Late:
    """A room of the store, one of whose reads is cut off the first few times."""

    def __init__(self, read: Any, times: int) -> None:
        self._read = read
        self.left = times

    async def __call__(self, *which: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            raise ReadTooLong(30.0)
        return await self._read(*which)


async def test_run_goes_on_whose_journal_could_not_be_read_in_time(tmp_path: Path) -> None:
    done = []

    async def work() -> int:
        done.append(1)
        return 7

    @workflow("w")
    async def w(ctx: Context) -> Sequence[Any]:
        return [await ctx.step("work", work), await ctx.wait_event("go")]

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        path = crashed(tmp_path, tmp_path / "killed")

    lates = []

    def slow(store: SqliteStore) -> Between:
        lates.append(Late(store.journal.load, 2))
        store.journal = Between(store.journal, load=lates[0])  # type: ignore[assignment]
        return Between(store.runs)

    async with open_house(path, w, runs=slow) as house:
        await house.runs.send(run_id, name="go", payload="now")
        detail = await house.ended(run_id)

    assert ("completed", [7, "now"]) == (detail.run.status, detail.run.output)
    assert ([1], 0) == (done, lates[0].left)
