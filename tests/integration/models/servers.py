"""What the tests of the providers over HTTP share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from agency.config.schema import Llm, ModelProvider
from agency.errors import AgencyError, SecretNotFound, VaultLocked
from agency.models.anthropic.provider import AnthropicProvider, open_anthropic
from agency.models.openai.provider import OpenAiProvider, open_openai
from agency.models.server import Server
from agency.ports.model import ChatMessage, ChatRequest, Provider, ToolSpec
from tests.fake_servers import FakeAnthropic, FakeOpenAi

GUARD_S = 10.0
KEY = "sk-canary-0123456789"

ADD = ToolSpec(
    name="math.add",
    description="Add two numbers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
)
PNG = b"\x89PNG\r\n\x1a\n rest"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Vault:
    """A vault with the secrets of a test."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.is_locked = False

    async def reveal(self, name: str) -> str:
        if self.is_locked:
            raise VaultLocked("There is no key.", hint="Put it back.")
        if name not in self.secrets:
            raise SecretNotFound(name)
        return self.secrets[name]

    async def resolve(self, value: Any) -> Any:
        return value

    def redact(self, text: str) -> str:
        return text

    def redact_json(self, value: Any) -> Any:
        return value

    def references(self, value: Any) -> Mapping[str, str]:
        return {}


def user(text: str, **more: Any) -> ChatMessage:
    return ChatMessage(role="user", content=text, **more)


def request(text: str = "hello", *, model: str = "", **more: Any) -> ChatRequest:
    messages = more.pop("messages", None) or [user(text)]
    return ChatRequest(model=model, messages=messages, **more)


@asynccontextmanager
async def openai(
    fake: FakeOpenAi, vault: Vault | None = None, *, llm: Llm | None = None, **settings: Any
) -> AsyncIterator[OpenAiProvider]:
    section = ModelProvider(**{"base_url": fake.base_url, **settings})
    server = Server("lab", section, llm or Llm(), vault, {"LAB_KEY": KEY})
    async with asyncio.timeout(GUARD_S), open_openai(server) as provider:
        yield provider


@asynccontextmanager
async def anthropic(
    fake: FakeAnthropic, vault: Vault | None = None, *, llm: Llm | None = None, **settings: Any
) -> AsyncIterator[AnthropicProvider]:
    section = ModelProvider(**{"kind": "anthropic", "base_url": fake.url, **settings})
    server = Server("claude", section, llm or Llm(), vault, {"LAB_KEY": KEY})
    async with asyncio.timeout(GUARD_S), open_anthropic(server) as provider:
        yield provider


async def failure_of(provider: Provider, asked: ChatRequest) -> AgencyError:
    """Ask and hand out the error that comes."""
    try:
        reply = await provider.chat(asked)
    except AgencyError as error:
        return error
    raise AssertionError(f"no error, but {reply}")
