"""Agency's agents in one process, as the daemon has them, with a model that costs nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Engine as EngineSettings
from agency.config.schema import Llm
from agency.config.schema import Store as StoreSettings
from agency.core.clock import SystemClock
from agency.core.ids import new_id
from agency.daemon.main import SWITCH_INTERVAL_S
from agency.domain.approval import Risk
from agency.domain.run import RunStatus
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.engine.engine import Engine
from agency.engine.registry import Registry
from agency.engine.runs import Runs, StartRequest
from agency.files.workspaces import open_workspaces
from agency.models.lane import Lanes
from agency.models.roles import Models
from agency.ports.model import (
    CallProgress,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Health,
    ModelInfo,
    ToolCall,
    ToolSpec,
)
from agency.ports.tool import ToolContext, ToolRequest
from agency.storage.sqlite.store import open_store
from agency.vault.redaction import Redactor
from agency.workflows.agent.agent import Agent
from bench.meter import Meter

GUARD_S = 200.0
MODEL = "model"
SECRETS = 10
RESULT = "The value is 42, and the file has these lines: " + "one two three four five. " * 8
SYSTEM = "You are a careful worker. " * 20
CONTEXT_TOKENS = 131_072


class Played:
    """A model that calls one tool after the other, and is done after so many turns.

    Attributes:
        model_s: What a call takes, in a thread, so that the loop is free; 0 is at once.
        spans: Begin and end of each call's work.
        places: Begin and end of each place in the lane that was held.
        asked: Calls so far.
        holds_from: Calls with so many turns behind them are never answered; 0 for none.
        held: Calls that are not.
    """

    name = "played"
    resource = "model:played"
    is_rehearsal = False

    def __init__(self, turns: int, *, model_s: float = 0.0, holds_from: int = 0) -> None:
        self._turns = turns
        self._model_s = model_s
        self.spans: list[tuple[float, float]] = []
        self.places: list[tuple[float, float]] = []
        self.asked = 0
        self.holds_from = holds_from
        self.held = 0
        self.has_come = asyncio.Condition()
        self._lanes = Lanes(places=1)
        self._thread = ThreadPoolExecutor(1, "model")

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Say what is next; how many turns there were is seen in the conversation."""
        del on_token, on_progress
        turn = sum(one.role == "assistant" for one in request.messages)
        self.asked += 1
        if self.holds_from and turn >= self.holds_from:
            self.held += 1
            async with self.has_come:
                self.has_come.notify_all()
            await asyncio.Event().wait()
        if self._model_s:
            async with self._lanes.place(request.model, turn_key=request.turn_key):
                began_s = time.perf_counter()
                loop = asyncio.get_running_loop()
                self.spans.append(await loop.run_in_executor(self._thread, self._work))
                self.places.append((began_s, time.perf_counter()))
        calls: Sequence[ToolCall] = ()
        if turn < self._turns - 1:
            arguments = {"key": f"key {turn}", "limit": turn + 1}
            name = request.tools[turn % len(request.tools)].name
            calls = [ToolCall(name=name, arguments=arguments, id=f"call_{turn}")]
        return ChatReply(
            content="" if calls else "Done.",
            model=MODEL,
            provider=self.name,
            tool_calls=calls,
            prompt_tokens=sum(len(one.content) for one in request.messages) // 4,
            reply_tokens=20,
        )

    def _work(self) -> tuple[float, float]:
        began_s = time.perf_counter()
        time.sleep(self._model_s)
        return began_s, time.perf_counter()

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Nobody asks for it."""
        raise NotImplementedError

    async def models(self) -> Sequence[ModelInfo]:
        """Have one."""
        return [ModelInfo(name=MODEL)]

    async def context(self, model: str) -> ContextLimits:
        """Have a long one: nothing has to be summarised."""
        return ContextLimits(configured=CONTEXT_TOKENS)

    async def capabilities(self, model: str) -> frozenset[str] | None:
        """Call tools."""
        return frozenset({"completion", "tools"})

    async def health(self) -> Health:
        """Be there."""
        return Health(reachable=True)


@dataclass(frozen=True, slots=True)
class Plain:
    """A tool that does nothing."""

    name: str
    effect: ToolEffect = ToolEffect.REPEATABLE
    permission: Permission = Permission.ALLOW
    needs: frozenset[Capability] = frozenset()
    timeout_s: float = 30.0

    @property
    def spec(self) -> ToolSpec:
        """Describe it about as others are described."""
        return ToolSpec(
            name=self.name,
            description=f"Look something up with {self.name} and say what was found there.",
            parameters={
                "type": "object",
                "properties": {
                    "key": {"type": "string", "description": "What to look for.", "minLength": 1},
                    "limit": {"type": "integer", "description": "Results.", "minimum": 1},
                    "deep": {"type": "boolean", "description": "Look everywhere."},
                },
                "required": ["key"],
            },
        )

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Nobody asks."""
        del context
        return ToolRequest(question="Look?", show=dict(arguments), risk=Risk.LOW)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Say something that is another thing each time."""
        del context
        return ToolOutput(content=f"{arguments['key']}: {RESULT}")


@dataclass(frozen=True, slots=True)
class Set:
    """All tools."""

    found: Sequence[Plain]
    name: str = "bench"

    async def tools(self) -> Sequence[Plain]:
        """List them."""
        return self.found

    def all(self) -> Sequence[Set]:
        """Be the only source."""
        return [self]


@asynccontextmanager
async def open_agents(folder: str, model: Played, *, tools: int) -> AsyncIterator[Runs]:
    """Open an engine with agents over a database in ``folder``."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    place, clock = Path(folder), SystemClock()
    secrets = Redactor((f"secret-{n}", f"{n}-a-secret-that-is-long-{n}") for n in range(SECRETS))
    async with (
        open_store(place / "agency.db", settings=StoreSettings(), clock=clock) as store,
        open_workspaces(place, versions=store.versions, bytes_max=1 << 28, files_max=1000) as files,
    ):
        agent = Agent(
            providers={model.name: model},
            default=model.name,
            roles=Models({model.name: model}, default=model.name, model=MODEL),
            settings=Llm(system_prompt=SYSTEM, num_ctx=CONTEXT_TOKENS),
            sessions=store.sessions,
            agents={"default": AgentSettings(tools=["bench"], tools_per_turn=tools)},
            toolsets=Set([Plain(f"look_{n}") for n in range(tools)]),
            workspaces=files.of,
            redact=secrets.redact,
        )
        registry = Registry()
        registry.add(agent.definition())
        async with Engine(
            store=store,
            registry=registry,
            clock=clock,
            settings=EngineSettings(),
            boot_id=new_id(),
        ) as engine:
            yield engine.runs


