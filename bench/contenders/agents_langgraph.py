"""LangGraph's prebuilt agent with langchain-ollama, on Ollama's own interface."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import tool
from langchain_ollama import ChatOllama

TASK_S = 30.0
SUPER_STEPS = 120


async def work(
    folder: str,
    url: str,
    model: str,
    tasks: Mapping[str, str],
    wanted: list[dict[str, Any]],
    final: str,
) -> dict[str, Any]:
    """Do the tasks one after the other; the answer says which were completed."""
    del folder
    with warnings.catch_warnings():
        # It has moved to another package; what is measured is the one that LangGraph ships.
        warnings.simplefilter("ignore")
        from langgraph.prebuilt import create_react_agent
    completed: dict[str, bool] = {}
    errors: dict[str, str] = {}
    for name, prompt in tasks.items():
        items: list[dict[str, Any]] = []

        def add_item(index: int, name: str, tags: list[str]) -> str:
            """Add an item."""
            items.append({"index": index, "name": name, "tags": tags})  # noqa: B023
            return f"step {index} done"

        def look_up(index: int, key: str) -> str:
            """Look something up."""
            return f"step {index} done: {key} is {len(key)}"

        chat = ChatOllama(model=model, base_url=url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            agent = create_react_agent(chat, [tool(add_item), tool(look_up)])
        try:
            async with asyncio.timeout(TASK_S):
                state = await agent.ainvoke(
                    {"messages": [("user", prompt)]}, config={"recursion_limit": SUPER_STEPS}
                )
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"[:300]
            completed[name] = False
        else:
            said = str(state["messages"][-1].content)
            completed[name] = items == wanted and said.strip() == final
            if not completed[name]:
                errors[name] = f"ended with {said[:100]!r} and {len(items)} items"
    return {"completed": completed, "errors": errors}
