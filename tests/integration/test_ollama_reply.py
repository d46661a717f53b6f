"""Every way in which a reply of Ollama may come, through the real provider over real HTTP."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from agency.errors import (
    ModelAnswerUnfit,
    ModelCallMalformed,
    ModelInterrupted,
    ModelRefused,
    ModelReplyBroken,
    ModelReplyCut,
    ModelReplyEmpty,
)
from tests.fake_ollama import Call, FakeOllama, Turn
from tests.integration.ollama_calls import ADD, failure_of, opened, request

TWO_CALLS = [
    Call(name="add", arguments={"a": 1, "b": 2}, id="call_k3v9x0ab", index=0),
    Call(name="add", arguments={"a": 3, "b": 4}, id="call_zzzzzzzz", index=1),
]


async def test_pieces_are_joined_and_handed_on_as_they_come() -> None:
    tokens: list[str] = []
    turn = Turn(content=["Hel", "lo ", "<b>&\u2028ö\U0001f600"], thinking=["I ", "will"])
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(), on_token=tokens.append)

    assert tokens == ["Hel", "lo ", "<b>&\u2028ö\U0001f600"]
    assert reply.content == "".join(tokens)
    assert reply.thinking == "I will"
    assert reply.model == "llama3.2:latest"
    assert reply.provider == "ollama"
    assert reply.ended_by == "stop"
    assert reply.prompt_tokens == 5
    assert reply.reply_tokens == 5
    assert reply.load_s == pytest.approx(0.101397084)
    assert 0 < reply.elapsed_s < 5


@pytest.mark.parametrize("style", ["own_line", "one_each", "last_line"])
async def test_tool_calls_are_taken_from_whatever_line_they_come_on(
    style: Literal["own_line", "one_each", "last_line"],
) -> None:
    turn = Turn(content="Let me add.", tool_calls=TWO_CALLS, calls_on=style)
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert reply.content == "Let me add."
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("call_k3v9x0ab", "add", {"a": 1, "b": 2}),
        ("call_zzzzzzzz", "add", {"a": 3, "b": 4}),
    ]


async def test_tool_calls_without_id_and_index_are_taken_in_their_order() -> None:
    calls = [Call(name="add", arguments={"a": i}) for i in range(3)]
    turn = Turn(tool_calls=calls, calls_on="one_each")
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert [(call.id, call.arguments) for call in reply.tool_calls] == [
        ("", {"a": 0}),
        ("", {"a": 1}),
        ("", {"a": 2}),
    ]


async def test_unknown_tool_name_is_left_to_the_caller_to_judge() -> None:
    turn = Turn(tool_calls=[Call(name="größe<x>", arguments={"ä": "<&>"})])
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert reply.tool_calls[0].name == "größe<x>"
    assert reply.tool_calls[0].arguments == {"ä": "<&>"}


async def test_call_as_text_stays_text() -> None:
    text = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    async with FakeOllama([Turn(content=text)]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert reply.content == text
    assert reply.tool_calls == ()


@pytest.mark.parametrize(("arguments", "read"), [('{"a": 1}', {"a": 1}), (None, {}), ({}, {})])
async def test_arguments_as_text_or_absent_are_read_as_an_object(
    arguments: Any, read: dict[str, int]
) -> None:
    turn = Turn(tool_calls=[Call(name="add", arguments=arguments)])
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert reply.tool_calls[0].arguments == read


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "", [1, 2], 7])
async def test_arguments_that_are_no_object_break_the_reply(arguments: Any) -> None:
    turn = Turn(tool_calls=[Call(name="add", arguments=arguments)])
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        error = await failure_of(provider, tools=[ADD])

    assert isinstance(error, ModelCallMalformed)
    assert "'add'" in error.message


async def test_stream_cut_into_single_bytes_is_read_whole() -> None:
    turn = Turn(content=["Grüße ", "\U0001f600"], tool_calls=TWO_CALLS, cut_bytes=1)
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert reply.content == "Grüße \U0001f600"
    assert len(reply.tool_calls) == 2


async def test_several_lines_in_one_piece_are_read_one_by_one() -> None:
    tokens: list[str] = []
    turn = Turn(content=["a", "b", "c"], in_one=True)
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        await provider.chat(request(), on_token=tokens.append)

    assert tokens == ["a", "b", "c"]


async def test_blank_lines_are_passed_over() -> None:
    turn = Turn(content=["a", "b"], blank_lines=True)
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request())

    assert reply.content == "ab"


async def test_line_ends_of_unicode_do_not_split_a_line() -> None:
    text = "a\u0085b\u2028c\u2029d\x0be\x1cf"
    async with FakeOllama([Turn(content=[text])]) as fake, opened(fake) as provider:
        reply = await provider.chat(request())

    assert reply.content == text


async def test_line_of_five_megabytes_is_read() -> None:
    text = "0123456789" * 500_000
    turn = Turn(tool_calls=[Call(name="write", arguments={"text": text})])
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        reply = await provider.chat(request(tools=[ADD]))

    assert reply.tool_calls[0].arguments["text"] == text


async def test_missing_counts_are_none() -> None:
    async with FakeOllama([Turn(content="hi", counts=False)]) as fake, opened(fake) as provider:
        reply = await provider.chat(request())

    assert reply.prompt_tokens is None
    assert reply.reply_tokens is None


async def test_answer_cut_at_its_limit_says_so() -> None:
    turn = Turn(content=["one ", "two ", "three"])
    async with FakeOllama([turn]) as fake, opened(fake, tokens_max=2) as provider:
        reply = await provider.chat(request())

    assert reply.content == "one two "
    assert reply.ended_by == "length"


async def test_thought_that_uses_up_the_limit_is_explained() -> None:
    turn = Turn(thinking=["I ", "think ", "on"], content=["never said"])
    async with FakeOllama([turn]) as fake, opened(fake, tokens_max=2) as provider:
        error = await failure_of(provider, model="qwen3:8b")

    assert isinstance(error, ModelReplyEmpty)
    assert (error.ended_by, error.thought) == ("length", True)
    assert "thought until the limit of 2 tokens was used up" in error.message
    assert "tokens_max" in error.hint


@pytest.mark.parametrize("counts", [True, False])
async def test_empty_reply_is_broken(counts: bool) -> None:
    turn = Turn(content=["\n"], counts=counts)
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelReplyEmpty)
    assert error.ended_by == "stop"
    assert bool(error.reply_tokens) is counts
    assert ("malformed tool call" in error.message) is counts


async def test_stream_that_ends_without_done_is_broken() -> None:
    turn = Turn(content=["a", "b"], ends="early")
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelReplyCut)
    assert error.text == "ab"
    assert "ended without being finished" in error.message


async def test_connection_torn_in_the_middle_is_an_interruption() -> None:
    tokens: list[str] = []
    turn = Turn(content=["a", "b"], ends="broken")
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        with pytest.raises(ModelInterrupted) as caught:
            await provider.chat(request(), on_token=tokens.append)

    assert caught.value.resource == "model:ollama"


async def test_connection_torn_before_the_headers_is_an_interruption() -> None:
    async with FakeOllama([Turn(dies=True)]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelInterrupted)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("llama-server process has terminated: signal: killed", ModelInterrupted),
        ("model runner has unexpectedly stopped, this may be due to ...", ModelInterrupted),
        ("an error was encountered while running the model: EOF", ModelInterrupted),
        ("error parsing tool call: raw='{\"a\"', err=unexpected end", ModelCallMalformed),
        ("something never heard of", ModelReplyBroken),
        ('option "temperature" must be of type float32', ModelRefused),
    ],
)
async def test_error_line_in_the_middle_is_read_like_an_error_at_the_start(
    text: str, kind: type[Exception]
) -> None:
    turn = Turn(content=["a"], error_line=text)
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert type(error) is kind


@pytest.mark.parametrize(
    "line",
    [
        "<html>",
        "[1]",
        "null",
        '{"message": 7}',
        '{"message": {"content": 7}}',
        '{"message": {"tool_calls": 1}}',
        '{"message": {"tool_calls": [{"function": {}}]}}',
        '{"message": {"tool_calls": [7]}}',
        '{"message": {"content": "cut',
    ],
)
async def test_line_that_is_not_of_the_protocol_breaks_the_reply(line: str) -> None:
    async with FakeOllama([Turn(lines=[line])]) as fake, opened(fake) as provider:
        error = await failure_of(provider)

    assert isinstance(error, ModelReplyBroken)


async def test_answer_that_does_not_obey_the_schema_is_broken() -> None:
    schema = {"type": "object", "properties": {"n": {"minimum": 3}}, "required": ["n"]}
    turns = [Turn(content='{"n": 1}'), Turn(content='{"n": ', done_reason="length")]
    async with FakeOllama(turns) as fake, opened(fake) as provider:
        first = await failure_of(provider, response_schema=schema)
        second = await failure_of(provider, response_schema=schema)

    assert isinstance(first, ModelAnswerUnfit)
    assert "/n: 1 is less than the minimum of 3" in first.message
    assert isinstance(second, ModelAnswerUnfit)
    assert "cut off at its limit of tokens" in second.message
    assert (second.text, second.ended_by) == ('{"n": ', "length")


async def test_endless_reply_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn(content=["x" * 1000] * 20)
    async with FakeOllama([turn, turn]) as fake, opened(fake) as provider:
        await provider.chat(request())
        monkeypatch.setattr("agency.models.ollama.wire.REPLY_BYTES_MAX", 10_000)
        error = await failure_of(provider)

    assert isinstance(error, ModelReplyBroken)
    assert "more than 10000 bytes" in error.message


async def test_load_and_unload_are_no_answers() -> None:
    line = json.dumps({"message": {"content": ""}, "done": True, "done_reason": "load"})
    async with FakeOllama([Turn(lines=[line])]) as fake, opened(fake) as provider:
        assert isinstance(await failure_of(provider), ModelReplyBroken)
