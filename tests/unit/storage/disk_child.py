"""A process that records until the disk refuses; run by the tests with a fault prepared for it.

Usage: ``python -m tests.unit.storage.disk_child FOLDER FAULT``. Prints one line of JSON for each
thing that happened: the numbers of acknowledged entries, and the names of the errors.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.errors import AgencyError
from agency.storage.sqlite.store import SqliteStore, open_store
from tests.contract.making import make_step, record, start, start_claimed


def tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def record_for_ever(store: SqliteStore, *, claims: int) -> None:
    """Record one entry after the other from several runs at once, until one is refused."""
    claimed = [await start_claimed(store, id=f"run-{i}") for i in range(claims)]
    tell(ready=True)

    async def record_one(i: int) -> None:
        for n in range(1_000_000):
            await record(store, claimed[i], entries=[make_step(f"s#{n}", "x" * 1000)])
            tell(run=f"run-{i}", key=f"s#{n}")

    tasks = [asyncio.ensure_future(record_one(i)) for i in range(claims)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, AgencyError):
            tell(error=type(result).__name__)


async def main(folder: Path, fault: str) -> None:
    settings = StoreSettings(free_bytes_min=0)
    async with open_store(folder / "agency.db", settings=settings, clock=SystemClock()) as store:
        if fault == "none":
            await record_for_ever(store, claims=8)
        elif fault == "limit":
            # Files cannot grow beyond this: a write fails with EFBIG, which is no full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
            await record_for_ever(store, claims=8)
            tell(is_broken=store.broken.is_set())
        elif fault == "full":
            await record_for_ever(store, claims=8)
            ballast = folder / "ballast"
            try:
                await start(store)
                tell(started=True)
            except AgencyError as error:
                tell(error=type(error).__name__)
            tell(is_alive=await store.check(timeout_s=5))
            ballast.unlink()
            await start(store)
            tell(recovered=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
