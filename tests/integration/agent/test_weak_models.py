"""Weak models over real HTTP: whatever can be completed is, and whatever cannot says so.

The server is as strict as the real one; each fault class is met alone, in pairs and in threes, in
every step of a task. What was sent is looked at, too.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Llm
from agency.domain.run import RunStatus
from agency.engine.runs import StartRequest
from agency.models.ollama.provider import OllamaProvider, open_ollama
from agency.ports.store import RunDetail
from agency.ports.tool import ToolContext
from agency.storage.sqlite.store import SqliteStore
from agency.testing.clock import MovedClock
from agency.testing.life import Life, open_life
from agency.testing.model import ScriptedModel
from agency.workflows.agent.agent import AGENT, Agent
from agency.workflows.agent.context.transcript import SUMMARY_HEAD
from tests.fake_ollama import FakeModel
from tests.fake_ollama.faults import (
    FAULTS,
    FINAL,
    IMPOSSIBLE,
    NONE,
    STEPS,
    Intended,
    WeakModel,
    WeakOllama,
    prompt_of,
    task_of,
)
from tests.integration.agent.world import TEXT, PlainSet, PlainSets, PlainTool, taking

GUARD_S = 120.0
NUM_CTX = 8_192
WANTED = [dict(step.arguments) for step in STEPS if step.name == "add_item"]
PAIRS = sorted(itertools.permutations(FAULTS, 2))
PAIRS_OF_A_SAMPLE = 40


@dataclass
class Shop:
    """What the tools of the tasks have done, by run."""

    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    padding: int = 0

    async def add_item(
        self, context: ToolContext, index: int, name: str, tags: Sequence[str]
    ) -> str:
        assert type(index) is int
        item = {"index": index, "name": name, "tags": list(tags)}
        self.items.setdefault(context.run_id, []).append(item)
        return f"step {index} done"

    async def look_up(self, context: ToolContext, index: int, key: str) -> str:
        return f"step {index} done: {key} is {len(key)}" + key[:1] * self.padding

    def sets(self) -> PlainSets:
        index = {"type": "integer"}
        tags = {"type": "array", "items": TEXT}
        add = taking(index=index, name=TEXT, tags=tags)
        tools = [
            PlainTool("add_item", self.add_item, add, description="Add an item."),
            PlainTool("look_up", self.look_up, taking(index=index, key=TEXT)),
        ]
        return PlainSets([PlainSet("shop", tools)])


@dataclass
class Works:
    """A daemon's worth of it: the server, the engine, and what came of the tasks."""

    fake: WeakOllama
    life: Life
    shop: Shop

    async def run(
        self, models: Mapping[str, WeakModel], *, turns: int = 60
    ) -> dict[str, RunDetail]:
        """Run a task for each model, all at once; hand back what became of them, by name."""
        self.fake.weak = {**self.fake.weak, **models}
        ids = {}
        for name in models:
            started = await self.life.runs.start(
                StartRequest(workflow=AGENT, input={"message": prompt_of(name), "max_steps": turns})
            )
            ids[name] = started.run.id
        async with asyncio.timeout(GUARD_S):
            await self.life.settle()
        return {name: await self.life.runs.get(run_id) for name, run_id in ids.items()}

    def is_completed(self, detail: RunDetail) -> bool:
        """The answer is the right one, and everything was done once and in order."""
        output = detail.run.output
        return (
            detail.run.status is RunStatus.COMPLETED
            and isinstance(output, dict)
            and output["response"].strip() == FINAL
            and self.shop.items.get(detail.run.id) == WANTED
        )

    def chats(self, name: str) -> list[dict[str, Any]]:
        """Requests that were sent for a task."""
        return [body for body in self.fake.chats if task_of(body) == name]


@asynccontextmanager
async def open_works(folder: Path, **settings: Any) -> AsyncIterator[Works]:
    shop = Shop()
    models = [FakeModel(name="weak:latest", capabilities=("completion", "tools", "thinking"))]
    async with WeakOllama({}, models=models, parallel=16) as fake:
        llm = Llm(
            **{
                "base_url": fake.url,
                "model": "weak:latest",
                "num_ctx": NUM_CTX,
                "tokens_max": 1_000,
                "concurrency": 16,
                **settings,
            }
        )
        async with open_ollama(llm) as provider:

            def make_agent(store: SqliteStore, model: ScriptedModel, place: Path) -> Agent:
                del model, place
                return _agent(store, provider, llm, shop)

            async with open_life(
                folder,
                [],
                clock=MovedClock(),
                model=ScriptedModel(llm),
                make_agent=make_agent,
            ) as life:
                yield Works(fake, life, shop)


def _agent(store: SqliteStore, provider: OllamaProvider, llm: Llm, shop: Shop) -> Agent:
    return Agent(
        providers={provider.name: provider},
        default=provider.name,
        settings=llm,
        sessions=store.sessions,
        toolsets=shop.sets(),
    )


@pytest.fixture
async def works(tmp_path: Path) -> AsyncIterator[Works]:
    async with open_works(tmp_path) as opened:
        yield opened


