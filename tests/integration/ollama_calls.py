"""What the tests of the Ollama provider share: settings, requests and a guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agency.config.schema import Llm
from agency.errors import AgencyError
from agency.models.ollama.provider import OllamaProvider, open_ollama
from agency.ports.model import ChatMessage, ChatRequest, Provider, ToolSpec
from tests.fake_ollama import FakeOllama

GUARD_S = 5.0

ADD = ToolSpec(
    name="add",
    description="Add two numbers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
)


def request(text: str = "hello", *, model: str = "llama3.2:latest", **more: Any) -> ChatRequest:
    messages = more.pop("messages", None) or [ChatMessage(role="user", content=text)]
    return ChatRequest(model=model, messages=messages, **more)


@asynccontextmanager
async def opened(fake: FakeOllama, **settings: Any) -> AsyncIterator[OllamaProvider]:
    """Open the provider for ``fake`` and guard the body."""
    async with (
        asyncio.timeout(GUARD_S),
        open_ollama(Llm(**{"base_url": fake.url, **settings})) as provider,
    ):
        yield provider


async def failure_of(
    provider: Provider, asked: ChatRequest | None = None, **more: Any
) -> AgencyError:
    """Ask and hand out the error that comes."""
    try:
        reply = await provider.chat(asked or request(**more))
    except AgencyError as error:
        return error
    raise AssertionError(f"no error, but {reply}")


def conforms(provider: OllamaProvider) -> Provider:
    """State in types that the adapter is a provider."""
    return provider
