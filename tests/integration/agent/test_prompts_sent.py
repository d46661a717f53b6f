"""Everything that a model's server is sent over long tool loops: it fits, and is well formed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.crash.daemons import Daemon
from tests.crash.driver import RUNS, until
from tests.fake_ollama.context import tokens_of
from tests.fake_ollama.models import FakeModel
from tests.fake_ollama.server import FakeOllama, Seen
from tests.fake_ollama.turns import Turn, Turns
from tests.integration.agent.played import begin, call, home

TASK = "Read all the parts."
LAST_WORD = "All parts were read."
PARTS = 24
PART = 'Zeile {n}: größer als 日本 & <b>\\n\t"quoted" '
"""What files consist of: signs that take one, two and three bytes, and some that JSON escapes."""
LINES = 40
GUARD_S = 60.0


class Reader(FakeOllama):
    """Reads part after part, sometimes two in one turn; what is asked beside that is a summary.

    Attributes:
        answered: Turns that were answered.
        held: Numbers of turns whose first request is never answered.
        holds: Is set when such a request has come.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.answered = 0
        self.held: set[int] = set()
        self.holds = asyncio.Event()

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if not _is_of_task(seen.body):
            self.turns = Turns([Turn(content='Some parts were read. ä 日本 "and so on".')])
            return await super()._chat(request, seen)
        if self.answered in self.held:
            self.held.discard(self.answered)
            self.holds.set()
            await asyncio.Event().wait()  # until the client is gone
        number = self.answered
        self.turns = Turns([_turn(number)])
        response = await super()._chat(request, seen)
        if response.status == 200:
            self.answered = number + 1
        return response

    @property
    def told(self) -> list[Seen]:
        """Requests of the task."""
        return [seen for seen in self.of("/api/chat") if _is_of_task(seen.body)]


def _turn(number: int) -> Turn:
    if number >= PARTS:
        return Turn(content=LAST_WORD)
    calls = [call("read_file", path=f"part-{number}.txt")]
    if number % 3 == 0:
        calls.append(call("search_files", pattern=f"Zeile {number}:", glob="*.txt"))
    return Turn(content="I go on. " if number % 2 else "", tool_calls=calls)


def _is_of_task(body: Mapping[str, Any]) -> bool:
    return any(one["role"] == "user" and one["content"] == TASK for one in body["messages"])


def files() -> dict[str, str]:
    return {f"part-{n}.txt": (PART.format(n=n) + "\n") * LINES for n in range(PARTS)}


def settings(num_ctx: int) -> str:
    return (
        f"[llm]\nnum_ctx = {num_ctx}\n\n"
        '[agents.default]\nallow = ["*"]\n'
        'tools = ["read_file", "search_files", "todo"]\n'
    )


async def read_all(daemon: Daemon, **more: Any) -> str:
    return await begin(daemon, TASK, files=files(), budgets={"turns": 80}, **more)


async def compactions(daemon: Daemon, run_id: str) -> list[str]:
    found = (await daemon.get(f"{RUNS}/{run_id}/steps?limit=500"))["steps"]
    return [entry["key"] for entry in found if entry["key"].startswith("compact")]


def check_shape(body: Mapping[str, Any]) -> None:
    """Check that a request is what the server needs, message by message."""
    assert body["truncate"] is False
    assert not (body.get("tools") and body.get("format"))
    open_calls: list[Mapping[str, Any]] = []
    for message in body["messages"]:
        assert isinstance(message["content"], str)
        if message["role"] == "tool":
            assert open_calls, f"a result without a call: {message}"
            made = open_calls.pop(0)
            assert message["tool_name"] == made["function"]["name"]
            assert message.get("tool_call_id") == made.get("id")
            continue
        assert open_calls == [], "a call without a result"
        for made in message.get("tool_calls") or ():
            assert isinstance(made["function"]["arguments"], dict)
            open_calls.append(made)
    assert open_calls == [], "a call without a result at the end"


def check_turns(seen: Seen) -> None:
    """Check that the task and the last two turns are there as they were."""
    messages = seen.body["messages"]
    assert next(one["content"] for one in messages if one["role"] == "user") == TASK
    said = [one for one in messages if one["role"] == "assistant"]
    for one in said[-2:]:
        assert one["tool_calls"]
    paths = [
        made["function"]["arguments"]["path"]
        for one in said[-2:]
        for made in one["tool_calls"]
        if made["function"]["name"] == "read_file"
    ]
    numbers = [int(path.removeprefix("part-").removesuffix(".txt")) for path in paths]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)) if numbers else ())
    newest = messages[-1]["content"] if said else ""
    assert not said or f"Zeile {numbers[-1]}" in newest


