"""LangGraph with its asynchronous SQLite saver; every super-step is saved before the next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from bench.meter import Meter


class State(TypedDict):
    """What the graph carries: the last result only, so that its saves stay small."""

    number: int
    steps: int
    result: str


async def work(folder: str, runs: int, steps: int, size: int, at_once: int = 0) -> dict[str, Any]:
    """Do ``runs`` threads, all or ``at_once`` of them at once; a step is one pass of the node."""
    body = "x" * size

    async def node(state: State) -> dict[str, Any]:
        return {"number": state["number"] + 1, "result": body}

    def follow(state: State) -> str:
        return "node" if state["number"] < state["steps"] else END

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_conditional_edges("node", follow, ["node", END])
    async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "langgraph.db")) as saver:
        graph = builder.compile(checkpointer=saver)

        async def invoke(thread: str, count: int) -> int:
            state = await graph.ainvoke(
                {"number": 0, "steps": count, "result": ""},
                config={"configurable": {"thread_id": thread}, "recursion_limit": count + 10},
                durability="sync",
            )
            return int(state["number"])

        await invoke("warm", 20)
        numbers = iter(range(runs))
        done: list[int] = []

        async def call() -> None:
            for number in numbers:
                done.append(await invoke(str(number), steps))

        meter = Meter()
        await asyncio.gather(*(call() for _ in range(at_once or runs)))
        answer = meter.stop()
        assert done == [steps] * runs
        settings = {}
        for name in ("journal_mode", "synchronous"):
            async with saver.conn.execute(f"PRAGMA {name}") as cursor:
                row = await cursor.fetchone()
                settings[name] = row[0] if row else None
        return {**answer, **settings}
