"""Servers that speak OpenAI's chat completions: what is sent, what is read, what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from agency.config.schema import Llm
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
    ModelTimedOut,
    ModelUnavailable,
)
from agency.ports.model import CallProgress, ChatMessage, ChatRequest, ToolCall
from tests.fake_servers import FakeOpenAi, Said
from tests.integration.models.servers import (
    ADD,
    KEY,
    PNG,
    SCHEMA,
    Vault,
    failure_of,
    openai,
    request,
    user,
)

CALLS = (("call_a", "math_add", '{"a": 1, "b": 2}'), ("call_b", "math_add", '{"a": 3, "b": 4}'))


def asks(text: str = "hello", **more: Any) -> ChatRequest:
    return request(text, model="m1", **more)


@pytest.mark.parametrize("cut_bytes", [0, 1, 7])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
async def test_stream_is_read_wherever_it_is_cut(cut_bytes: int, newline: str) -> None:
    said = Said(
        text=["Grüße ", "\U0001f600"],
        thinking=["Let me ", "see"],
        calls=CALLS,
        cut_bytes=cut_bytes,
        newline=newline,
    )
    tokens: list[str] = []
    async with FakeOpenAi([said]) as fake, openai(fake) as provider:
        reply = await provider.chat(asks(tools=[ADD]), on_token=tokens.append)

    assert reply.content == "".join(tokens) == "Grüße \U0001f600"
    assert reply.thinking == "Let me see"
    assert [("math.add", {"a": 1, "b": 2}, "call_a"), ("math.add", {"a": 3, "b": 4}, "call_b")] == [
        (call.name, call.arguments, call.id) for call in reply.tool_calls
    ]
    assert (reply.provider, reply.model, reply.ended_by) == ("lab", "m1-2026", "stop")
    assert (reply.prompt_tokens, reply.reply_tokens) == (11, 7)


@pytest.mark.parametrize("ends", ["done", "silent", "open"])
async def test_reply_is_whole_once_the_model_has_ended(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.models.openai.provider.COUNTS_WAIT_S", 0.05)
    said = Said(text=["a"], ends=ends, counts=ends != "open")
    async with FakeOpenAi([said]) as fake, openai(fake) as provider:
        reply = await provider.chat(asks())

    assert reply.content == "a"


async def test_server_that_does_not_stream_is_read_all_the_same() -> None:
    said = Said(text=["whole"], calls=CALLS[:1], whole=True)
    async with FakeOpenAi([said]) as fake, openai(fake) as provider:
        reply = await provider.chat(asks(tools=[ADD]))

    assert reply.content == "whole"
    assert reply.tool_calls[0].name == "math.add"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said(text=["a"], ends="early"), ModelReplyCut),
        (Said(text=["a"], ends="torn"), ModelInterrupted),
        (Said(text=[]), ModelReplyEmpty),
        (Said(thinking=["hm"], reason="length"), ModelReplyEmpty),
        (Said(calls=[("1", "math_add", '{"a": 1, "b"')], reason="length"), ModelCallMalformed),
        (Said(calls=[("1", "math_add", "[1]")]), ModelCallMalformed),
        (Said(text=["a"], reason="content_filter"), ModelRefused),
        (Said(raw=b"data: {oh no\n\n"), ModelReplyBroken),
        (Said(raw=b"data: [1]\n\n"), ModelReplyBroken),
        (Said(raw=b'data: {"choices": 7}\n\n'), ModelReplyBroken),
        (Said(raw=b'data: {"choices": [{"delta": {"tool_calls": [7]}}]}\n\n'), ModelReplyBroken),
        (Said(raw=b""), ModelReplyCut),
        (Said(text=["a"], error={"error": {"message": "boom", "type": "server_error"}}),
         ModelReplyBroken),
        (Said(text=["a"], error={"object": "error", "message": "boom", "code": 400}),
         ModelRefused),
        (Said(raw=b'error: {"code":500,"message":"Failed to parse tool call: x"}\n\n'),
         ModelCallMalformed),
        (Said(text=["a"], error={"error": {"code": "rate_limit_exceeded", "message": "slow"}}),
         ModelBusy),
    ],
    ids=str,
)  # fmt: skip
async def test_broken_reply_is_told_by_its_kind(said: Said, kind: type[AgencyError]) -> None:
    async with FakeOpenAi([said]) as fake, openai(fake) as provider:
        error = await failure_of(provider, asks(tools=[ADD]))

    assert type(error) is kind, error


async def test_cut_off_arguments_are_handed_on_to_be_mended() -> None:
    said = Said(calls=[("1", "math_add", '{"a": 1, "b"')], reason="length")
    async with FakeOpenAi([said]) as fake, openai(fake) as provider:
        error = await failure_of(provider, asks(tools=[ADD]))

    assert isinstance(error, ModelCallMalformed)
    assert error.raw == '{"a": 1, "b"'
    assert "cut off at the limit of tokens" in error.message


def refusal(message: str, *, kind: str = "", code: object = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, refusal("x", kind="exceed_context_size_error", n_prompt_tokens=302, n_ctx=256),
         ContextTooLong),
        (400, refusal("This model's maximum context length is 4096 tokens. However, you requested "
                      "5000 tokens (4000 in the messages).", code="context_length_exceeded"),
         ContextTooLong),
        (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. "
               "However, your messages resulted in 5000 tokens.", "code": 400}, ContextTooLong),
        (429, refusal("Rate limit reached", code="rate_limit_exceeded"), ModelBusy),
        (429, refusal("You exceeded your current quota", code="insufficient_quota"), ModelRefused),
        (401, refusal("no"), ModelRefused),
        (402, refusal("pay"), ModelRefused),
        (404, refusal("The model `m1` does not exist", code="model_not_found"), ModelNotFound),
        (404, {"detail": "Not Found"}, ModelRefused),
        (404, "<html>", ModelRefused),
        (400, refusal('"auto" tool choice requires --enable-auto-tool-choice and '
                      "--tool-call-parser to be set"), ModelLacks),
        (500, refusal("tools param requires --jinja flag"), ModelLacks),
        (500, refusal("image input is not supported - hint: if this is unexpected, it might be "
                      "because the mmproj is missing"), ModelLacks),
        (500, refusal("Failed to parse tool call arguments as JSON"), ModelCallMalformed),
        (500, refusal("boom"), ModelReplyBroken),
        (503, refusal("Loading model", kind="unavailable_error"), ModelUnavailable),
        (503, refusal("overloaded"), ModelBusy),
        (502, "<html>bad gateway", ModelUnavailable),
        (302, "", ModelRefused),
        (200, "<html>welcome", ModelRefused),
        (422, {"detail": [{"msg": "field required"}]}, ModelRefused),
    ],
)  # fmt: skip
async def test_refusal_becomes_an_error_that_says_what_to_do(
    status: int, body: Any, kind: type[AgencyError]
) -> None:
    async with FakeOpenAi([Said(status=status, body=body)]) as fake, openai(fake) as provider:
        error = await failure_of(provider, asks())

    assert type(error) is kind, error
    assert error.hint


async def test_numbers_of_a_prompt_that_is_too_long_are_told() -> None:
    body = refusal("x", kind="exceed_context_size_error", n_prompt_tokens=302, n_ctx=256)
    async with FakeOpenAi([Said(status=400, body=body)]) as fake, openai(fake) as provider:
        error = await failure_of(provider, asks())

    assert isinstance(error, ContextTooLong)
    assert (error.prompt_tokens, error.context_tokens) == (302, 256)


@pytest.mark.parametrize(
    ("headers", "wanted_s"),
    [({"Retry-After": "7"}, 7.0), ({"retry-after-ms": "1500"}, 1.5), ({}, 5.0),
     ({"Retry-After": "9" * 400}, 86_400.0),
     ({"Retry-After": "nonsense"}, 5.0), ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0)],
)  # fmt: skip
async def test_pause_that_the_server_asks_for_is_kept(
    headers: dict[str, str], wanted_s: float
) -> None:
    said = Said(status=429, body=refusal("slow"), headers=headers)
    async with FakeOpenAi([said]) as fake, openai(fake) as provider:
        error = await failure_of(provider, asks())

    assert isinstance(error, ModelBusy)
    assert error.retry_after_s == wanted_s


async def test_conversation_from_elsewhere_is_sent_as_the_server_wants_it() -> None:
    messages = [
        ChatMessage(role="system", content="Be brief."),
        user("What is this?", images=[PNG]),
        ChatMessage(
            role="assistant",
            content="",
            tool_calls=[
                ToolCall(name="math.add", arguments={"a": 1}),
                ToolCall(name="math.add", arguments={"a": 2}, id="bad id!"),
                ToolCall(name="math.add", arguments={"a": 3}),
            ],
        ),
        ChatMessage(role="tool", content="1", tool_name="math.add"),
        ChatMessage(role="tool", content="2", tool_name="math.add", tool_call_id="bad id!"),
        user("And?"),
        ChatMessage(role="tool", content="lost", tool_name="gone"),
    ]
    async with FakeOpenAi() as fake, openai(fake) as provider:
        await provider.chat(asks(messages=messages, tools=[ADD], temperature=0.5, seed=3))

    sent = fake.chats[0]
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["temperature"], sent["seed"]) == (0.5, 3)
    assert sent["tools"][0]["function"]["name"] == "math_add"
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "tool", "user", "user"]
    assert sent["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64")
    assert sent["messages"][2]["content"] is None
    ids = [call["id"] for call in sent["messages"][2]["tool_calls"]]
    answered = [message["tool_call_id"] for message in sent["messages"][3:6]]
    assert sorted(answered) == sorted(ids)
    by_id = {message["tool_call_id"]: message["content"] for message in sent["messages"][3:6]}
    assert [by_id[one] for one in ids] == ["1", "2", "(No result of this call is known.)"]
    assert "lost" in sent["messages"][7]["content"]


async def test_schema_is_asked_for_and_checked() -> None:
    says = [Said(text=['{"n": ', "1}"]), Said(text=['{"n": "x"}'])]
    async with FakeOpenAi(says) as fake, openai(fake) as provider:
        reply = await provider.chat(asks(response_schema=SCHEMA))
        error = await failure_of(provider, asks(response_schema=SCHEMA))

    assert json.loads(reply.content) == {"n": 1}
    assert fake.chats[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "JSON Schema" in fake.chats[0]["messages"][0]["content"]
    assert isinstance(error, ModelAnswerUnfit)
    assert error.text == '{"n": "x"}'


@pytest.mark.parametrize("structured", ["json_object", "none"])
async def test_server_with_less_is_asked_in_its_own_way(structured: str) -> None:
    says = [Said(text=['{"n": 1}'])]
    async with FakeOpenAi(says) as fake, openai(fake, structured=structured) as provider:
        await provider.chat(asks(response_schema=SCHEMA))

    wanted = {"type": "json_object"} if structured == "json_object" else None
    assert fake.chats[0].get("response_format") == wanted


async def test_fields_that_a_server_does_not_know_are_left_out_and_remembered() -> None:
    async with FakeOpenAi() as fake, openai(fake, tokens_max=50) as provider:
        fake.unknown = {"max_tokens", "stream_options"}
        reply = await provider.chat(asks())
        await provider.chat(asks())

    assert reply.content == "You said: hello"
    assert len(fake.chats) == 4
    assert fake.chats[-1]["max_completion_tokens"] == 50


async def test_unknown_field_that_matters_is_a_refusal() -> None:
    async with FakeOpenAi() as fake, openai(fake) as provider:
        fake.unknown = {"temperature"}
        error = await failure_of(provider, asks(temperature=0.1))

    assert isinstance(error, ModelRefused)
    assert "temperature" in error.message


@pytest.mark.parametrize(
    ("owner", "think", "wanted"),
    [
        ("me", False, {}),
        ("llamacpp", False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm", True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("me", "low", {"reasoning_effort": "low"}),
        ("vllm", None, {}),
    ],
)
async def test_thinking_is_switched_where_the_server_can(
    owner: str, think: bool | str | None, wanted: dict[str, Any]
) -> None:
    async with FakeOpenAi() as fake, openai(fake) as provider:
        fake.models = [{"id": "m1", "owned_by": owner}]
        await provider.chat(asks(think=think))

    found = {
        k: v for k, v in fake.chats[0].items() if k in {"chat_template_kwargs", "reasoning_effort"}
    }
    assert found == wanted


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"meta": {"n_ctx": 4096, "n_ctx_train": 32768}}, (None, 32768, 4096)),
        ({"max_model_len": 8192}, (None, 8192, None)),
        ({"max_context_length": 9000, "loaded_context_length": 4000}, (None, 9000, 4000)),
        ({"meta": {"n_ctx": True}}, (None, None, None)),
    ],
    ids=["llama.cpp", "vllm", "lm-studio", "odd"],
)
async def test_context_is_what_the_server_tells(entry: dict[str, Any], wanted: Any) -> None:
    async with FakeOpenAi() as fake, openai(fake) as provider:
        fake.models = [{"id": "m1", **entry}]
        limits = await provider.context("m1")
        await provider.context("m1")

    assert (limits.configured, limits.trained, limits.allocated) == wanted
    assert len(fake.asked) == 1


async def test_server_that_is_away_tells_no_context_and_raises_nothing() -> None:
    async with FakeOpenAi() as fake:
        pass
    async with openai(fake, num_ctx=4096) as provider:
        assert (await provider.context("m1")).tokens == 4096
        assert await provider.capabilities("m1") is None
        health = await provider.health()
        error = await failure_of(provider, asks())

    assert not health.reachable
    assert isinstance(error, ModelUnavailable)
    assert error.resource == "model:lab"


async def test_llama_cpp_tells_what_its_one_model_can_do() -> None:
    async with FakeOpenAi() as fake, openai(fake) as provider:
        fake.models = [{"id": "/models/x.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 512}}]
        fake.more_models = [
            {"model": "/models/x.gguf", "capabilities": ["completion", "multimodal"]}
        ]
        assert await provider.capabilities("any-name") == frozenset({"completion", "vision"})
        assert (await provider.context("any-name")).allocated == 512


async def test_server_that_loads_is_away_until_it_is_done() -> None:
    async with FakeOpenAi() as fake, openai(fake) as provider:
        fake.loads = True
        assert (await provider.health()).reason == "it is loading its model"
        assert isinstance(await failure_of(provider, asks()), ModelUnavailable)
        fake.loads = False
        assert (await provider.health()).reachable


async def test_vectors_come_in_the_order_of_the_texts_and_in_batches() -> None:
    texts = [f"text {number}" for number in range(300)]
    async with FakeOpenAi() as fake, openai(fake) as provider:
        vectors = await provider.embed("m1", texts)
        again = await provider.embed("m1", texts[-1:])

    assert len(fake.bodies("/v1/embeddings")) == 3
    assert len(vectors) == 300
    assert vectors[-1] == again[0]
    assert sum(number * number for number in vectors[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("reference", ["secret://lab-key", "env://LAB_KEY"])
async def test_key_is_resolved_at_the_call(reference: str) -> None:
    vault = Vault(**{"lab-key": KEY})
    async with FakeOpenAi(key=KEY) as fake, openai(fake, vault, api_key=reference) as provider:
        await provider.chat(asks())
        vault.secrets["lab-key"] = "another"
        changed = reference.startswith("secret") and await failure_of(provider, asks())

    assert not changed or isinstance(changed, ModelRefused)


async def test_key_appears_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vault = Vault(**{"lab-key": KEY})
    async with (
        FakeOpenAi(key="another") as fake,
        openai(fake, vault, api_key="secret://lab-key", headers=["X-More: env://LAB_KEY"]) as lab,
    ):
        error = await failure_of(lab, asks())
        health = await lab.health()

    assert fake.asked[0].headers["X-More"] == KEY
    assert isinstance(error, ModelRefused)
    assert KEY not in repr((error, error.message, error.hint, error.data, error.__cause__, health))
    assert KEY not in caplog.text
    assert "•••" in error.message


@pytest.mark.parametrize("reference", ["secret://none", "env://NONE"])
async def test_missing_key_is_a_refusal_that_names_it(reference: str) -> None:
    async with FakeOpenAi() as fake, openai(fake, Vault(), api_key=reference) as provider:
        error = await failure_of(provider, asks())

    assert isinstance(error, ModelRefused)
    assert fake.chats == []


async def test_locked_vault_is_waited_for_as_a_server_that_is_away() -> None:
    vault = Vault(**{"lab-key": KEY})
    vault.is_locked = True
    async with FakeOpenAi(key=KEY) as fake, openai(fake, vault, api_key="secret://lab-key") as lab:
        error, away = await failure_of(lab, asks()), await lab.health()
        vault.is_locked = False
        back = await lab.health()

    assert isinstance(error, ModelUnavailable)
    assert (lab.resource, "Put it back.") == (error.resource, error.hint)
    assert (False, True) == (away.reachable, back.reachable)
    assert "vault" in away.reason


async def test_cloud_model_behind_a_server_on_this_machine_is_refused_unless_allowed() -> None:
    wanted = request(model="gpt-oss:120b-cloud")
    async with FakeOpenAi() as fake, openai(fake) as provider:
        error = await failure_of(provider, wanted)
        with pytest.raises(ModelRefused, match="cloud"):
            await provider.embed(wanted.model, ["x"])
        assert [] == fake.asked
    async with FakeOpenAi() as fake, openai(fake, llm=Llm(allow_remote=True)) as provider:
        await failure_of(provider, wanted)

    assert isinstance(error, ModelRefused)
    assert "cloud" in error.message
    assert len(fake.asked) > 0


async def test_cancelled_call_closes_the_connection() -> None:
    async with FakeOpenAi([Said(text=["a"], hold=True)]) as fake, openai(fake) as provider:
        call = asyncio.create_task(provider.chat(asks()))
        await fake.holding.wait()
        call.cancel()
        await fake.left.wait()
        # The lane is free again.
        assert (await provider.chat(asks())).content == "You said: hello"


async def test_server_that_says_nothing_is_left_after_the_limit() -> None:
    llm = Llm(load_timeout_s=0.1)
    async with FakeOpenAi([Said(hold=True)]) as fake, openai(fake, llm=llm) as provider:
        error = await failure_of(provider, asks())

    assert isinstance(error, ModelTimedOut)
    assert error.phase == "load"


async def test_call_gives_signs_of_life_before_its_first_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agency.models.progress.SIGN_EVERY_S", 0.01)
    seen: list[CallProgress] = []
    is_seen = asyncio.Event()

    def note(progress: CallProgress) -> None:
        seen.append(progress)
        is_seen.set()

    async with FakeOpenAi([Said(text=["a"], hold=True)]) as fake, openai(fake) as provider:
        call = asyncio.create_task(provider.chat(asks(), on_progress=note))
        await is_seen.wait()
        fake.gate.set()
        await call
        count = len(seen)
        await asyncio.sleep(0.03)

    assert count == len(seen)
    assert seen[0].text.startswith("loading model (")
    assert (seen[0].provider, seen[0].model) == ("lab", "m1")


async def test_models_are_listed() -> None:
    async with FakeOpenAi() as fake, openai(fake) as provider:
        fake.models = [{"id": "a", "meta": {"size": 5}}, {"id": "b"}, {"nothing": 1}]
        found = await provider.models()

    assert [("a", 5, False), ("b", 0, False)] == [
        (one.name, one.size_bytes, one.is_remote) for one in found
    ]
