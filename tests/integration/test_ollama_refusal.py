"""Every refusal of Ollama, and of what may stand before it, as the error that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelBusy,
    ModelCallMalformed,
    ModelInterrupted,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelTimedOut,
    ModelUnavailable,
)
from tests.fake_ollama import FakeOllama, Turn
from tests.integration.ollama_calls import ADD, failure_of, opened, request

PAGE = "<html><body><h1>It works</h1></body></html>"


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (500, "model requires more system memory (5.5 GiB) than is available (3.2 GiB)",
         ModelRefused, "too little memory"),
        (500, "timed out waiting for llama-server to start: progress 0.3",
         ModelTimedOut, "load limit"),
        (500, "llama-server process has terminated: exit status 2", ModelInterrupted, "died"),
        (500, "model runner has unexpectedly stopped, this may be due to resource limitations",
         ModelInterrupted, "died"),
        (500, 'do completion request: Post "http://127.0.0.1:3/completion": EOF',
         ModelInterrupted, "died"),
        (500, "error parsing tool call: raw='{', err=unexpected end of JSON input",
         ModelCallMalformed, "tool call"),
        (500, 'llama-server returned invalid tool call arguments for "add": x',
         ModelCallMalformed, "tool call"),
        (500, "XML syntax error on line 3: unexpected EOF", ModelCallMalformed, "tool call"),
        (500, 'option "temperature" must be of type float32', ModelRefused, "option"),
        (500, 'invalid format: "yaml"; expected "json" or a valid JSON Schema object',
         ModelRefused, "option"),
        (500, "never heard of", ModelReplyBroken, "never heard of"),
        (503, "server busy, please try again.  maximum pending requests exceeded",
         ModelBusy, "busy"),
        (400, "request (302 tokens) exceeds the available context size (256 tokens), try",
         ContextTooLong, "302 tokens"),
        (400, "the prompt is longer than the context length currently available to the model",
         ContextTooLong, "too long"),
        (400, "invalid model name", ModelRefused, "invalid model name"),
        (403, "ollama cloud is disabled: remote model is unavailable", ModelRefused, "cloud"),
        (401, "unauthorized", ModelRefused, "who asks"),
        (429, "too many requests", ModelBusy, "too many"),
        (502, "cannot reach ollama.com", ModelBusy, "cannot reach"),
        (404, "model 'x' not found, try pulling it first", ModelNotFound, "llama3.2:latest"),
    ],
)  # fmt: skip
async def test_refusal_of_ollama_becomes_an_error_that_says_what_to_do(
    status: int, text: str, kind: type[AgencyError], said: str
) -> None:
    async with FakeOllama([Turn(status=status, error=text)]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert type(error) is kind
    assert said in error.message


async def test_cloud_without_sign_in_names_where_to_sign_in() -> None:
    turn = Turn(status=401, error="unauthorized", more={"signin_url": "https://ollama.com/x"})
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelRefused)
    assert "https://ollama.com/x" in error.hint


@pytest.mark.parametrize(
    ("turn", "kind", "said"),
    [
        (Turn(body=PAGE), ModelRefused, "something else than JSON"),
        (Turn(body=PAGE, status=404), ModelRefused, "no such path"),
        (Turn(body="404 page not found", status=404, content_type="text/plain"),
         ModelRefused, "no such path"),
        (Turn(body="405 method not allowed", status=405, content_type="text/plain"),
         ModelRefused, "no such path"),
        (Turn(body="", status=302, headers={"Location": "http://127.0.0.1:9/login"}),
         ModelRefused, "redirects elsewhere"),
        (Turn(body=PAGE, status=502), ModelUnavailable, "proxy"),
        (Turn(body="", status=504), ModelUnavailable, "proxy"),
        (Turn(body="slow down", status=429, headers={"Retry-After": "7"}), ModelBusy, "pause"),
        (Turn(body="", status=403), ModelRefused, "host name"),
        (Turn(body="", status=418), ModelRefused, "418"),
    ],
)  # fmt: skip
async def test_answer_of_something_else_than_ollama_names_the_address(
    turn: Turn, kind: type[AgencyError], said: str
) -> None:
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert type(error) is kind
    assert said in error.message
    assert fake.url in error.message
    if turn.status == 429:
        assert isinstance(error, ModelBusy)
        assert error.retry_after_s == 7.0


async def test_foreign_host_header_is_explained() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        fake.refuses_host = True
        error = await failure_of(provider)
        health = await provider.health()

    assert isinstance(error, ModelRefused)
    assert "base_url" in error.hint
    assert not health.reachable
    assert "Host header" in health.reason


async def test_missing_model_names_the_command_that_pulls_it() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        error = await failure_of(provider, model="nope")

    assert isinstance(error, ModelNotFound)
    assert "agency model pull nope" in error.hint


async def test_missing_model_is_found_out_by_the_chat_when_the_cloud_is_allowed() -> None:
    async with FakeOllama() as fake, opened(fake, allow_remote=True) as provider:
        error = await failure_of(provider, model="nope")

    assert isinstance(error, ModelNotFound)
    assert len(fake.chats) == 1


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("plain", {"tools": [ADD]}, "cannot call tools"),
        ("nomic-embed-text", {}, "cannot chat"),
        ("qwen3:8b", {"think": "enormous"}, "invalid think value"),
    ],
)
async def test_model_without_the_capability_is_named(
    model: str, more: dict[str, Any], said: str
) -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        error = await failure_of(provider, request(model=model, **more))

    assert isinstance(error, ModelRefused)
    assert said in error.message


async def test_keep_alive_without_sense_is_refused_by_the_server_and_told() -> None:
    async with FakeOllama() as fake, opened(fake, keep_alive="soon") as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelRefused)
    assert "invalid duration" in error.message


async def test_full_queue_of_the_server_is_busy() -> None:
    async with FakeOllama(queue_max=-1) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelBusy)
    assert error.retry_after_s == 5.0
