"""pydantic-ai's agent on Ollama's compatible endpoint, which is how it speaks to Ollama."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.usage import UsageLimits

TASK_S = 30.0
RETRIES = 5
"""Times that a tool or an answer may be corrected; its default is 1."""


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
    completed: dict[str, bool] = {}
    errors: dict[str, str] = {}
    for name, prompt in tasks.items():
        items: list[dict[str, Any]] = []

        async def add_item(index: int, name: str, tags: list[str]) -> str:
            """Add an item."""
            items.append({"index": index, "name": name, "tags": tags})  # noqa: B023
            return f"step {index} done"

        async def look_up(index: int, key: str) -> str:
            """Look something up."""
            return f"step {index} done: {key} is {len(key)}"

        agent = Agent(
            OpenAIChatModel(model, provider=OllamaProvider(base_url=f"{url}/v1")),
            tools=[add_item, look_up],
            retries=RETRIES,
        )
        try:
            async with asyncio.timeout(TASK_S):
                result = await agent.run(prompt, usage_limits=UsageLimits(request_limit=60))
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"[:300]
            completed[name] = False
        else:
            completed[name] = items == wanted and result.output.strip() == final
            if not completed[name]:
                errors[name] = f"ended with {result.output[:100]!r} and {len(items)} items"
    return {"completed": completed, "errors": errors}
