"""A model's server that plays a script for each task, and real daemons that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.crash.daemons import Daemon, Place, place_in
from tests.crash.driver import RUNS
from tests.fake_ollama.server import FakeOllama, Seen
from tests.fake_ollama.turns import Call, Turn, Turns
from tests.tools_setup.bubblewrap import find_bubblewrap

Messages = Sequence[Mapping[str, Any]]
Say = str | Sequence[Call] | Callable[[Messages], Any]


def call(name: str, /, **arguments: Any) -> Call:
    """Make a call."""
    return Call(name=name, arguments=arguments)


class Player(FakeOllama):
    """Says what the script of a task has for the turn; the task's first words decide which.

    A script's entry is text, calls, or a function of the messages; what it gives may be awaited.
    What no script is for is answered as a summary.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(parallel=4, **more)
        self.scripts: dict[str, Sequence[Say]] = {}

    def plays(self, task: str, *script: Say) -> None:
        """Write the script of the task that begins with these words."""
        self.scripts[task] = script

    def prompts(self, task: str) -> list[dict[str, Any]]:
        """All requests of a task."""
        return [body for body in self.chats if self._task(body["messages"]) == task]

    def _task(self, messages: Messages) -> str:
        for message in messages:
            for task in self.scripts:
                if message["role"] == "user" and message["content"].startswith(task):
                    return task
        return ""

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        messages = seen.body["messages"]
        task = self._task(messages)
        if not task:
            said: Any = "They worked on it, and it went well."
        else:
            said = self.scripts[task][sum(one["role"] == "assistant" for one in messages)]
        if callable(said):
            said = said(messages)
        if asyncio.iscoroutine(said):
            said = await said
        turn = Turn(content=said) if isinstance(said, str) else Turn(tool_calls=said)
        # Taken by the next line, before anybody else has a turn.
        self.turns = Turns([turn])
        return await super()._chat(request, seen)


@asynccontextmanager
async def home(
    folder: Path, model: FakeOllama, settings: str, **environ: str
) -> AsyncIterator[Place]:
    """Give a folder for daemons that ask this model, with these settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(settings)
    told = {
        "AGENCY_LLM__PROVIDER": "ollama",
        "AGENCY_LLM__BASE_URL": model.url,
        "AGENCY_SANDBOX__BUBBLEWRAP": find_bubblewrap() or "",
        **environ,
    }
    async with place_in(folder, **told) as place:
        yield place


async def begin(daemon: Daemon, message: str, **more: Any) -> str:
    """Start an agent's run, and give its id."""
    session = more.pop("session_id", None)
    body = {"workflow": "agent", "input": {"message": message, **more}, "session_id": session}
    return str((await daemon.post(RUNS, body))["id"])
