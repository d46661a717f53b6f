"""How long a context really is, what a model can do, and what is seen of a slow call."""

from __future__ import annotations

import asyncio

import pytest

from agency.errors import ContextTooLong, ModelLacks
from agency.models.prompt_check import is_prompt_doubtful
from agency.ports.model import CallProgress, CallStage, ChatMessage
from tests.fake_ollama import FakeModel, FakeOllama, Turn
from tests.integration.ollama_calls import failure_of, opened, request

SEER = FakeModel(name="seer:latest", capabilities=("completion", "vision"), context_length=2048)


async def test_context_is_what_is_asked_trained_and_set_aside() -> None:
    async with FakeOllama(models=[SEER]) as fake, opened(fake, num_ctx=4096) as provider:
        before = await provider.context("seer")
        await provider.chat(request(model="seer"))
        provider._looks._looked_at_s = float("-inf")
        after = await provider.context("seer")

    assert (before.configured, before.trained, before.allocated) == (4096, 2048, None)
    assert (after.allocated, after.tokens) == (2048, 2048)


async def test_what_another_client_has_loaded_does_not_shorten_ours() -> None:
    async with FakeOllama(models=[SEER]) as fake, opened(fake, num_ctx=1024) as provider:
        fake._loaded["seer:latest"] = 256
        limits = await provider.context("seer")

    assert limits.tokens == 1024


async def test_looking_is_cheap() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        for _ in range(20):
            await provider.context("llama3.2")
            await provider.capabilities("llama3.2:latest")
            await provider.chat(request())

    assert len(fake.of("/api/ps")) <= 2
    assert len(fake.of("/api/show")) <= 2


async def test_server_that_is_away_tells_nothing_and_raises_nothing() -> None:
    async with FakeOllama() as fake:
        pass
    async with opened(fake, num_ctx=4096) as provider:
        assert (await provider.context("llama3.2")).tokens == 4096
        assert await provider.capabilities("llama3.2") is None


async def test_pictures_are_sent_to_who_can_see_and_refused_for_others() -> None:
    shown = [ChatMessage(role="user", content="What is this?", images=[b"\x89PNG"])]
    models = [SEER, FakeModel(name="blind:latest")]
    async with FakeOllama(models=models) as fake, opened(fake) as provider:
        await provider.chat(request(model="seer", messages=shown))
        error = await failure_of(provider, request(model="blind", messages=shown))

    assert fake.chats[0]["messages"][0]["images"] == ["iVBORw=="]
    assert isinstance(error, ModelLacks)
    assert error.capability == "vision"
    assert len(fake.chats) == 1


async def test_prompt_that_does_not_fit_is_refused_and_never_cut() -> None:
    async with FakeOllama() as fake, opened(fake, num_ctx=256) as provider:
        error = await failure_of(provider, request("word " * 2000))

    assert isinstance(error, ContextTooLong)
    assert error.context_tokens == 256
    assert not any(seen.dropped for seen in fake.of("/api/chat"))


async def test_old_server_that_cuts_in_silence_is_doubted() -> None:
    async with FakeOllama() as fake, opened(fake, num_ctx=256) as provider:
        fake.is_old = True
        short = await provider.chat(request("word " * 100))
        long = await provider.chat(request("word " * 2000))

    assert [False, True] == [seen.dropped for seen in fake.of("/api/chat")]
    assert (short.is_prompt_doubtful, long.is_prompt_doubtful) == (False, True)


@pytest.mark.parametrize(
    ("characters", "reported", "is_doubtful"),
    [(4000, None, False), (4000, 100, True), (4000, 900, False), (1900, 10, False)],
    ids=["not-counted", "far-fewer", "a-few-fewer", "fits-anyway"],
)
def test_prompt_is_doubted_only_when_it_may_not_have_fitted(
    characters: int, reported: int | None, is_doubtful: bool
) -> None:
    assert is_prompt_doubtful(request("x" * characters), reported, 500) is is_doubtful


async def test_loading_is_seen_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.models.progress.SIGN_EVERY_S", 0.02)
    seen: list[CallProgress] = []
    is_seen = asyncio.Event()

    def note(progress: CallProgress) -> None:
        seen.append(progress)
        if progress.stage is CallStage.LOADING:
            is_seen.set()

    turns = [Turn(content="hi", hold_before_headers=True)]
    async with FakeOllama(turns) as fake, opened(fake) as provider:
        call = asyncio.create_task(provider.chat(request(), on_progress=note))
        await fake.holding.wait()
        await is_seen.wait()
        fake.gate.set()
        reply = await call

    assert reply.content == "hi"
    assert seen[-1].stage is CallStage.LOADING
    assert seen[-1].text.startswith("loading model (")


async def test_call_that_waits_for_its_place_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.models.progress.SIGN_EVERY_S", 0.02)
    seen: list[CallStage] = []
    is_seen = asyncio.Event()

    def note(progress: CallProgress) -> None:
        seen.append(progress.stage)
        is_seen.set()

    turns = [Turn(content="one", hold_before_headers=True), Turn(content="two")]
    async with FakeOllama(turns) as fake, opened(fake) as provider:
        first = asyncio.create_task(provider.chat(request()))
        await fake.holding.wait()
        second = asyncio.create_task(provider.chat(request(), on_progress=note))
        await is_seen.wait()
        fake.gate.set()
        await asyncio.gather(first, second)

    assert CallStage.QUEUED in seen
