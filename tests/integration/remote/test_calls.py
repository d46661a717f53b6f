"""Calls of agents elsewhere as runs: a real engine and store, and agents of the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agency import Content, Context, StepFailed, bytes_part, text_part, workflow
from agency.config.schema import RemoteAgent
from agency.core import json
from agency.core.clock import SystemClock
from agency.domain.remote import HOPS_TAG
from agency.domain.run import RunStatus
from agency.ports.store import RunDetail
from agency.tools.a2a.agents import A2aAgents
from agency.workflows.remote import call_agent
from agency.workflows.remote.call_agent import CallAgent, Pace
from tests.integration.engine.house import GUARD_S, House, crashed, open_house
from tests.integration.remote.conftest import Peer
from tests.integration.remote.hostile import Asked, always, answer, open_hostile

QUICK = Pace(first_s=5.0, follow_s=5.0, pause_s=0.02, pause_s_max=0.05, asked_pause_s_max=0.05)
POLLING = Pace(first_s=0.0, follow_s=0.0, pause_s=0.02, pause_s_max=0.05)


@workflow("outer")
async def outer(ctx: Context, spec: dict[str, Any]) -> Any:
    try:
        answer = await ctx.call_agent(spec.pop("agent", "it"), **spec)
    except StepFailed as error:
        return {"code": error.error_code, "message": error.message}
    return {"text": answer.text, "data": answer.data, "names": [one.name for one in answer.parts]}


@asynccontextmanager
async def open_calls(
    path: Path,
    peer: Peer,
    *,
    wire: str = "1.0",
    pace: Pace = QUICK,
    settings: dict[str, Any] | None = None,
) -> AsyncIterator[House]:
    described = RemoteAgent(**(settings or {"url": peer.url(wire)}))
    agents = A2aAgents({"it": described}, clock=SystemClock())
    async with open_house(path, outer) as house:
        house.registry.add(CallAgent(agents, hops_max=3, pace=pace).definition())
        yield house


@pytest.fixture
async def house(tmp_path: Path, peer: Peer) -> AsyncIterator[House]:
    async with open_calls(tmp_path, peer) as opened:
        yield opened


async def output(house: House, **spec: Any) -> Any:
    return (await house.run("outer", spec)).run.output


async def child_of(house: House, run_id: str) -> str:
    """Find the run that makes the call."""
    async with asyncio.timeout(GUARD_S):
        while True:
            waits = (await house.runs.get(run_id)).waits
            for wait in waits:
                if wait.kind == "child":
                    return wait.target
            await asyncio.sleep(0.01)


async def begun(house: House, run_id: str) -> str:
    """Wait until the id of the task elsewhere is recorded; give the run that makes the call."""
    child = await child_of(house, run_id)
    async with asyncio.timeout(GUARD_S):
        while "send#1" not in await house.keys(child):
            await asyncio.sleep(0.01)
    return child


async def asked(house: House, child: str) -> RunDetail:
    def is_asking(detail: RunDetail) -> bool:
        return any(wait.kind == "input" and wait.outcome is None for wait in detail.waits)

    return await house.until(child, is_asking)


def said(words: str) -> dict[str, Any]:
    return {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": words}]}


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_answer_comes_back_with_its_parts(house: House) -> None:
    assert {"text": "one", "data": None, "names": [""]} == await output(house, message="echo one")
    assert {"text": "", "data": {"total": 3, "share": 0.5}, "names": ["", "a.png"]} == await output(
        house, message="data"
    )
    assert "only said" == (await output(house, message="say"))["text"]


async def test_message_of_several_parts_and_files_arrives_once(house: House, peer: Peer) -> None:
    picture = bytes_part(b"\xff", media_type="image/gif", name="x.gif")
    content = Content(parts=[text_part("echo picture"), picture])

    @workflow("many")
    async def many(ctx: Context) -> str:
        files: dict[str, str | bytes] = {"a.txt": "text", "b.bin": b"\x00"}
        await ctx.call_agent("it", "echo many", data=[1, 2], files=files)
        return (await ctx.call_agent("it", content)).text

    house.registry.add_function(many)

    assert "picture" == (await house.run("many")).run.output
    [first] = peer.messages(word="echo many")
    assert [1, 2] == first["parts"][1]["data"]
    assert ["a.txt", "b.bin"] == [part["filename"] for part in first["parts"][2:]]
    assert 1 == len(peer.messages(word="x.gif"))


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ({"message": "fail"}, "remote_task_failed", "no luck"),
        ({"message": "reject"}, "remote_task_rejected", "not for you"),
        ({"agent": "nobody", "message": "x"}, "remote_agent_not_found", "'nobody'"),
        ({"agent": "http://127.0.0.1:1", "message": "x"}, "remote_agent_refused", "not be called"),
        ({}, "invalid_input", "nothing to send"),
        ({"agent": ""}, "invalid_input", ""),
    ],
    ids=["failed", "rejected", "no-agent", "not-allowed", "nothing", "no-name"],
)
async def test_bad_ends_have_a_code_and_a_reason(
    house: House, spec: dict[str, Any], code: str, said: str
) -> None:
    found = await output(house, **spec)

    assert code == found["code"]
    assert said in found["message"]


async def test_question_of_the_agent_is_asked_here_and_its_answer_goes_back(house: House) -> None:
    run_id = await house.start("outer", {"message": "ask"})
    child = await begun(house, run_id)
    detail = await asked(house, child)

    await house.resume(child, "Joe", wait="answer")

    [wait] = [one for one in detail.waits if one.kind == "input"]
    assert "it: Who are you?" == wait.show["prompt"]
    assert {"type": "string"} == wait.show["schema"]
    assert "Hello, Joe!" == (await house.ended(run_id)).run.output["text"]


async def test_answer_that_is_not_taken_is_asked_for_again(tmp_path: Path, peer: Peer) -> None:
    asking = {"state": "TASK_STATE_INPUT_REQUIRED", "message": said("Which code?")}

    async def picky(asked: Asked) -> bytes:
        params = asked.rpc["params"]
        words = params["message"]["parts"][0]["text"] if "message" in params else ""
        task = {"id": "t1", "contextId": "c1", "status": asking}
        if words == "ABC":
            task["status"] = {"state": "TASK_STATE_COMPLETED", "message": said("Open.")}
        if words == "abc":
            error = {"code": -32602, "message": "Capitals are needed"}
            return answer(json.encode({"jsonrpc": "2.0", "id": asked.rpc["id"], "error": error}))
        shown = task if asked.rpc["method"] == "GetTask" else {"task": task}
        return answer(json.encode({"jsonrpc": "2.0", "id": asked.rpc["id"], "result": shown}))

    async with open_hostile() as hostile:
        hostile.rpc = picky
        async with open_calls(tmp_path, peer, settings={"url": hostile.url}) as house:
            run_id = await house.start("outer", {"message": "open"})
            child = await begun(house, run_id)
            await asked(house, child)
            await house.resume(child, "abc", wait="answer")
            async with asyncio.timeout(GUARD_S):
                while "answer#1" not in await house.keys(child):
                    await asyncio.sleep(0.01)
            detail = await asked(house, child)
            await house.resume(child, "ABC", wait="answer")
            ended = await house.ended(run_id)

    [wait] = [one for one in detail.waits if one.kind == "input" and one.outcome is None]
    assert "Capitals are needed" in wait.show["prompt"]
    assert "it: Which code?" in wait.show["prompt"]
    assert "Open." == ended.run.output["text"]


async def test_authorization_is_asked_for_here(house: House) -> None:
    run_id = await house.start("outer", {"message": "login"})
    child = await begun(house, run_id)
    detail = await asked(house, child)

    await house.resume(child, "a secret word", wait="authorize")

    [wait] = [one for one in detail.waits if one.kind == "input"]
    assert "it: Log in at /x." == wait.show["prompt"]
    # What was typed stays here.
    assert "Hello, The authorization was given.!" == (await house.ended(run_id)).run.output["text"]


async def test_question_is_taken_back_when_it_was_answered_over_there(
    house: House, peer: Peer
) -> None:
    run_id = await house.start("outer", {"message": "ask"})
    child = await begun(house, run_id)
    await asked(house, child)
    entries = await house.runs.entries(child, after=0, limit=100)
    [sent] = [json.decode(one.body) for one in entries if one.key == "send#1"]
    other = A2aAgents({"it": RemoteAgent(url=peer.url())}, clock=SystemClock())

    await other.cancel("it", sent["id"], hops=1)

    found = (await house.ended(run_id)).run.output
    assert "remote_task_cancelled" == found["code"]


@pytest.mark.parametrize("wire", ["1.0", "1.0-poll", "0.3-rest"])
@pytest.mark.parametrize("pace", [QUICK, POLLING], ids=["followed", "polled"])
async def test_work_that_takes_a_while_is_waited_for(
    tmp_path: Path, peer: Peer, wire: str, pace: Pace
) -> None:
    (peer.folder / "go").unlink(missing_ok=True)
    async with open_calls(tmp_path, peer, wire=wire, pace=pace) as house:
        run_id = await house.start("outer", {"message": "work"})
        await begun(house, run_id)
        peer.let_work_end()

        assert "worked" == (await house.ended(run_id)).run.output["text"]
    (peer.folder / "go").unlink()


async def test_journal_that_became_long_goes_on_in_a_successor(
    tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_agent, "LOOKS_MAX", 2)
    before = len(peer.messages(word="work"))
    async with open_calls(tmp_path, peer, pace=POLLING) as house:
        run_id = await house.start("outer", {"message": "work"})
        first = await child_of(house, run_id)
        await house.ended(first)
        peer.let_work_end()
        ended = await house.ended(run_id)

        assert "worked" == ended.run.output["text"]
    assert before + 1 == len(peer.messages(word="work"))
    (peer.folder / "go").unlink()


async def test_cancelling_the_run_cancels_the_task(house: House, peer: Peer) -> None:
    run_id = await house.start("outer", {"message": "work"})
    await begun(house, run_id)

    await house.runs.cancel(run_id)

    ended = await house.ended(run_id)
    assert RunStatus.CANCELLED is ended.run.status
    await eventually((peer.folder / "cancelled").exists)
    (peer.folder / "cancelled").unlink()


async def test_call_that_takes_too_long_is_given_up_and_its_task_cancelled(
    house: House, peer: Peer
) -> None:
    found = await output(house, message="work", timeout_s=0.5)

    assert "timed_out" == found["code"]
    await eventually((peer.folder / "cancelled").exists)
    (peer.folder / "cancelled").unlink()


async def test_too_many_hops_are_refused_and_none_is_forgotten(house: House, peer: Peer) -> None:
    @workflow("between")
    async def between(ctx: Context) -> Any:
        return await ctx.call("outer", {"message": "echo hops"})

    house.registry.add_function(between)
    last = await house.run("between", tags={HOPS_TAG: "2"})
    over = await house.run("between", tags={HOPS_TAG: "3"})

    assert "hops" == last.run.output["text"]
    assert "too_many_hops" == over.run.output["code"]
    assert [3] == [one["hops"] for one in peer.messages(word="echo hops")]


async def test_after_a_crash_the_task_is_watched_and_nothing_is_sent_again(
    tmp_path: Path, peer: Peer
) -> None:
    (tmp_path / "one").mkdir()
    before = len(peer.messages(word="work"))
    async with open_calls(tmp_path / "one", peer) as house:
        run_id = await house.start("outer", {"message": "work"})
        await begun(house, run_id)
        left = crashed(tmp_path / "one", tmp_path / "two")
    peer.let_work_end()

    async with open_calls(left, peer) as house:
        assert "worked" == (await house.ended(run_id)).run.output["text"]
    assert before + 1 == len(peer.messages(word="work"))
    (peer.folder / "go").unlink()


async def test_agent_that_is_killed_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "peer")
    try:
        async with open_calls(tmp_path, peer) as house:
            # It is not there yet: the message waits.
            run_id = await house.start("outer", {"message": "ask"})
            child = await child_of(house, run_id)
            await house.until(child, lambda detail: detail.run.status is not RunStatus.PENDING)
            await asyncio.to_thread(peer.start)
            await begun(house, run_id)
            await asked(house, child)
            await asyncio.to_thread(peer.kill)
            await house.resume(child, "Joe", wait="answer")
            await asyncio.to_thread(peer.start)

            ended = await house.ended(run_id)

            assert "Hello, Joe!" == ended.run.output["text"]
            assert 1 == len(peer.messages(word='"ask"'))
    finally:
        peer.kill()


async def test_silent_agent_is_not_sent_the_message_for_ever(tmp_path: Path, peer: Peer) -> None:
    async def never(asked: Asked) -> bytes:
        await asyncio.sleep(1.0)
        return b""

    async with open_hostile() as hostile:
        hostile.rpc = never
        settings = {"url": hostile.url, "timeout_s": 0.5}
        async with open_calls(tmp_path, peer, settings=settings) as house:
            found = await output(house, message="x")

        sent = [one for one in hostile.asked if one.path == "/rpc"]
        assert "remote_agent_unfit" == found["code"]
        assert 3 == len(sent)
        # All under one id.
        assert 1 == len({one.rpc["params"]["message"]["messageId"] for one in sent})


async def test_message_that_may_have_arrived_is_asked_about_where_it_must_not_be_repeated(
    tmp_path: Path, peer: Peer
) -> None:
    async with open_hostile() as hostile:
        hostile.rpc = always(b"")
        settings = {"url": hostile.url, "repeatable": False}
        async with open_calls(tmp_path, peer, settings=settings) as house:
            run_id = await house.start("outer", {"message": "x"})
            child = await child_of(house, run_id)

            def is_doubtful(detail: RunDetail) -> bool:
                return any(wait.kind == "decision" for wait in detail.waits)

            await house.until(child, is_doubtful)

        assert 1 == len([one for one in hostile.asked if one.path == "/rpc"])
