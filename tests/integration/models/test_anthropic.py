"""Anthropic's Messages API: what is sent, what is read, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelAnswerUnfit,
    ModelBusy,
    ModelCallMalformed,
    ModelInterrupted,
    ModelLacks,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelReplyCut,
    ModelReplyEmpty,
)
from agency.ports.model import ChatMessage, ChatRequest, ToolCall
from tests.fake_servers import FakeAnthropic, Said
from tests.integration.models.servers import (
    ADD,
    KEY,
    PNG,
    SCHEMA,
    anthropic,
    failure_of,
    request,
    user,
)


def asks(text: str = "hello", **more: Any) -> ChatRequest:
    return request(text, model="claude-a", **more)


@pytest.mark.parametrize("cut_bytes", [0, 1, 9])
async def test_stream_is_read_wherever_it_is_cut(cut_bytes: int) -> None:
    said = Said(
        text=["Grüße ", "\U0001f600"],
        thinking=["Let me ", "see"],
        calls=[("toolu_1", "math_add", '{"a": 1, "b": 2}'), ("toolu_2", "math_add", "")],
        cut_bytes=cut_bytes,
    )
    tokens: list[str] = []
    async with FakeAnthropic([said]) as fake, anthropic(fake) as provider:
        reply = await provider.chat(asks(tools=[ADD]), on_token=tokens.append)

    assert reply.content == "".join(tokens) == "Grüße \U0001f600"
    assert reply.thinking == "Let me see"
    assert [("math.add", {"a": 1, "b": 2}, "toolu_1"), ("math.add", {}, "toolu_2")] == [
        (call.name, call.arguments, call.id) for call in reply.tool_calls
    ]
    assert (reply.provider, reply.model) == ("claude", "claude-a-2026")
    assert (reply.prompt_tokens, reply.reply_tokens) == (11, 7)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said(text=["a"], ends="early"), ModelReplyCut),
        (Said(text=["a"], ends="torn"), ModelInterrupted),
        (Said(), ModelReplyEmpty),
        (Said(thinking=["hm"], reason="max_tokens"), ModelReplyEmpty),
        (Said(calls=[("t", "math_add", '{"a": 1, "b"')], reason="max_tokens"), ModelCallMalformed),
        (Said(text=["no"], reason="refusal"), ModelRefused),
        (Said(text=["a"], error={"type": "overloaded_error", "message": "Overloaded"}), ModelBusy),
        (Said(text=["a"], error={"type": "api_error", "message": "boom"}), ModelReplyBroken),
        (Said(raw=b"event: x\ndata: {oh\n\n"), ModelReplyBroken),
        (Said(raw=b'data: {"type": "content_block_delta", "index": 5}\n\n'), ModelReplyBroken),
        (Said(raw=b'data: {"type": "message_start"}\n\n'), ModelReplyBroken),
    ],
    ids=str,
)
async def test_broken_reply_is_told_by_its_kind(said: Said, kind: type[AgencyError]) -> None:
    async with FakeAnthropic([said]) as fake, anthropic(fake) as provider:
        error = await failure_of(provider, asks(tools=[ADD]))

    assert type(error) is kind, error


async def test_unknown_events_are_left_out() -> None:
    raw = (
        b'data: {"type":"message_start","message":{"model":"claude-a"}}\n\n'
        b'data: {"type":"what_is_yet_to_come"}\n\n'
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"odd"}}\n\n'
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"odd_delta"}}\n\n'
        b'data: {"type":"content_block_start","index":1,"content_block":'
        b'{"type":"text","text":"hi"}}\n\n'
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
        b'data: {"type":"message_stop"}\n\n'
    )
    async with FakeAnthropic([Said(raw=raw)]) as fake, anthropic(fake) as provider:
        assert (await provider.chat(asks())).content == "hi"


def refusal(kind: str, text: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": text}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (529, refusal("overloaded_error", "Overloaded"), ModelBusy),
        (429, refusal("rate_limit_error", "slow"), ModelBusy),
        (401, refusal("authentication_error", "invalid x-api-key"), ModelRefused),
        (403, refusal("permission_error", "no"), ModelRefused),
        (404, refusal("not_found_error", "model: claude-a"), ModelNotFound),
        (400, refusal("invalid_request_error", "prompt is too long: 210 tokens > 200 maximum"),
         ContextTooLong),
        (413, refusal("request_too_large", "too large"), ContextTooLong),
        (400, refusal("invalid_request_error", "Your credit balance is too low"), ModelRefused),
        (400, refusal("invalid_request_error", "tools.0: odd"), ModelRefused),
        (500, refusal("api_error", "boom"), ModelReplyBroken),
    ],
)  # fmt: skip
async def test_refusal_becomes_an_error_that_says_what_to_do(
    status: int, body: Any, kind: type[AgencyError]
) -> None:
    async with FakeAnthropic([Said(status=status, body=body)]) as fake, anthropic(fake) as provider:
        error = await failure_of(provider, asks())

    assert type(error) is kind, error
    assert error.hint


async def test_overloaded_server_is_left_alone_as_long_as_it_asks() -> None:
    body = refusal("overloaded_error", "Overloaded")
    says = [Said(status=529, body=body), Said(status=529, body=body, headers={"Retry-After": "3"})]
    async with FakeAnthropic(says) as fake, anthropic(fake) as provider:
        first, second = await failure_of(provider, asks()), await failure_of(provider, asks())

    assert isinstance(first, ModelBusy)
    assert isinstance(second, ModelBusy)
    assert (first.retry_after_s, second.retry_after_s) == (10.0, 3.0)


async def test_conversation_from_elsewhere_is_sent_as_the_api_wants_it() -> None:
    messages = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="assistant", content="Welcome."),
        user("What is this?", images=[PNG]),
        user("Well?"),
        ChatMessage(
            role="assistant",
            content=" ",
            tool_calls=[
                ToolCall(name="math.add", arguments={"a": 1}),
                ToolCall(name="gone.tool", arguments={}, id="x.y"),
            ],
        ),
        ChatMessage(role="tool", content="3", tool_name="math.add"),
        ChatMessage(role="assistant", content="It is three."),
    ]
    async with FakeAnthropic() as fake, anthropic(fake) as provider:
        await provider.chat(asks(messages=messages, tools=[ADD], temperature=1.7))

    sent = fake.chats[0]
    assert sent["system"] == "Be brief."
    assert sent["temperature"] == 1.0
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user", "assistant", "user"]
    assert sent["messages"][2]["content"][0]["source"]["media_type"] == "image/png"
    assert [block["type"] for block in sent["messages"][3]["content"]] == ["tool_use", "tool_use"]
    assert len(sent["messages"][4]["content"]) == 2


async def test_tools_are_described_also_when_only_the_history_has_calls() -> None:
    messages = [
        user("Add."),
        ChatMessage(
            role="assistant", content="", tool_calls=[ToolCall(name="math.add", arguments={})]
        ),
        ChatMessage(role="tool", content="3", tool_name="math.add"),
    ]
    async with FakeAnthropic() as fake, anthropic(fake) as provider:
        await provider.chat(asks(messages=messages))

    assert fake.chats[0]["tool_choice"] == {"type": "none"}


async def test_schema_is_asked_for_as_a_call_and_checked() -> None:
    says = [
        Said(calls=[("t", "answer", '{"n": 1}')]),
        Said(calls=[("t", "answer", '{"n": "x"}')]),
        Said(text=["[1]"]),
    ]
    async with FakeAnthropic(says) as fake, anthropic(fake) as provider:
        reply = await provider.chat(asks(response_schema=SCHEMA, think=True))
        error = await failure_of(provider, asks(response_schema=SCHEMA))
        other = await provider.chat(asks(response_schema={"type": "array"}))

    assert json.loads(reply.content) == {"n": 1}
    assert not reply.tool_calls
    assert fake.chats[0]["tool_choice"] == {"type": "tool", "name": "answer"}
    assert "thinking" not in fake.chats[0]
    assert isinstance(error, ModelAnswerUnfit)
    assert other.content == "[1]"
    assert "tools" not in fake.chats[2]


@pytest.mark.parametrize(
    ("think", "tokens_max", "budget"),
    [(True, None, 4096), ("low", None, 1024), ("max", 10_000, 5000), (False, None, None)],
)
async def test_thinking_has_a_budget_within_the_longest_answer(
    think: bool | str, tokens_max: int | None, budget: int | None
) -> None:
    async with FakeAnthropic() as fake, anthropic(fake) as provider:
        await provider.chat(asks(think=think, tokens_max=tokens_max, temperature=0.2))

    sent = fake.chats[0]
    assert sent.get("thinking", {}).get("budget_tokens") == budget
    assert ("temperature" in sent) is (budget is None)


async def test_thinking_without_room_is_refused_before_anything_is_sent() -> None:
    async with FakeAnthropic() as fake, anthropic(fake) as provider:
        error = await failure_of(provider, asks(think=True, tokens_max=1000))

    assert isinstance(error, ModelRefused)
    assert fake.chats == []


async def test_embeddings_are_refused_by_type() -> None:
    async with FakeAnthropic() as fake, anthropic(fake) as provider:
        with pytest.raises(ModelLacks) as caught:
            await provider.embed("claude-a", ["x"])

    assert caught.value.capability == "embedding"
    assert fake.asked == []


async def test_key_is_sent_and_never_told() -> None:
    async with (
        FakeAnthropic(key=KEY) as fake,
        anthropic(fake, api_key="env://LAB_KEY") as provider,
    ):
        assert (await provider.chat(asks())).content == "You said: hello"
        assert [one.name for one in await provider.models()] == ["claude-a", "claude-b"]
        fake.key = "another"
        assert (await provider.health()).reachable
        error = await failure_of(provider, asks())

    assert isinstance(error, ModelRefused)
    assert KEY not in repr((error.message, error.data))


async def test_address_with_the_version_in_it_is_taken_as_well() -> None:
    async with FakeAnthropic() as fake, anthropic(fake, base_url=f"{fake.url}/v1") as provider:
        assert (await provider.chat(asks())).content == "You said: hello"


async def test_answer_that_was_not_streamed_is_read_all_the_same() -> None:
    said = Said(text=["whole"], whole=True)
    async with FakeAnthropic([said]) as fake, anthropic(fake) as provider:
        assert (await provider.chat(asks())).content == "whole"
