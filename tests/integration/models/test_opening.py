"""All servers of a daemon, opened as the settings describe them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from agency.config.schema import Llm, ModelProvider, ModelRoles, Settings
from agency.errors import ConfigurationInvalid, ModelUnavailable
from agency.models.opening import open_models, secret_usage
from agency.ports.model import ChatMessage, ChatRequest, Role
from tests.fake_ollama import FakeOllama, Turn
from tests.fake_servers import FakeAnthropic, FakeOpenAi
from tests.integration.models.servers import KEY, Vault

NOWHERE = "http://127.0.0.1:9"


def described(
    fake: FakeOllama, roles: Mapping[str, Any] | None = None, **sections: ModelProvider
) -> Settings:
    return Settings(
        llm=Llm(base_url=fake.url),
        providers=sections,
        roles=ModelRoles(**(roles or {})),
    )


def asks(model: str = "") -> ChatRequest:
    return ChatRequest(model=model, messages=[ChatMessage(role="user", content="hello")])


async def test_each_kind_answers_under_its_name_with_its_key() -> None:
    vault = Vault(lab=KEY)
    async with (
        FakeOllama() as fake,
        FakeOllama() as other,
        FakeOpenAi(key=KEY) as lab,
        FakeAnthropic(key=KEY) as claude,
    ):
        settings = described(
            fake,
            lab=ModelProvider(base_url=lab.base_url, api_key="secret://lab"),
            claude=ModelProvider(kind="anthropic", base_url=claude.url, api_key="env://KEY"),
            other=ModelProvider(kind="ollama", base_url=other.url, num_ctx=2048),
        )
        async with open_models(settings, vault=vault, environ={"KEY": KEY}) as models:
            names = ("lab/m1", "claude/claude-a", "other/plain", "plain")
            replies = [await models.chat(Role.CHAT, asks(name)) for name in names]

    assert ["lab", "claude", "other", "ollama"] == [reply.provider for reply in replies]
    assert other.chats[0]["options"]["num_ctx"] == 2048
    assert len(fake.chats) == 1


async def test_role_falls_back_from_a_server_that_is_away_and_says_so() -> None:
    async with FakeOllama() as fake, FakeOpenAi() as lab:
        settings = described(
            fake,
            {"chat": ["dead/x", "lab/m1"]},
            dead=ModelProvider(base_url=NOWHERE),
            lab=ModelProvider(base_url=lab.base_url),
        )
        async with open_models(settings) as models:
            reply = await models.chat(Role.CHAT, asks())
            pinned = await models.chat(Role.CHAT, asks(), pinned="ollama")

    assert ("lab", "m1-2026") == (reply.provider, reply.model)
    assert [("dead", "model_unavailable")] == [
        (one.provider, one.code) for one in reply.passed_over
    ]
    assert pinned.provider == "lab"
    assert fake.chats == []


async def test_section_may_serve_whatever_names_no_provider() -> None:
    async with FakeOllama() as fake, FakeOpenAi() as lab:
        settings = Settings(
            llm=Llm(provider="lab", model="m1", base_url=fake.url),
            providers={"lab": ModelProvider(base_url=lab.base_url)},
        )
        async with open_models(settings) as models:
            reply = await models.chat(Role.CHAT, asks())
            local = await models.chat(Role.CHAT, asks("ollama/plain"))

    assert ("lab", "ollama") == (reply.provider, local.provider)


async def test_nothing_is_sent_before_it_is_asked_for() -> None:
    async with FakeOllama() as fake, FakeOpenAi() as lab:
        settings = described(fake, lab=ModelProvider(base_url=lab.base_url))
        async with open_models(settings):
            pass

    assert (fake.seen, lab.asked) == ([], [])


async def test_server_that_is_away_is_named_as_what_is_waited_for() -> None:
    async with FakeOllama() as fake:
        settings = described(fake, dead=ModelProvider(base_url=NOWHERE))
        async with open_models(settings) as models:
            with pytest.raises(ModelUnavailable) as caught:
                await models.chat(Role.CHAT, asks("dead/x"))

    assert caught.value.resource == "model:dead"
    assert "model:dead" in {one.resource for one in models.providers.values()}


async def test_address_that_is_none_is_told_with_its_section() -> None:
    async with FakeOllama() as fake:
        settings = described(fake, lab=ModelProvider(base_url="http://lab/v1?x=1"))
        with pytest.raises(ConfigurationInvalid) as caught:
            async with open_models(settings):
                pass

    assert "providers.lab.base_url" == caught.value.faults[0].where


async def test_key_over_a_plain_network_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeOllama() as fake:
        section = ModelProvider(base_url="http://lab.example.org/v1", api_key="env://KEY")
        async with open_models(described(fake, lab=section), environ={"KEY": KEY}):
            pass

    assert "in the clear" in caplog.text
    assert KEY not in caplog.text


async def test_model_is_loaded_beside_the_start_the_way_calls_want_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with FakeOllama() as fake:
        settings = Settings(llm=Llm(base_url=fake.url, preload=True))
        async with open_models(settings) as models, asyncio.timeout(5):
            while "model loaded" not in caplog.text:
                await asyncio.sleep(0.01)
            await models.chat(Role.CHAT, asks())

    assert [True, False] == [seen.loaded for seen in fake.of("/api/chat")]


async def test_start_does_not_wait_for_a_model_that_loads_or_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeOllama([Turn(hold_before_headers=True)]) as fake:
        settings = Settings(llm=Llm(base_url=fake.url, preload=True))
        async with asyncio.timeout(5):
            async with open_models(settings):
                await fake.holding.wait()
            await fake.left.wait()
        async with (
            open_models(Settings(llm=Llm(base_url=NOWHERE, preload=True))),
            asyncio.timeout(5),
        ):
            while "model not loaded" not in caplog.text:
                await asyncio.sleep(0.01)


async def test_secrets_of_sections_are_known_to_be_used() -> None:
    section = ModelProvider(
        base_url=NOWHERE,
        api_key="secret://lab",
        headers=["X-A: secret://team", "X-B: plain", "X-C: env://KEY", "X-D:secret://tight"],
    )
    settings = Settings(providers={"lab": section, "bare": ModelProvider(base_url=NOWHERE)})

    assert {"provider lab": ["lab", "team", "tight"]} == await secret_usage(settings)()
