from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agency import errors
from agency.config.schema import Llm
from agency.models.rehearsal.provider import RehearsalProvider
from agency.models.rehearsal.script import FAILURES, parse_script
from agency.ports.model import ChatMessage, ChatRequest, Provider, ToolCall, ToolSpec

ADD = ToolSpec(
    name="add",
    description="Add.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "minimum": 2}},
        "required": ["a", "b"],
    },
)


def request(text: str = "hello", *history: ChatMessage, **more: Any) -> ChatRequest:
    messages = [ChatMessage(role="user", content=text), *history]
    return ChatRequest(model="m", messages=messages, **more)


def rehearsal(script: str = "") -> Provider:
    return RehearsalProvider(Llm(), parse_script(script.encode(), Path("script.toml")))


async def test_answer_is_labelled_echoes_the_question_and_is_always_the_same() -> None:
    provider = rehearsal()

    first, second = await provider.chat(request()), await provider.chat(request())

    assert first.content == "Rehearsal, no language model was asked. You said: hello"
    assert second.content == first.content
    assert first.provider == "rehearsal"
    assert provider.is_rehearsal
    assert first.prompt_tokens == 1


async def test_tokens_are_handed_on_and_make_up_the_answer() -> None:
    tokens: list[str] = []

    reply = await rehearsal().chat(request("two  words\n"), on_token=tokens.append)

    assert len(tokens) > 3
    assert "".join(tokens) == reply.content


async def test_schema_is_obeyed() -> None:
    schema = {"type": "object", "properties": {"n": {"const": 4}}, "required": ["n"]}

    reply = await rehearsal().chat(request(response_schema=schema))

    assert json.loads(reply.content) == {"n": 4}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("Please use the tool add.", {"a": 0, "b": 2}),
        ("use tool `ADD` now", {"a": 0, "b": 2}),
        ('use the tool add with {"a": 5, "b": 6}!', {"a": 5, "b": 6}),
        ('use the tool add with {"a": "five"}', {"a": 0, "b": 2}),
        ("use the tool add with {broken}", {"a": 0, "b": 2}),
    ],
)
async def test_offered_tool_is_called_when_the_message_asks(
    text: str, arguments: dict[str, int]
) -> None:
    reply = await rehearsal().chat(request(text, tools=[ADD]))

    assert reply.tool_calls == (ToolCall(name="add", arguments=arguments),)


async def test_tool_that_is_not_offered_is_not_called() -> None:
    reply = await rehearsal().chat(request("use the tool rm", tools=[ADD]))

    assert reply.tool_calls == ()
    assert "You said: use the tool rm" in reply.content


async def test_results_of_tools_are_given_back() -> None:
    history = [
        ChatMessage(role="assistant", content="", tool_calls=[ToolCall(name="add", arguments={})]),
        ChatMessage(role="tool", content="5", tool_name="add"),
        ChatMessage(role="tool", content="7", tool_name="add"),
    ]

    reply = await rehearsal().chat(request("use the tool add", *history, tools=[ADD]))

    assert reply.tool_calls == ()
    assert "The tool add answered: 5\nThe tool add answered: 7" in reply.content


async def test_first_rule_that_applies_answers() -> None:
    provider = rehearsal("""
[[rules]]
when = { contains = "WEATHER", turn = 1 }
tool_calls = [{ name = "weather", arguments = { city = "Ulm" } }]
[[rules]]
when = { tool_result = "weather" }
reply = "Sunny."
[[rules]]
when = { matches = "^h" }
reply = "By pattern."
thinking = "hm"
ended_by = "length"
[[rules]]
when = { tool_offered = "add" }
reply = "By tool."
[[rules]]
when = { model = "m" }
reply = "By model."
""")
    called = await provider.chat(request("the weather?"))
    history = [
        ChatMessage(role="assistant", content="", tool_calls=called.tool_calls),
        ChatMessage(role="tool", content="sun", tool_name="weather"),
    ]

    answered = await provider.chat(request("the weather?", *history))
    by_pattern = await provider.chat(request("hi"))
    by_tool = await provider.chat(request("x", tools=[ADD]))
    by_model = await provider.chat(request("x"))

    assert called.tool_calls[0].arguments == {"city": "Ulm"}
    assert answered.content == "Sunny."
    assert by_pattern.content == "By pattern."
    assert by_pattern.thinking == "hm"
    assert by_pattern.ended_by == "length"
    assert by_tool.content == "By tool."
    assert by_model.content == "By model."


async def test_rule_is_used_as_often_as_it_says() -> None:
    provider = rehearsal('[[rules]]\nfail = "model_interrupted"\ntimes = 2\n')

    for _ in range(2):
        with pytest.raises(errors.ModelInterrupted, match=r"rules\[0\]"):
            await provider.chat(request())

    assert "You said" in (await provider.chat(request())).content


@pytest.mark.parametrize("code", FAILURES)
async def test_every_failure_is_raised_with_its_code(code: str) -> None:
    provider = rehearsal(f'[[rules]]\nname = "bad"\nfail = "{code}"\n')

    with pytest.raises(errors.AgencyError) as caught:
        await provider.chat(request())

    assert caught.value.code == code
    assert "bad" in caught.value.message + caught.value.hint or code == "model_not_found"


async def test_scripted_reply_that_breaks_the_schema_names_the_rule() -> None:
    provider = rehearsal('[[rules]]\nname = "wrong"\nreply = "no json"\n')

    with pytest.raises(errors.ModelReplyBroken) as caught:
        await provider.chat(request(response_schema={"type": "object"}))

    assert "wrong" in caught.value.hint


async def test_delayed_answer_holds_its_place_in_the_lane_and_can_be_cancelled() -> None:
    provider = rehearsal('[[rules]]\nwhen = { contains = "slow" }\nreply = "x"\ndelay_s = 3600\n')
    slow = asyncio.create_task(provider.chat(request("slow")))
    await asyncio.sleep(0)
    quick = asyncio.create_task(provider.chat(request("quick")))
    await asyncio.sleep(0)

    assert not quick.done()
    slow.cancel()
    async with asyncio.timeout(5):
        reply = await quick

    assert "quick" in reply.content


async def test_it_has_the_configured_model_and_always_answers() -> None:
    provider = rehearsal()

    assert [model.name for model in await provider.models()] == [Llm().model]
    assert (await provider.health()).reachable
    rows = await provider.embed("m", ["a", "a", "b"])
    assert rows[0] == rows[1] != rows[2]
