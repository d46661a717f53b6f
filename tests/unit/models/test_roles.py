"""Who is asked for a role, and who is asked instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agency.domain.fitness import Fitness, fitness_name
from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelBusy,
    ModelCrashed,
    ModelInterrupted,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelTimedOut,
    ModelUnavailable,
)
from agency.models.reference import parse_reference
from agency.models.roles import Models
from agency.ports.model import (
    CallProgress,
    CallStage,
    ChatReply,
    ChatRequest,
    Choice,
    ContextLimits,
    Health,
    ModelInfo,
    Role,
)


class Played:
    """A provider that raises what it is told to, before or after a token."""

    def __init__(self, name: str, *, is_rehearsal: bool = False) -> None:
        self.name = name
        self.resource = f"model:{name}"
        self.is_rehearsal = is_rehearsal
        self.error: AgencyError | None = None
        self.speaks_first = False
        self.asked: list[str] = []
        self.is_well = True
        self.digest = "d1"

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        self.asked.append(request.model)
        if self.speaks_first and on_token is not None:
            on_token("He")
        if self.error is not None:
            raise self.error
        return ChatReply(content="Hello", model=request.model, provider=self.name)

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.asked.append(model)
        if self.error is not None:
            raise self.error
        return [[1.0] for _ in texts]

    async def models(self) -> Sequence[ModelInfo]:
        if not self.is_well:
            raise ModelUnavailable(self.resource, "away")
        return [ModelInfo(name="a:latest", digest=self.digest)]

    async def context(self, model: str) -> ContextLimits:
        return ContextLimits(configured=4096)

    async def capabilities(self, model: str) -> frozenset[str] | None:
        return frozenset({"tools"})

    async def health(self) -> Health:
        return Health(reachable=self.is_well)


class Kept:
    """A fitness store with one outcome."""

    def __init__(self, fitness: Fitness) -> None:
        self.fitness = fitness

    async def keep(self, fitness: Fitness) -> None:
        self.fitness = fitness

    async def find(self, provider: str, model: str) -> Fitness | None:
        wanted = (self.fitness.provider, fitness_name(self.fitness.model))
        return self.fitness if wanted == (provider, fitness_name(model)) else None

    async def list(self, *, limit: int) -> Sequence[Fitness]:
        return [self.fitness][:limit]


def make(
    roles: dict[Role, list[str]] | None = None, *, rehearses: bool = False
) -> tuple[Models, dict[str, Played]]:
    played = {name: Played(name) for name in ("ollama", "lab")}
    if rehearses:
        played["rehearsal"] = Played("rehearsal", is_rehearsal=True)
    default = "rehearsal" if rehearses else "ollama"
    models = Models(played, default=default, model="a", embedding_model="e", roles=roles)
    return models, played


def asks(model: str = "") -> ChatRequest:
    return ChatRequest(model=model, messages=[], turn_key="run-1")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("qwen3:8b", ("ollama", "qwen3:8b")),
        ("lab/qwen3", ("lab", "qwen3")),
        ("hf.co/bartowski/x", ("ollama", "hf.co/bartowski/x")),
        ("lab/", ("ollama", "lab/")),
        ("lab/a/b", ("lab", "a/b")),
    ],
)
def test_reference_names_a_provider_only_if_there_is_one(
    text: str, wanted: tuple[str, str]
) -> None:
    found = parse_reference(text, providers={"ollama", "lab"}, default="ollama")

    assert wanted == (found.provider, found.model)


def test_role_without_a_list_is_served_as_the_conversation_is() -> None:
    models, _ = make({Role.CHAT: ["lab/x", "y"]})
    plain, _ = make()

    chat = [Choice(provider="lab", model="x"), Choice(provider="ollama", model="y")]
    assert chat == list(models.choices(Role.TOOLS))
    assert [Choice(provider="ollama", model="e")] == list(models.choices(Role.EMBED))
    assert [Choice(provider="ollama", model="a")] == list(plain.choices(Role.COMPACTION))
    assert [Choice(provider="lab", model="z")] == list(models.choices(Role.CHAT, model="lab/z"))


@pytest.mark.parametrize(
    "error",
    [
        ModelUnavailable("model:ollama", "away"),
        ModelNotFound("a"),
        ModelRefused("no"),
        ModelCrashed("dead"),
    ],
    ids=lambda error: error.code,
)
async def test_next_model_is_asked_and_that_is_told(error: AgencyError) -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = error
    told: list[CallProgress] = []

    reply = await models.chat(Role.CHAT, asks(), on_progress=told.append)

    assert ("lab", "b") == (reply.provider, reply.model)
    assert [("ollama", "a", error.code)] == [
        (one.provider, one.model, one.code) for one in reply.passed_over
    ]
    assert [CallStage.FALLBACK] == [one.stage for one in told]
    assert "asking lab/b instead of ollama/a" in told[0].text


@pytest.mark.parametrize(
    "error",
    [
        ModelInterrupted("model:ollama", "died"),
        ModelBusy("busy"),
        ModelTimedOut("total", 1.0, ""),
        ContextTooLong("long"),
        ModelReplyBroken("broken"),
    ],
    ids=lambda error: error.code,
)
async def test_no_other_model_is_asked_when_the_same_may_still_answer(error: AgencyError) -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = error

    with pytest.raises(type(error)):
        await models.chat(Role.CHAT, asks())

    assert [] == played["lab"].asked


async def test_no_other_model_goes_on_in_the_middle_of_a_reply() -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = ModelRefused("filtered")
    played["ollama"].speaks_first = True
    tokens: list[str] = []

    with pytest.raises(ModelRefused):
        await models.chat(Role.CHAT, asks(), on_token=tokens.append)

    assert ["He"] == tokens
    assert [] == played["lab"].asked


async def test_error_of_the_first_is_raised_when_all_fail() -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = ModelUnavailable("model:ollama", "away")
    played["lab"].error = ModelNotFound("b")

    with pytest.raises(ModelUnavailable) as caught:
        await models.chat(Role.CHAT, asks())

    assert "model:ollama" == caught.value.resource


async def test_model_that_a_request_names_is_asked_alone() -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = ModelNotFound("c")

    with pytest.raises(ModelNotFound):
        await models.chat(Role.CHAT, asks("c"))

    assert [] == played["lab"].asked


async def test_model_that_keeps_dying_is_passed_over_for_that_run_alone() -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = ModelInterrupted("model:ollama", "died")
    for _ in range(2):
        with pytest.raises(ModelInterrupted):
            await models.chat(Role.CHAT, asks())

    reply = await models.chat(Role.CHAT, asks())
    with pytest.raises(ModelInterrupted):
        await models.chat(Role.CHAT, replace(asks(), turn_key="run-2"))

    assert "lab" == reply.provider
    assert ["model_crashed"] == [one.code for one in reply.passed_over]


async def test_death_with_its_server_counts_against_no_model() -> None:
    models, played = make({Role.CHAT: ["a", "lab/b"]})
    played["ollama"].error = ModelInterrupted("model:ollama", "died")
    played["ollama"].is_well = False

    for _ in range(4):
        with pytest.raises(ModelInterrupted):
            await models.chat(Role.CHAT, asks())

    assert [] == played["lab"].asked


async def test_rehearsal_stands_in_for_all_and_is_labelled() -> None:
    models, played = make({Role.CHAT: ["lab/b"]}, rehearses=True)

    reply = await models.chat(Role.CHAT, asks())

    assert ("rehearsal", "b", True) == (reply.provider, reply.model, reply.is_rehearsal)
    assert [] == played["lab"].asked


def test_pinned_run_keeps_its_provider_unless_a_list_names_others() -> None:
    models, _ = make({Role.CHAT: ["lab/b", "c"]}, rehearses=True)

    pinned = models.choices(Role.CHAT, pinned="ollama")
    rehearsed = models.choices(Role.CHAT, pinned="rehearsal")

    assert ["lab/b", "ollama/c"] == [str(one) for one in pinned]
    assert ["rehearsal/b"] == [str(one) for one in rehearsed]


def test_run_that_is_pinned_to_what_is_gone_waits_for_it() -> None:
    models, _ = make()

    with pytest.raises(ModelUnavailable) as caught:
        models.choices(Role.CHAT, pinned="rehearsal")

    assert "model:rehearsal" == caught.value.resource


async def test_embedding_falls_back_as_a_whole() -> None:
    models, played = make({Role.EMBED: ["e", "lab/f"]})
    played["ollama"].error = ModelNotFound("e")

    found = await models.embed(["x", "y"])

    assert ("lab", "f", 2) == (found.provider, found.model, len(found.vectors))


@pytest.mark.parametrize(
    ("digest", "is_well", "counts"),
    [("d1", True, True), ("d2", True, False), ("d2", False, True)],
    ids=["same-weights", "pulled-anew", "away"],
)
async def test_check_of_other_weights_does_not_count(
    digest: str, is_well: bool, counts: bool
) -> None:
    fitness = Fitness(
        provider="ollama",
        model="a",
        checked_at=datetime(2026, 1, 1, tzinfo=UTC),
        run_id="r",
        digest="d1",
    )
    played = {"ollama": Played("ollama")}
    played["ollama"].digest, played["ollama"].is_well = digest, is_well
    models = Models(played, default="ollama", model="a", fitness=Kept(fitness))

    traits = await models.traits(Role.TOOLS)

    assert counts is (traits.fitness is not None)
    assert traits.limits.tokens == 4096


@pytest.mark.parametrize(
    ("scores", "tools", "native"),
    [
        ({"tool_call": 1.0, "tool_choice": 1.0, "recall": 1.0}, 24, True),
        ({"tool_call": 1.0, "tool_choice": 0.5, "recall": 1.0}, 8, True),
        ({"tool_call": 0.0, "tool_choice": 0.0, "schema": 1.0}, 4, False),
        ({"tool_call": 0.0, "schema": 0.0}, 4, True),
        ({}, 4, True),
    ],
    ids=["strong", "fair", "by-schema", "weak", "unknown"],
)
def test_scores_decide_how_many_tools_and_how_calls_are_asked_for(
    scores: dict[str, float], tools: int, native: bool
) -> None:
    fitness = Fitness(
        provider="p",
        model="m",
        checked_at=datetime(2026, 1, 1, tzinfo=UTC),
        run_id="r",
        schema=scores.get("schema"),
        tool_call=scores.get("tool_call"),
        tool_choice=scores.get("tool_choice"),
        recall=scores.get("recall"),
    )

    assert (tools, native) == (fitness.tools_per_turn, fitness.calls_natively)
