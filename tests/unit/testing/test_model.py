"""The model that says what a test wants."""

from __future__ import annotations

import re

import pytest

from agency.errors import InvalidInput, ModelBusy, ModelUnavailable
from agency.ports.model import ChatMessage, ChatRequest, Provider
from agency.testing import ScriptedModel


def asked(text: str) -> ChatRequest:
    return ChatRequest(model="m", messages=(ChatMessage(role="user", content=text),))


async def said(model: ScriptedModel, text: str) -> str:
    return (await model.chat(asked(text))).content


async def test_first_rule_that_fits_answers() -> None:
    model = ScriptedModel()
    model.reply("Ulm", when="capital")
    model.reply({"n": 1}, when=re.compile(r"\bnumber\b"))
    model.reply("whatever")

    assert "Ulm" == await said(model, "Which CAPITAL?")
    assert '{"n":1}' == await said(model, "Which number?")
    assert "whatever" == await said(model, "Which numbers?")
    assert 3 == len(model.requests)


async def test_without_a_rule_it_rehearses() -> None:
    assert "You said: Hello" in await said(ScriptedModel(), "Hello")


async def test_rule_is_used_up_until_it_is_rewound() -> None:
    model = ScriptedModel()
    model.fail("model_busy", times=1)
    model.reply("there")

    for _ in range(2):
        with pytest.raises(ModelBusy):
            await said(model, "Hello")
        assert "there" == await said(model, "Hello")
        model.rewind()


async def test_model_that_is_away_is_not_healthy() -> None:
    model = ScriptedModel()
    model.is_away = True

    assert not (await model.health()).reachable
    with pytest.raises(ModelUnavailable):
        await said(model, "Hello")
    model.is_away = False
    assert (await model.health()).reachable


async def test_tool_is_called() -> None:
    model = ScriptedModel()
    model.call_tool("weather", {"city": "Ulm"})

    (call,) = (await model.chat(asked("How is it?"))).tool_calls

    assert ("weather", {"city": "Ulm"}) == (call.name, dict(call.arguments))


def test_failure_that_no_server_has_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no_such_thing"):
        ScriptedModel().fail("no_such_thing")


_: type[Provider] = ScriptedModel