def report(works: Works, found: Mapping[str, RunDetail]) -> list[str]:
    """Say what became of the tasks that were not completed."""
    return [
        f"{name}: {detail.run.status} {detail.run.output} {detail.run.error}"[:600]
        for name, detail in found.items()
        if not works.is_completed(detail)
    ]


async def test_strong_model_needs_no_help(works: Works) -> None:
    strong = WeakModel([FAULTS["going round in circles"]], steps=STEPS[:1])

    found = await works.run({"strong": strong})

    output = found["strong"].run.output
    assert {"native": 2} == output["usage"]["rungs"]
    assert 2 == len(works.chats("strong"))


async def test_each_class_of_faults_is_survived_in_every_step(works: Works) -> None:
    found = await works.run({name: WeakModel([fault]) for name, fault in FAULTS.items()})

    assert [] == report(works, found)


async def test_faults_by_turns_are_survived(works: Works) -> None:
    names = list(FAULTS)
    random.Random(7).shuffle(names)
    threes = [names[i : i + 3] for i in range(0, len(names), 3)]

    found = await works.run(
        {
            " then ".join(three): WeakModel([FAULTS[name] for name in three], is_spread=True)
            for three in threes
        }
    )

    assert [] == report(works, found)


async def test_pairs_of_faults_in_the_same_step_are_survived(works: Works) -> None:
    from tests.conftest import SEED

    pairs = random.Random(SEED).sample(PAIRS, PAIRS_OF_A_SAMPLE)

    found = await works.run(
        {f"{one}, {other}": WeakModel([FAULTS[one], FAULTS[other]]) for one, other in pairs}
    )

    assert [] == report(works, found)


@pytest.mark.soak
async def test_all_pairs_of_faults_are_survived(tmp_path: Path) -> None:
    for begin in range(0, len(PAIRS), 100):
        async with open_works(tmp_path / str(begin)) as works:
            found = await works.run(
                {
                    f"{one}, {other}": WeakModel([FAULTS[one], FAULTS[other]])
                    for one, other in PAIRS[begin : begin + 100]
                }
            )

            assert [] == report(works, found)


async def test_what_cannot_be_done_is_said(works: Works) -> None:
    found = await works.run({name: WeakModel([fault]) for name, fault in IMPOSSIBLE.items()})

    for detail in found.values():
        assert RunStatus.FAILED is detail.run.status
        assert detail.run.error is not None
        assert "no usable reply" in detail.run.error.message


async def test_what_is_sent_obeys_the_protocol(works: Works) -> None:
    await works.run({name: WeakModel([fault]) for name, fault in FAULTS.items()})

    assert works.fake.chats
    for body in works.fake.chats:
        assert NUM_CTX == body["options"]["num_ctx"]
        assert body["truncate"] is False
        assert not (body.get("tools") and body.get("format"))
        for message in body["messages"]:
            assert isinstance(message["content"], str)
            for call in message.get("tool_calls", ()):
                assert isinstance(call["function"]["arguments"], dict)
    assert not any(seen.dropped for seen in works.fake.seen)
    assert 1 == sum(seen.loaded for seen in works.fake.seen)


async def test_long_task_fits_into_a_small_context_whatever_goes_wrong(tmp_path: Path) -> None:
    """Forty results of 1.5 KB pass through 4,096 tokens, and nothing is cut in silence."""
    steps = [Intended("look_up", {"index": i, "key": f"k{i}"}) for i in range(1, 40)]
    steps.append(Intended("add_item", {"index": 40, "name": "last", "tags": ["end"]}))
    mixtures = {
        "strong": [NONE],
        "weak": [FAULTS[name] for name in ("call in tags", "arguments missing", "call cut off")],
        "weaker": [FAULTS[name] for name in ("call dropped by the server", "schema ignored")],
    }
    async with open_works(tmp_path, num_ctx=4_096, tokens_max=500) as works:
        works.shop.padding = 1_500

        found = await works.run(
            {
                name: WeakModel(faults, is_spread=True, steps=steps)
                for name, faults in mixtures.items()
            },
            turns=200,
        )

        for name, detail in found.items():
            assert RunStatus.COMPLETED is detail.run.status, (name, detail.run.error)
            assert FINAL == detail.run.output["response"]
            assert [dict(steps[-1].arguments)] == works.shop.items[detail.run.id]
            prompts = [seen for seen in works.fake.seen if task_of(seen.body or {}) == name]
            assert len(prompts) >= 41
            assert {(200, False)} == {(seen.status, seen.dropped) for seen in prompts}
            last = prompts[-1].body["messages"]
            assert prompt_of(name) in [message["content"] for message in last]
            assert len(last) < 60
            assert any("is in the file" in message["content"] for message in last) or any(
                message["content"].startswith(SUMMARY_HEAD) for message in last
            )


async def test_rungs_are_recorded_and_counted(works: Works) -> None:
    wanted = {
        "call in tags": "text",
        "broken JSON": "repaired",
        "numbers as texts": "coerced",
        "stream ends early": "resampled",
        "unknown tool": "corrected",
        "call dropped by the server": "action",
    }

    found = await works.run({name: WeakModel([FAULTS[name]]) for name in wanted})

    for name, rung in wanted.items():
        assert found[name].run.output["usage"]["rungs"].get(rung, 0) >= 2, name
