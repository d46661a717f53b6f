"""Agency's own loop over a real engine and a database, on Ollama's own interface."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agency.config.schema import Llm
from agency.domain.run import RunStatus
from agency.engine.runs import StartRequest
from agency.models.ollama.provider import open_ollama
from agency.ports.tool import ToolContext
from agency.storage.sqlite.store import SqliteStore
from agency.testing.clock import MovedClock
from agency.testing.life import open_life
from agency.testing.model import ScriptedModel
from agency.workflows.agent.agent import AGENT, Agent
from tests.integration.agent.world import TEXT, PlainSet, PlainSets, PlainTool, taking

TASK_S = 30.0


async def work(
    folder: str,
    url: str,
    model: str,
    tasks: Mapping[str, str],
    wanted: list[dict[str, Any]],
    final: str,
) -> dict[str, Any]:
    """Do the tasks one after the other; the answer says which were completed."""
    items: dict[str, list[dict[str, Any]]] = {}

    async def add_item(context: ToolContext, index: int, name: str, tags: list[str]) -> str:
        items.setdefault(context.run_id, []).append({"index": index, "name": name, "tags": tags})
        return f"step {index} done"

    async def look_up(context: ToolContext, index: int, key: str) -> str:
        del context
        return f"step {index} done: {key} is {len(key)}"

    index = {"type": "integer"}
    tags = {"type": "array", "items": TEXT}
    added = taking(index=index, name=TEXT, tags=tags)
    sets = PlainSets(
        [
            PlainSet(
                "shop",
                [
                    PlainTool("add_item", add_item, added, description="Add an item."),
                    PlainTool("look_up", look_up, taking(index=index, key=TEXT)),
                ],
            )
        ]
    )
    llm = Llm(base_url=url, model=model)
    completed: dict[str, bool] = {}
    errors: dict[str, str] = {}
    async with open_ollama(llm) as provider:

        def make_agent(store: SqliteStore, scripted: ScriptedModel, place: Path) -> Agent:
            del scripted, place
            return Agent(
                providers={provider.name: provider},
                default=provider.name,
                settings=llm,
                sessions=store.sessions,
                toolsets=sets,
            )

        async with open_life(
            Path(folder),
            [],
            clock=MovedClock(),
            model=ScriptedModel(llm),
            make_agent=make_agent,
        ) as life:
            for name, prompt in tasks.items():
                asked = StartRequest(workflow=AGENT, input={"message": prompt, "max_steps": 60})
                started = await life.runs.start(asked)
                async with asyncio.timeout(TASK_S):
                    await life.settle()
                run = (await life.runs.get(started.run.id)).run
                said = run.output["response"] if run.status is RunStatus.COMPLETED else ""
                completed[name] = said.strip() == final and items.get(run.id) == wanted
                if not completed[name]:
                    errors[name] = f"{run.status}: {run.error.message if run.error else said}"
    return {"completed": completed, "errors": errors}
