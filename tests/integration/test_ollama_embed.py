"""Embeddings through the real provider over real HTTP."""

from __future__ import annotations

import math

import pytest

from agency.errors import (
    ContextTooLong,
    ModelInterrupted,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
)
from tests.fake_ollama import FakeOllama, Turn
from tests.integration.ollama_calls import opened

MODEL = "nomic-embed-text"


async def test_texts_become_rows_of_unit_length_and_are_never_cut() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        rows = await provider.embed(MODEL, ["one two", "three", "one two"])

    assert len(rows) == 3
    assert rows[0] == rows[2] != rows[1]
    assert all(math.hypot(*row) == pytest.approx(1.0, abs=1e-12) for row in rows)
    sent = fake.of("/api/embed")[0].body
    assert sent["input"] == ["one two", "three", "one two"]
    assert sent["truncate"] is False
    assert sent["keep_alive"] == "5m"


async def test_no_texts_ask_nobody() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        assert list(await provider.embed(MODEL, [])) == []

    assert fake.seen == []


async def test_text_that_does_not_fit_is_refused() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        with pytest.raises(ContextTooLong):
            await provider.embed(MODEL, ["word " * 3000])


async def test_model_that_is_missing_or_makes_no_embeddings_is_named() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        with pytest.raises(ModelNotFound):
            await provider.embed("nope", ["x"])
        with pytest.raises(ModelRefused, match="makes no embeddings"):
            await provider.embed("llama3.2", ["x"])


async def test_server_that_dies_is_an_interruption() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        fake.embed_turns.extend([Turn(dies=True)])
        with pytest.raises(ModelInterrupted):
            await provider.embed(MODEL, ["x"])


@pytest.mark.parametrize(
    "body",
    [
        '{"embeddings": []}',
        "{}",
        '{"embeddings": [[]]}',
        '{"embeddings": [[0, 0]]}',
        '{"embeddings": [["a"]]}',
        '{"embeddings": [7]}',
        "[]",
    ],
)
async def test_vectors_that_are_none_break_the_reply(body: str) -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        fake.embed_turns.extend([Turn(body=body, content_type="application/json")])
        with pytest.raises(ModelReplyBroken):
            await provider.embed(MODEL, ["x"])