async def _start(runs: Runs, turns: int) -> str:
    task = {"message": "Look everything up.", "budgets": {"turns": turns + 10}}
    return (await runs.start(StartRequest(workflow="agent", input=task))).run.id


async def _complete(runs: Runs, run_id: str) -> None:
    detail = await runs.wait(run_id, timeout_s=GUARD_S)
    assert detail.run.status is RunStatus.COMPLETED, detail.run


async def turns(folder: str, runs: int, turns: int, tools: int) -> dict[str, Any]:
    """Let runs of so many turns be worked off at once; a short one goes before, unmeasured."""
    model = Played(turns)
    async with open_agents(folder, model, tools=tools) as verbs:
        await _complete(verbs, await _start(verbs, turns))
        meter = Meter()
        ids = [await _start(verbs, turns) for _ in range(runs)]
        for run_id in ids:
            await _complete(verbs, run_id)
        return meter.stop()


async def resume(folder: str, turns: int, tools: int) -> dict[str, Any]:
    """Leave a run in its last turn, and let another life go on with it, up to the next call."""
    model = Played(turns, holds_from=turns - 1)
    async with open_agents(folder, model, tools=tools) as verbs:
        run_id = await _start(verbs, turns)
        async with asyncio.timeout(GUARD_S), model.has_come:
            await model.has_come.wait_for(lambda: model.held > 0)
    again = Played(turns, holds_from=turns - 1)
    meter = Meter()
    async with open_agents(folder, again, tools=tools) as verbs:
        async with asyncio.timeout(GUARD_S), again.has_come:
            await again.has_come.wait_for(lambda: again.held > 0)
        answer = meter.stop()
        assert again.asked == 1
        await verbs.cancel(run_id)
    return answer


async def lane(folder: str, runs: int, turns: int, tools: int, model_s: float) -> dict[str, Any]:
    """Let many runs share one model.

    Returns:
        As a meter, and ``held``: for which share of the time there was a run in the lane;
        ``worked``: for which share the model worked, so that handing it over counts as idle.
    """
    model = Played(turns, model_s=model_s)
    async with open_agents(folder, model, tools=tools) as verbs:
        await _complete(verbs, await _start(verbs, 2))
        model.spans.clear()
        model.places.clear()
        meter = Meter()
        ids = [await _start(verbs, turns) for _ in range(runs)]
        for run_id in ids:
            await _complete(verbs, run_id)
        answer = meter.stop()
    return {**answer, "held": _share(model.places), "worked": _share(model.spans)}


def _share(spans: list[tuple[float, float]]) -> float:
    """Tell which part of the whole time was within one of the spans, which do not overlap."""
    spans.sort()
    return sum(end - begin for begin, end in spans) / (spans[-1][1] - spans[0][0])


async def resident(folder: str, runs: int, turns: int, tools: int) -> dict[str, Any]:
    """Let many runs come so far and be in the middle of a call, and weigh the process."""
    model = Played(turns + 1, holds_from=0)
    async with open_agents(folder, model, tools=tools) as verbs:
        await _complete(verbs, await _start(verbs, turns))
        model.holds_from = turns
        before = _resident_bytes()
        ids = [await _start(verbs, turns) for _ in range(runs)]
        async with asyncio.timeout(GUARD_S), model.has_come:
            await model.has_come.wait_for(lambda: model.held >= runs)
        grown = _resident_bytes() - before
        for run_id in ids:
            await verbs.cancel(run_id)
    return {"elapsed_s": 1.0, "grown_bytes": grown}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
