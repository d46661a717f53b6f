"""DBOS Transact on SQLite, as it is shipped or with a write-ahead log forced on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy
from dbos import DBOS

from bench.meter import Meter


def _force_wal(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


async def work(
    folder: str, runs: int, steps: int, size: int, is_wal: bool, at_once: int = 0
) -> dict[str, Any]:
    """Do ``runs`` workflows, all or ``at_once`` of them at once, each of ``steps`` steps."""
    if is_wal:
        # Not an option of DBOS: every connection that SQLAlchemy opens is set by us.
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", _force_wal)
    body = "x" * size
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{Path(folder) / 'dbos.db'}",
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )

    async def step(_number: int) -> str:
        return body

    durable_step = DBOS.step(name="work")(step)

    async def flow(count: int) -> int:
        for number in range(count):
            await durable_step(number)
        return count

    workflow = DBOS.workflow(name="flow")(flow)
    DBOS.launch()
    try:
        await (await DBOS.start_workflow_async(workflow, 20)).get_result()
        numbers = iter(range(runs))
        done: list[int] = []

        async def call() -> None:
            for _ in numbers:
                handle = await DBOS.start_workflow_async(workflow, steps)
                done.append(await handle.get_result())

        meter = Meter()
        await asyncio.gather(*(call() for _ in range(at_once or runs)))
        answer = meter.stop()
        assert done == [steps] * runs
        return {**answer, "journal_mode": _journal_mode(folder)}
    finally:
        DBOS.destroy()


def _journal_mode(folder: str) -> str:
    engine = sqlalchemy.create_engine(f"sqlite:///{Path(folder) / 'dbos.db'}")
    with engine.connect() as connection:
        mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
    engine.dispose()
    return mode