@pytest.mark.parametrize(
    ("num_ctx", "trained", "is_old"),
    [(4096, 131_072, False), (8192, 3072, False), (4096, 131_072, True), (3000, 131_072, False)],
    ids=["configured", "trained for less", "server that cuts in silence", "odd size"],
)
async def test_all_prompts_of_a_long_tool_loop_fit(
    tmp_path: Path, num_ctx: int, trained: int, is_old: bool
) -> None:
    models = [FakeModel(name="llama3.2:latest", context_length=trained)]
    async with Reader(models=models) as model, home(tmp_path, model, settings(num_ctx)) as place:
        model.is_old = is_old
        daemon = await place.start()

        run_id = await read_all(daemon)
        run = await until(daemon, run_id)
        made = await compactions(daemon, run_id)

    assert LAST_WORD == (run["output"] or {}).get("response"), run["error"]
    assert made, "it was to be more than fits"
    chats = model.of("/api/chat")
    assert len({seen.body["options"]["num_ctx"] for seen in chats}) == 1
    window = min(num_ctx, trained)
    for seen in chats:
        check_shape(seen.body)
        assert (seen.status, seen.dropped) == (200, False)
        assert tokens_of(seen.body["messages"], seen.body.get("tools") or ()) <= window
    for seen in model.told:
        check_turns(seen)


async def test_model_that_makes_more_tokens_than_thought_is_never_cut_in_silence(
    tmp_path: Path,
) -> None:
    """The server refuses, with its count; room is made, and the next prompts are measured by it."""
    async with Reader() as model, home(tmp_path, model, settings(6144)) as place:
        model.signs_per_token = 2
        daemon = await place.start()

        run = await until(daemon, await read_all(daemon))

    assert LAST_WORD == (run["output"] or {}).get("response"), run["error"]
    chats = model.of("/api/chat")
    refused = [seen for seen in chats if seen.status == 400]
    assert len(refused) <= 3
    for seen in chats:
        check_shape(seen.body)
        assert not seen.dropped
        tokens = tokens_of(seen.body["messages"], seen.body.get("tools") or (), signs_per_token=2)
        assert (tokens <= 6144) == (seen.status == 200)


async def test_prompt_that_cannot_fit_is_never_sent(tmp_path: Path) -> None:
    async with Reader() as model, home(tmp_path, model, settings(2048)) as place:
        daemon = await place.start()

        run = await until(daemon, await begin(daemon, "Read this: " + "word " * 4000))

    assert ("failed", "context_too_long") == (run["status"], run["error"]["code"])
    assert "2048" in run["error"]["message"]
    assert any(int(word) > 4000 for word in _numbers(run["error"]["message"]))
    assert "num_ctx" in run["error"]["hint"]
    assert [] == model.of("/api/chat")


def _numbers(text: str) -> list[str]:
    return [word for word in text.replace(",", "").replace(".", " ").split() if word.isdigit()]


async def test_killed_daemon_sends_the_same_prompt_again_after_compactions(tmp_path: Path) -> None:
    async with Reader() as model, home(tmp_path, model, settings(4096)) as place:
        model.held = {5, 9, 14, PARTS}
        daemon = await place.start()
        run_id = await read_all(daemon, session_id="reading")
        for _ in range(4):
            await _die_while_held(model, daemon)
            daemon = await place.start()
        run = await until(daemon, run_id)
        made = await compactions(daemon, run_id)

    assert LAST_WORD == (run["output"] or {}).get("response"), run["error"]
    assert made
    first = int(made[0].partition("-")[2].partition(".")[0])
    assert first <= 9, "no compaction before the kills"
    left = [number for number, seen in enumerate(model.told) if seen.is_gone]
    assert len(left) == 4
    for number in left:
        assert _said(model.told[number + 1]) == _said(model.told[number])
    assert len(model.told) == PARTS + 1 + 4


async def _die_while_held(model: Reader, daemon: Daemon) -> None:
    async with asyncio.timeout(GUARD_S):
        await model.holds.wait()
        model.holds.clear()
    daemon.kill()
    await daemon.wait_ended()


def _said(seen: Seen) -> str:
    return json.dumps(seen.body, sort_keys=True)
