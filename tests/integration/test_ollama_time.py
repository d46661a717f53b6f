"""Limits, cancelling, queueing, and a server that goes and comes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from agency.config.schema import Llm
from agency.errors import ModelInterrupted, ModelTimedOut, ModelUnavailable
from agency.models.ollama.provider import open_ollama
from agency.ports.model import ChatMessage
from tests.fake_ollama import FakeOllama, Turn
from tests.integration.ollama_calls import ADD, GUARD_S, conforms, failure_of, opened, request


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("turn", "limit", "phase"),
    [
        (Turn(hold_before_headers=True), "load_timeout_s", "load"),
        (Turn(content=["a"], hold_after=0), "first_token_timeout_s", "first_token"),
        (Turn(content=["a", "b"], hold_after=1), "between_tokens_timeout_s", "between_tokens"),
        (Turn(content=["a", "b"], hold_after=1), "total_timeout_s", "total"),
        (Turn(hold_before_headers=True), "total_timeout_s", "total"),
    ],
)
async def test_each_limit_ends_the_call_and_names_itself(
    turn: Turn, limit: str, phase: str
) -> None:
    async with FakeOllama([turn]) as fake, opened(fake, **{limit: 0.1}) as provider:
        error = await failure_of(provider)
        await fake.left.wait()

    assert isinstance(error, ModelTimedOut)
    assert error.phase == phase
    assert error.limit_s == 0.1
    assert limit in error.hint
    assert fake.of("/api/chat")[0].is_gone


async def test_pause_may_be_longer_while_a_tool_call_is_composed() -> None:
    turn = Turn(content=["a", "b"], hold_after=1)
    async with FakeOllama([turn]) as fake, opened(fake, between_tokens_timeout_s=0.1) as provider:
        error = await failure_of(provider, tools=[ADD])

    assert isinstance(error, ModelTimedOut)
    assert error.limit_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    "turn",
    [
        Turn(hold_before_headers=True),
        Turn(content=["a"], hold_after=0),
        Turn(content=["a", "b"], hold_after=1),
    ],
)
async def test_cancelling_closes_the_connection(turn: Turn) -> None:
    async with FakeOllama([turn]) as fake, opened(fake) as provider:
        call = asyncio.create_task(provider.chat(request()))
        await fake.holding.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await fake.left.wait()

        reply = await provider.chat(request("again"))

    assert fake.of("/api/chat")[0].is_gone
    assert reply.content == "answer to: again"


async def test_time_in_the_lane_counts_towards_no_limit() -> None:
    first = Turn(when="first", content=["a", "b"], hold_after=1)
    async with FakeOllama([first]) as fake, opened(fake, load_timeout_s=0.2) as provider:
        slow = asyncio.create_task(provider.chat(request("first")))
        await fake.holding.wait()
        waiting = asyncio.create_task(provider.chat(request("second", model="LLAMA3.2")))
        held_long_enough = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.4, held_long_enough.set_result, None)
        await held_long_enough
        assert len(fake.chats) == 1
        fake.gate.set()

        assert (await slow).content == "ab"
        assert (await waiting).content == "answer to: second"


async def test_another_model_has_a_lane_of_its_own() -> None:
    first = Turn(when="first", content=["a", "b"], hold_after=1)
    async with FakeOllama([first]) as fake, opened(fake) as provider:
        slow = asyncio.create_task(provider.chat(request("first")))
        await fake.holding.wait()

        reply = await provider.chat(request("second", model="plain"))
        fake.gate.set()
        await slow

    assert reply.content == "answer to: second"


async def test_server_that_is_away_is_unavailable_and_served_when_it_is_back() -> None:
    fake = FakeOllama(port=free_port())
    async with opened(fake) as provider:
        away = await failure_of(provider)
        health_away = await provider.health()
        with pytest.raises(ModelUnavailable):
            await provider.models()
        with pytest.raises(ModelUnavailable):
            await provider.embed("nomic-embed-text", ["x"])
        async with fake:
            health_back = await provider.health()
            reply = await provider.chat(request())
        gone_again = await failure_of(provider)

    assert isinstance(away, ModelUnavailable)
    assert away.resource == conforms(provider).resource == "model:ollama"
    assert not health_away.reachable
    assert health_away.reason
    assert health_back.reachable
    assert health_back.version == "0.33.0"
    assert reply.content == "answer to: hello"
    assert isinstance(gone_again, ModelUnavailable)


async def test_server_killed_in_the_middle_of_a_call_is_an_interruption(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"turns": [{"content": ["a", "b"], "hold_after": 1}]}')
    with subprocess.Popen(  # A real process, to be really killed.
        [sys.executable, "-m", "tests.fake_ollama", "--script", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as server:
        try:
            assert server.stdout is not None
            line = await asyncio.to_thread(server.stdout.readline)
            port = int(line.rpartition(":")[2].strip(" }\n"))
            settings = Llm(base_url=f"http://127.0.0.1:{port}")
            async with asyncio.timeout(2 * GUARD_S), open_ollama(settings) as provider:
                got_token = asyncio.Event()
                call = asyncio.create_task(
                    provider.chat(request(), on_token=lambda _: got_token.set())
                )
                await got_token.wait()
                server.kill()
                with pytest.raises(ModelInterrupted):
                    await call
                await asyncio.to_thread(server.wait)
                assert isinstance(await failure_of(provider), ModelUnavailable)
        finally:
            server.kill()


async def test_address_where_nobody_accepts_is_away() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # Bound, not listening: connections are refused.
        settings = Llm(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(GUARD_S), open_ollama(settings) as provider:
            assert isinstance(await failure_of(provider), ModelUnavailable)


async def test_unknown_host_name_is_away() -> None:
    settings = Llm(base_url="http://no-such-host.invalid:11434")
    async with asyncio.timeout(2 * GUARD_S), open_ollama(settings) as provider:
        assert isinstance(await failure_of(provider), ModelUnavailable)
        assert not (await provider.health()).reachable


async def test_health_is_given_up_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.models.ollama.provider.HEALTH_TIMEOUT_S", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = Llm(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(GUARD_S), open_ollama(settings) as provider:
            health = await provider.health()

    assert not health.reachable
    assert "within 0.1 s" in health.reason


async def test_proxies_and_addresses_of_the_environment_are_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OLLAMA_HOST"):
        monkeypatch.setenv(name, nowhere)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with FakeOllama() as fake, opened(fake) as provider:
        assert (await provider.chat(request())).content == "answer to: hello"
        assert (await provider.health()).reachable


async def test_fake_cuts_silently_when_it_is_not_forbidden() -> None:
    """The fake must be able to show the defect, or the tests above prove nothing."""
    body = {
        "model": "llama3.2",
        "stream": False,
        "options": {"num_ctx": 64},
        "messages": [
            {"role": "user", "content": "word " * 100},
            {"role": "user", "content": "last"},
        ],
    }
    async with (
        FakeOllama() as fake,
        aiohttp.ClientSession() as session,
        session.post(f"{fake.url}/api/chat", json=body) as answer,
    ):
        found = await answer.json()

    assert found["message"]["content"] == "answer to: last"
    assert found["done"] is True
    assert fake.seen[0].dropped


async def test_calls_at_once_are_bounded_by_the_setting() -> None:
    turns = [Turn(when=str(i), content=["a", "b"], hold_after=1) for i in range(4)]
    async with FakeOllama(turns, parallel=8) as fake, opened(fake, concurrency=2) as provider:
        calls = [asyncio.create_task(provider.chat(request(str(i)))) for i in range(4)]
        await fake.holding.wait()
        fake.gate.set()
        replies = await asyncio.gather(*calls)

    assert [reply.content for reply in replies] == ["ab"] * 4
    assert fake.at_once_max == 2


async def test_long_conversation_is_answered_from_its_last_message() -> None:
    messages = [ChatMessage(role="user", content=f"m{i}") for i in range(50)]
    async with FakeOllama() as fake, opened(fake) as provider:
        reply = await provider.chat(request(messages=messages))

    assert reply.content == "answer to: m49"
