"""Checking models: scores, what they steer, and going on after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Llm, ModelProvider
from agency.domain.run import RunStatus
from agency.models.openai.provider import OpenAiProvider
from agency.models.server import Server
from agency.ports.model import Role
from tests.fake_ollama import Call, FakeModel, FakeOllama, Turn
from tests.fake_servers import FakeOpenAi, Said
from tests.integration.models.world import opened, rehearsal

EMAIL = {"to": "anna@example.org", "subject": "Meeting", "body": "At noon."}


def able(**more: Any) -> list[Turn]:
    """Answer every probe rightly."""
    paris, chicago = {"city": "Paris", "unit": "celsius"}, {"city": "Chicago", "unit": "fahrenheit"}
    maria = '{"name": "Maria", "age": 34, "languages": ["Spanish", "French"]}'
    return [
        Turn(when="one word: blue", content="Blue.", **more),
        Turn(when="17 + 25", content="17 + 25 = 42"),
        Turn(when="Maria", content=maria),
        Turn(when="lamp", content='{"sentiment": "negative", "stars": 1}'),
        Turn(when="Paris", tool_calls=[Call(name="get_weather", arguments=paris)]),
        Turn(when="Chicago", tool_calls=[Call(name="get_weather", arguments=chicago)]),
        Turn(when="anna@", tool_calls=[Call(name="send_email", arguments=EMAIL)]),
        Turn(
            when="Oslo",
            tool_calls=[Call(name="get_weather", arguments={"city": "Oslo", "unit": "celsius"})],
        ),
        Turn(when="4719", content="It is 4719."),
        Turn(when="8362", content="8362"),
    ]


async def test_able_model_is_found_able_and_the_agent_learns_of_it(tmp_path: Path) -> None:
    async with FakeOllama(able()) as fake, opened(tmp_path, fake) as world:
        run = await world.run("model_check")
        traits = await world.models.traits(Role.TOOLS)

    assert run.status is RunStatus.COMPLETED
    assert set(run.output["scores"].values()) == {1.0}
    assert (run.output["tools_per_turn"], run.output["calls_natively"]) == (24, True)
    assert run.output["recall_tokens"] > 3000
    assert run.output["tokens_per_s"] > 0
    assert traits.fitness is not None
    assert traits.fitness.run_id == run.id
    assert run.progress == {"done": 10, "total": 10, "note": "ollama/llama3.2:latest: done"}


async def test_probes_are_asked_the_same_way_each_time_and_in_the_background(
    tmp_path: Path,
) -> None:
    async with FakeOllama(able() + able()) as fake, opened(tmp_path, fake) as world:
        await world.run("model_check")
        await world.run("model_check")

    half = len(fake.chats) // 2
    assert fake.chats[:half] == fake.chats[half:]
    assert {chat["options"]["num_ctx"] for chat in fake.chats} == {8192}
    assert {chat["options"]["temperature"] for chat in fake.chats} == {0.0}
    assert not any("format" in chat and "tools" in chat for chat in fake.chats)


@pytest.mark.parametrize(
    ("at", "turn", "score", "value"),
    [
        (4, Turn(when="Paris", content='{"name": "get_weather"}'), "tool_call", 0.5),
        (4, Turn(when="Paris", status=500, error="error parsing tool call: raw='{', err=x"),
         "tool_call", 0.5),
        (2, Turn(when="Maria", content="Maria is 34."), "schema", 0.5),
        (0, Turn(when="blue", content="", counts=True), "answers", 0.5),
        (8, Turn(when="4719", content="I have read no such number."), "recall", 0.5),
        (6, Turn(when="anna@", tool_calls=[Call(name="get_weather", arguments={})]),
         "tool_choice", 0.5),
    ],
    ids=["text-call", "malformed-500", "no-schema", "empty", "forgets", "wrong-tool"],
)  # fmt: skip
async def test_mistake_of_the_model_is_a_score_and_no_failure(
    tmp_path: Path, at: int, turn: Turn, score: str, value: float
) -> None:
    turns = able()
    turns[at] = turn
    async with FakeOllama(turns) as fake, opened(tmp_path, fake) as world:
        run = await world.run("model_check")

    assert run.status is RunStatus.COMPLETED
    assert run.output["scores"].pop(score) == value
    assert set(run.output["scores"].values()) == {1.0}
    wrong = [one for one in run.output["probes"] if one["score"] == 0.0]
    assert len(wrong) == 1
    assert wrong[0]["detail"]


async def test_model_without_tools_is_asked_for_actions_by_schema(tmp_path: Path) -> None:
    turns = [turn for turn in able() if not turn.tool_calls]
    async with FakeOllama(turns) as fake, opened(tmp_path, fake, model="plain") as world:
        run = await world.run("model_check")

    assert run.output["scores"]["tool_call"] == 0.0
    assert run.output["calls_natively"] is False
    assert run.output["tools_per_turn"] == 4


async def test_short_context_is_not_overrun(tmp_path: Path) -> None:
    small = [FakeModel(name="llama3.2:latest", context_length=2048)]
    async with FakeOllama(able(), models=small) as fake, opened(tmp_path, fake) as world:
        run = await world.run("model_check")

    assert run.output["scores"]["recall"] == 1.0
    assert not any(seen.dropped or seen.status == 400 for seen in fake.of("/api/chat"))


async def test_embedding_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake) as world:
        run = await world.run("model_check", model="nomic-embed-text")

    assert run.error is not None
    assert run.error.code == "model_lacks"


async def test_restart_repeats_at_most_one_probe(tmp_path: Path) -> None:
    turns = able()
    turns[5] = Turn(when="Chicago", hold_before_headers=True)
    async with FakeOllama(turns) as fake:
        async with opened(tmp_path, fake) as world:
            run_id = await world.start("model_check")
            await fake.holding.wait()
        before = len(fake.chats)
        fake.turns.extend([able()[5]])
        async with opened(tmp_path, fake) as world:
            run = await world.end(run_id)

    assert run.status is RunStatus.COMPLETED
    assert set(run.output["scores"].values()) == {1.0}
    assert (before, len(fake.chats)) == (6, 11)


async def test_rehearsal_is_checked_and_labelled(tmp_path: Path) -> None:
    async with FakeOllama() as fake, opened(tmp_path, fake, more=[rehearsal()]) as world:
        run = await world.run("model_check", model="rehearsal/any")

    assert run.output["rehearsal"] is True
    assert fake.chats == []


async def test_other_server_is_checked_as_well(tmp_path: Path) -> None:
    async with FakeOllama() as fake, FakeOpenAi([Said(text=["blue"])]) as lab:
        section = ModelProvider(base_url=lab.base_url)
        provider = OpenAiProvider(Server("lab", section, Llm(), None))
        async with opened(tmp_path, fake, more=[provider]) as world:
            run = await world.run("model_check", model="lab/m1")
        await provider.close()

    assert run.output["provider"] == "lab"
    assert run.output["probes"][0]["score"] == 1.0
    assert fake.chats == []
