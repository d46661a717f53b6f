"""The page about the rehearsal says what is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from agency.config.schema import Llm
from agency.errors import ConfigurationInvalid, ModelInterrupted
from agency.models.rehearsal.provider import RehearsalProvider
from agency.models.rehearsal.script import FAILURES, Condition, Rule, parse_script
from agency.ports.model import ChatMessage, ChatRequest

PAGE = (Path(__file__).parents[3] / "docs/how-to/rehearsal.md").read_text()


def block(begins: str) -> str:
    blocks: list[str] = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    return next(text for text in blocks if text.startswith(begins))


def test_every_key_and_failure_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M))

    keys = {key.name for kind in (Rule, Condition) for key in fields(kind)}
    assert described == (keys - {"place", "when"}) | {"name"}
    assert all(f"`{code}`" in PAGE for code in FAILURES)


async def test_example_script_does_what_it_says() -> None:
    script = parse_script(block("# rehearsal.toml").encode(), Path("rehearsal.toml"))
    provider = RehearsalProvider(Llm(), script)

    def ask(text: str, *more: ChatMessage) -> ChatRequest:
        return ChatRequest(model="m", messages=[ChatMessage(role="user", content=text), *more])

    first = await provider.chat(ask("the weather?"))
    called = ChatMessage(role="assistant", content="", tool_calls=first.tool_calls)
    result = ChatMessage(role="tool", content="sun", tool_name="weather")
    second = await provider.chat(ask("the weather?", called, result))
    for _ in range(2):
        with pytest.raises(ModelInterrupted):
            await provider.chat(ask("A Report"))
    third = await provider.chat(ask("A Report"))

    assert second.content == "It is sunny in Ulm."
    assert "You said: A Report" in third.content


def test_example_in_json_is_a_script() -> None:
    found = re.search(r"`(\{\"rules\".*?\})`", PAGE)
    assert found is not None

    assert parse_script(found[1].encode(), Path("x.json")).rules[0].reply == "Hello."


def test_example_of_a_fault_is_the_real_text() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        parse_script(b'[[rules]]\nreplay = "x"\nreply = "y"\n', Path("rehearsal.toml"))

    assert caught.value.message in PAGE
