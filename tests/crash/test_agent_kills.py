"""An agent's task of forty turns is killed anywhere, and ends with the same files and words."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.crash.agent_task import (
    APPROVED,
    LAST_WORD,
    STORED,
    TASK,
    TURNS,
    Letterbox,
    Scribe,
    configure,
)
from tests.crash.daemons import GUARD_S, Daemon, Died, Place, Refused, place_in
from tests.crash.driver import RUNS, Watch, has_ended
from tests.crash.remains import gone
from tests.crash.story import all_of
from tests.crash.witness import Left, read_left
from tests.tools_setup.bubblewrap import find_bubblewrap

ALL = 50
_SECONDS = re.compile(r"after [0-9.]+ s\b")

pytestmark = pytest.mark.skipif(find_bubblewrap() is None, reason="bubblewrap is not here")


@dataclass(frozen=True, slots=True)
class Ending:
    """What a task came to; of two lives it is the same, whatever was between."""

    output: dict[str, Any]
    messages: list[tuple[str, Any]]
    steps: list[tuple[str, Any]]
    files: dict[str, str]


@dataclass
class Task:
    """One run of the task, over as many daemons as it takes.

    Attributes:
        kills: How many of them were killed.
        at_approval: Is called when the approval is open, before it is answered.
        asked_when_recorded: How often each recorded turn had been asked for when a daemon died.
    """

    place: Place
    model: Scribe
    letterbox: Letterbox
    kills: int = 0
    at_approval: Callable[[], None] = lambda: None
    asked_when_recorded: Counter[str] = field(default_factory=Counter)
    run_id: str = ""
    _watched: Daemon | None = None

    async def live(self, daemon: Daemon) -> dict[str, Any] | None:
        """Go on until the run has ended; None if the daemon died before."""
        self._watched = daemon
        try:
            async with asyncio.timeout(GUARD_S):
                return await self._drive(daemon)
        except Died:
            await self._bury(daemon)
            return None

    def kill(self) -> None:
        """Kill the daemon that lives."""
        assert self._watched is not None
        self._watched.kill()

    async def _drive(self, daemon: Daemon) -> dict[str, Any]:
        run = await daemon.post(
            RUNS,
            {
                "workflow": "agent",
                "input": {"message": TASK, "budgets": {"turns": 60}, "return_files": ["*.txt"]},
                "session_id": "ship",
            },
            headers={"Idempotency-Key": "ship"},
        )
        assert self.run_id in {"", run["id"]}, "an acknowledged run is gone"
        self.run_id = run["id"]
        watch = Watch(daemon, run["id"])
        while not has_ended(run):
            for wait in run["waits"]:
                await self._answer(daemon, run, wait)
            run = await watch.next()
        return dict(run)

    async def _answer(self, daemon: Daemon, run: dict[str, Any], wait: dict[str, Any]) -> None:
        """Answer what is asked; a run that is not suspended yet is answered at the next look."""
        try:
            match wait["kind"]:
                case "approval":
                    approval = wait["show"]["approval_id"]
                    if wait["name"] == "shell":
                        assert APPROVED in str(wait["show"]["show"])
                        self.at_approval()
                    path = f"/api/v1/approvals/{approval}/decide"
                    await daemon.post(path, {"decision": "approve"})
                case "decision" if run["snapshot_id"] is not None:
                    body = {"snapshot_id": run["snapshot_id"], "wait": wait["key"]}
                    body["input"] = self._truth(wait)
                    prefer = {"Prefer": "respond-async"}
                    await daemon.post("/api/v1/workflows/resume", body, headers=prefer)
        except Refused as refused:
            if refused.status != 409:
                raise

    def _truth(self, wait: dict[str, Any]) -> dict[str, Any]:
        """Say whether the letter has been posted, as somebody does who has looked."""
        assert wait["show"]["step"].startswith("call-27.0"), wait
        if not self.letterbox.letters:
            return {"decision": "again"}
        content = f"HTTP 201 Created\n\n{STORED}"
        result = {"tool": "http_request", "content": content, "is_untrusted": True}
        return {"decision": "done", "result": result}

    async def _bury(self, daemon: Daemon) -> None:
        """Look at what a killed daemon has left behind."""
        assert await daemon.wait_ended() == -9, daemon.log.read_text()
        self.kills += 1
        await gone(self.place.folder, at_work=True)
        left = read_left(self.place.database, boot=self.place.boots)
        assert left.integrity == "ok"
        for turn in self._turns_recorded(left):
            self.asked_when_recorded.setdefault(turn, self.model.asked[turn])

    def _turns_recorded(self, left: Left) -> list[str]:
        made = []
        for run_id, key in left.recorded:
            step, _, number = key.partition("#")
            if step == "reply":
                name = "main" if run_id == self.run_id else "helper"
                made.append(f"{name} {int(number) - 1}")
        return made

    def check(self, run: dict[str, Any]) -> None:
        """Check that the run has ended well, and that nothing was done that was done already."""
        assert run["status"] == "completed", run["error"]
        assert run["output"]["response"] == LAST_WORD
        assert run["output"]["usage"]["turns"] == TURNS + 4
        assert len(self.letterbox.letters) == 1, "what must happen once has happened otherwise"
        asked = self.model.asked
        for turn, times in self.asked_when_recorded.items():
            assert asked[turn] == times, f"{turn} was recorded, and asked for again"
        repeated = {turn: times for turn, times in asked.items() if times > 1}
        assert sum(times - 1 for times in repeated.values()) <= self.kills, repeated

    async def ending(self, daemon: Daemon, run: dict[str, Any]) -> Ending:
        """Read what the task came to."""
        messages = await _all(daemon, "/api/v1/sessions/ship/messages", "messages")
        listed = await _all(daemon, f"{RUNS}/{run['id']}/files", "files")
        files = {}
        for file in listed:
            content = await daemon.fetch(file["links"]["self"])
            files[file["path"]] = hashlib.sha256(content).hexdigest()
            assert files[file["path"]] == file["sha256"]
        entries = await _all(daemon, f"{RUNS}/{run['id']}/steps", "steps")
        output = dict(run["output"])
        output["usage"] = {k: v for k, v in output["usage"].items() if k in ("turns", "tool_calls")}
        return Ending(
            output=output,
            messages=[(one["role"], one["content"]) for one in messages],
            steps=[told for entry in entries if (told := _told(entry)) is not None],
            files=files,
        )


def _told(entry: dict[str, Any]) -> tuple[str, Any] | None:
    """Say what a step came to, without how long it took and what only this run is called."""
    value = entry["body"]
    if not entry["key"].startswith(("reply", "call-")) or not isinstance(value, dict):
        return None
    names = ("content", "is_error", "tool", "judgement", "files", "todos")
    return entry["key"], {name: value[name] for name in names if name in value}


async def _all(daemon: Daemon, path: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await daemon.get(f"{path}?limit=100{cursor}")
        found += page[name]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@asynccontextmanager
async def task_in(folder: Path) -> AsyncIterator[Task]:
    """Give a task in a folder of its own, with a model and a letterbox of its own."""
    configure(folder)
    bubblewrap = find_bubblewrap() or ""
    async with Letterbox() as letterbox, Scribe(letterbox.url) as model:
        environ = {
            "AGENCY_LLM__PROVIDER": "ollama",
            "AGENCY_LLM__BASE_URL": model.url,
            "AGENCY_SANDBOX__BUBBLEWRAP": bubblewrap,
        }
        async with place_in(folder, **environ) as place:
            yield Task(place, model, letterbox)


def plain(ending: Ending, letterbox: Letterbox) -> Ending:
    """Take out the letterbox's address and how long commands took: they are others in each life."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return _SECONDS.sub("after a while", value.replace(letterbox.url, "http://letterbox"))
        if isinstance(value, dict):
            return {name: clean(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [clean(one) for one in value]
        return value

    return Ending(
        output=clean(ending.output),
        messages=clean(ending.messages),
        steps=clean(ending.steps),
        files=ending.files,
    )


async def undisturbed(folder: Path) -> tuple[Ending, float]:
    """Do the task without any kill; the ending, and how long it took."""
    async with task_in(folder) as task:
        daemon = await task.place.start()
        began_s = time.monotonic()
        run = await task.live(daemon)
        took_s = time.monotonic() - began_s
        assert run is not None, "the daemon died by itself"
        task.check(run)
        ending = plain(await task.ending(daemon, run), task.letterbox)
    assert len(ending.messages) > 2 * TURNS
    assert len(ending.steps) > 2 * TURNS
    return ending, took_s


@dataclass(frozen=True, slots=True)
class Moment:
    """When a daemon is killed: at something that happens, or after a part of the whole time."""

    at: str
    part: float = 0.0


async def _tell(folder: Path, moments: list[Moment], whole: Ending, whole_s: float) -> bool:
    """Do the task over these kills; False if none of them came before the end."""
    async with task_in(folder) as task:
        run = None
        for moment in moments:
            run = await _live_until(task, moment, whole_s)
            if run is not None:
                break
        daemon = task.place.daemons[-1]
        if run is None:
            daemon = await task.place.start()
            run = await task.live(daemon)
        assert run is not None
        task.check(run)
        ending = plain(await task.ending(daemon, run), task.letterbox)
        assert ending.output == whole.output
        assert ending.messages == whole.messages
        assert ending.steps == whole.steps
        assert ending.files == whole.files
        daemon.kill()
        await daemon.wait_ended()
        await gone(folder, at_work=True)
        return task.kills > 0


async def _live_until(task: Task, moment: Moment, whole_s: float) -> dict[str, Any] | None:
    """Live once and be killed at a moment; the run, if it has ended before."""
    daemon = await task.place.start()
    killing: asyncio.TimerHandle | None = None
    armed = [moment.at]

    def at(what: str) -> None:
        if armed == [what]:
            armed.clear()
            daemon.kill()

    task.model.on_ask = at
    task.letterbox.on_letter = lambda: at("letter")
    task.at_approval = lambda: at("approval")
    if not moment.at:
        loop = asyncio.get_running_loop()
        killing = loop.call_later(moment.part * whole_s, daemon.kill)
    run = await task.live(daemon)
    if killing is not None:
        killing.cancel()
    return run


async def test_task_killed_where_it_matters_ends_the_same(tmp_path: Path, seed: int) -> None:
    """With the approval open, the letter posted, the sub-agent at work; and at random moments."""
    whole, whole_s = await undisturbed(tmp_path / "whole")
    source = random.Random(seed)
    stories = [
        [Moment("approval"), Moment("letter")],
        [Moment("helper 1"), Moment("", source.uniform(0, 0.5))],
        [Moment("", source.uniform(0, 0.9))],
    ]

    async def tell(number: int) -> bool:
        return await _tell(tmp_path / f"life-{number:03}", stories[number], whole, whole_s)

    assert await all_of(tell, range(len(stories))) >= 2


@pytest.mark.soak
async def test_task_killed_at_fifty_moments_ends_the_same(tmp_path: Path, seed: int) -> None:
    whole, whole_s = await undisturbed(tmp_path / "whole")

    async def tell(number: int) -> bool:
        source = random.Random(f"{seed} {number}")
        moments = [Moment("", source.uniform(0, 0.9))]
        # Every third story is killed once more: what is left then is less, and so is the time.
        if number % 3 == 0:
            moments.append(Moment("", source.uniform(0, 1 - moments[0].part)))
        return await _tell(tmp_path / f"life-{number:03}", moments, whole, whole_s)

    assert await all_of(tell, range(ALL)) >= ALL * 0.8
