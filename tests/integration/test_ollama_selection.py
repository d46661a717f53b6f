"""Which provider serves, and what choosing it costs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from agency.config.schema import Llm
from agency.errors import ConfigurationInvalid
from agency.models.selection import open_provider
from tests.fake_ollama import FakeOllama
from tests.integration.ollama_calls import GUARD_S, request
from tests.integration.test_ollama_time import free_port

ROOT = Path(__file__).parents[2]


async def test_auto_takes_ollama_when_it_answers() -> None:
    async with (
        FakeOllama() as fake,
        asyncio.timeout(GUARD_S),
        open_provider(Llm(provider="auto", base_url=fake.url)) as provider,
    ):
        reply = await provider.chat(request())

    assert provider.name == "ollama"
    assert not provider.is_rehearsal
    assert reply.content == "answer to: hello"


async def test_auto_takes_the_rehearsal_when_nobody_answers_and_keeps_it() -> None:
    fake = FakeOllama(port=free_port())
    async with (
        asyncio.timeout(GUARD_S),
        open_provider(Llm(provider="auto", base_url=fake.url)) as provider,
        fake,  # Starts now, after the decision.
    ):
        reply = await provider.chat(request())

    assert provider.name == "rehearsal"
    assert provider.is_rehearsal
    assert reply.provider == "rehearsal"
    assert "Rehearsal" in reply.content
    assert fake.seen == []


async def test_ollama_never_falls_back() -> None:
    settings = Llm(provider="ollama", base_url=f"http://127.0.0.1:{free_port()}")
    async with asyncio.timeout(GUARD_S), open_provider(settings) as provider:
        assert provider.name == "ollama"
        assert not (await provider.health()).reachable


@pytest.mark.parametrize("kind", ["ollama", "auto"])
async def test_address_that_is_none_is_a_fault_of_the_configuration(
    kind: Literal["ollama", "auto"],
) -> None:
    settings = Llm(provider=kind, base_url="ftp://x")
    with pytest.raises(ConfigurationInvalid, match="neither http nor https"):
        async with open_provider(settings):
            pass


async def test_script_is_found_beside_the_configuration_and_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "script.toml").write_text('[[rules]]\nreply = "scripted"\n')
    settings = Llm(provider="rehearsal", rehearsal_script="script.toml")

    async with open_provider(settings, folder=tmp_path) as provider:
        reply = await provider.chat(request())
    with pytest.raises(ConfigurationInvalid, match=r"other\.toml"):
        async with open_provider(Llm(provider="auto", rehearsal_script="other.toml")):
            pass

    assert reply.content == "scripted"


def test_neither_choosing_nor_looking_imports_the_client() -> None:
    code = """
import asyncio, json, sys
from agency.config.schema import Llm
from agency.models.selection import open_provider
from agency.ports.model import ChatMessage, ChatRequest

async def main():
    away = "http://127.0.0.1:9"
    async with open_provider(Llm(provider="ollama", base_url=away)) as provider:
        await provider.health()
    asked = ChatRequest(model="m", messages=[ChatMessage(role="user", content="x")])
    async with open_provider(Llm(provider="auto", base_url=away)) as provider:
        await provider.chat(asked)
asyncio.run(main())
heavy = ("ollama", "httpx", "jsonschema", "pydantic")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )

    assert json.loads(done.stdout) == []


async def test_first_call_imports_the_client_beside_the_loop() -> None:
    code = """
import asyncio, sys, time
from agency.config.schema import Llm
from agency.errors import ModelUnavailable
from agency.models.selection import open_provider
from agency.ports.model import ChatMessage, ChatRequest

async def main():
    turns = 0
    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.005)
    async with open_provider(Llm(provider="ollama", base_url="http://127.0.0.1:9")) as provider:
        counting = asyncio.create_task(count())
        asked = ChatRequest(model="m", messages=[ChatMessage(role="user", content="x")])
        try:
            await provider.chat(asked)
        except ModelUnavailable:
            pass
        counting.cancel()
    assert "ollama" in sys.modules
    assert turns > 3, turns
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(6 * GUARD_S):
        _, said = await process.communicate()

    assert process.returncode == 0, said.decode()
