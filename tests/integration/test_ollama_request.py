"""What is sent to Ollama, looked at on the other side."""

from __future__ import annotations

import pytest

from agency.errors import ContextTooLong, ModelRefused
from agency.ports.model import ChatMessage, ToolCall
from tests.fake_ollama import FakeModel, FakeOllama
from tests.fake_ollama.models import DEFAULT_MODELS
from tests.integration.ollama_calls import ADD, opened, request


async def test_every_call_sends_the_same_context_length_and_forbids_cutting() -> None:
    async with FakeOllama() as fake, opened(fake, num_ctx=2048, keep_alive="10m") as provider:
        await provider.chat(request("one"))
        await provider.chat(request("two", temperature=0.5, seed=7, tokens_max=50))

    first, second = fake.chats
    assert first["options"] == {"num_ctx": 2048}
    assert second["options"] == {
        "num_ctx": 2048,
        "num_predict": 50,
        "temperature": 0.5,
        "seed": 7,
    }
    for body in (first, second):
        assert body["stream"] is True
        assert body["truncate"] is False
        assert body["shift"] is False
        assert body["keep_alive"] == "10m"
        assert "tools" not in body
        assert "think" not in body
    assert [seen.loaded for seen in fake.of("/api/chat")] == [True, False]
    assert not any(seen.dropped for seen in fake.seen)


@pytest.mark.parametrize(
    ("spelled", "sent"), [("300", 300), ("-1", -1), ("0", 0), ("1h30m", "1h30m")]
)
async def test_keep_alive_without_a_unit_is_sent_as_a_number(spelled: str, sent: int | str) -> None:
    async with FakeOllama() as fake, opened(fake, keep_alive=spelled) as provider:
        await provider.chat(request())

    assert fake.chats[0]["keep_alive"] == sent


async def test_tool_calls_and_results_of_the_history_are_sent_as_ollama_reads_them() -> None:
    messages = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="2+3?"),
        ChatMessage(
            role="assistant",
            content="",
            tool_calls=[
                ToolCall(name="add", arguments={"a": 2, "b": 3}, id="call_1"),
                ToolCall(name="add", arguments={}),
            ],
        ),
        ChatMessage(role="tool", content="5", tool_name="add", tool_call_id="call_1"),
    ]
    async with FakeOllama() as fake, opened(fake) as provider:
        reply = await provider.chat(request(messages=messages, tools=[ADD]))

    body = fake.chats[0]
    assert reply.content == "the tool add said: 5"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+3?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "function": {"index": 0, "name": "add", "arguments": {"a": 2, "b": 3}},
                },
                {"function": {"index": 1, "name": "add", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "5", "tool_name": "add", "tool_call_id": "call_1"},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "add",
                "description": "Add two numbers.",
                "parameters": ADD.parameters,
            },
        }
    ]


@pytest.mark.parametrize("think", [True, False, "high"])
async def test_think_is_sent_when_it_is_asked_for(think: bool | str) -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        reply = await provider.chat(request(model="qwen3:8b", think=think))

    assert fake.chats[0]["think"] == think
    assert reply.thinking == ("" if think is False else "Let me see.")


async def test_model_that_cannot_think_is_asked_again_without_it() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        reply = await provider.chat(request(think=True))

    assert reply.content == "answer to: hello"
    assert ["think" in body for body in fake.chats] == [True, False]


async def test_response_schema_is_sent_as_format_and_said_in_the_prompt() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3}},
        "required": ["n"],
    }
    async with FakeOllama() as fake, opened(fake) as provider:
        reply = await provider.chat(request(response_schema=schema))
        await provider.chat(
            request(
                response_schema=schema,
                messages=[
                    ChatMessage(role="system", content="Be brief."),
                    ChatMessage(role="user", content="n?"),
                ],
            )
        )

    assert reply.content == '{"n": 3}'
    first, second = fake.chats
    assert first["format"] == schema
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert '"minimum":3' in first["messages"][0]["content"]
    assert second["messages"][0]["content"].startswith("Be brief.\n\n")
    assert '"minimum":3' in second["messages"][0]["content"]


async def test_schema_together_with_tools_is_a_bug_and_sends_nothing() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        with pytest.raises(AssertionError, match="suppresses tool calls"):
            await provider.chat(request(response_schema={"type": "object"}, tools=[ADD]))

    assert fake.chats == []


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "qwen3-coder:cloud", "a/b:CLOUD"])
async def test_nothing_is_sent_to_a_name_of_the_cloud(model: str) -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        with pytest.raises(ModelRefused, match="leaves this machine") as caught:
            await provider.chat(request(model=model))
        with pytest.raises(ModelRefused, match="leaves this machine"):
            await provider.embed(model, ["secret"])

    assert "allow_remote" in caught.value.hint
    assert fake.seen == []


async def test_stub_that_passes_on_to_the_cloud_gets_no_message() -> None:
    async with FakeOllama() as fake, opened(fake) as provider:
        with pytest.raises(ModelRefused, match="leaves this machine"):
            await provider.chat(request("secret", model="stub"))

    assert fake.chats == []
    assert not any(b"secret" in seen.raw for seen in fake.seen)


async def test_cloud_is_asked_when_it_is_allowed() -> None:
    async with FakeOllama() as fake, opened(fake, allow_remote=True) as provider:
        with pytest.raises(ModelRefused, match="not signed in") as caught:
            await provider.chat(request(model="gpt-oss:120b-cloud"))

    assert "https://ollama.com/connect" in caught.value.hint
    assert len(fake.chats) == 1


async def test_prompt_that_does_not_fit_is_refused_with_numbers_and_never_cut() -> None:
    async with FakeOllama() as fake, opened(fake, num_ctx=256) as provider:
        with pytest.raises(ContextTooLong) as caught:
            await provider.chat(request("word " * 400))

    assert caught.value.prompt_tokens == 504
    assert caught.value.context_tokens == 256
    assert "504 tokens" in caught.value.message
    assert "num_ctx" in caught.value.hint
    assert not fake.of("/api/chat")[0].dropped


async def test_models_are_listed_and_those_of_the_cloud_marked() -> None:
    models = [*DEFAULT_MODELS, FakeModel(name="big:cloud", size=0)]
    async with FakeOllama(models=models) as fake, opened(fake) as provider:
        listed = await provider.models()

    assert {model.name: model.is_remote for model in listed} == {
        "llama3.2:latest": False,
        "qwen3:8b": False,
        "plain:latest": False,
        "nomic-embed-text:latest": False,
        "stub:latest": True,
        "big:cloud": True,
    }
    assert listed[0].size_bytes == 1_192_544
    assert listed[0].details["family"] == "llama"


async def test_key_of_the_cloud_is_never_shown_to_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret-key")
    async with FakeOllama() as fake, opened(fake) as provider:
        await provider.chat(request())

    assert not any("secret-key" in str(seen.headers) for seen in fake.seen)
