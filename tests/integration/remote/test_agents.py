"""The client of A2A against agents that the official SDK has made, on each of its wires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from agency.config.schema import RemoteAgent
from agency.core.clock import SystemClock
from agency.domain.content import Content, PartKind, bytes_part, data_part, text_part
from agency.domain.remote import (
    RemoteMessage,
    RemoteState,
    RemoteTask,
    data_of,
    result_of,
    text_of,
)
from agency.errors import RemoteTaskNotFound
from agency.tools.a2a.agents import A2aAgents
from tests.a2a_servers.sdk import WIRES
from tests.integration.remote.conftest import Peer

GUARD_S = 15.0
NUMBERS = count()


def message(text: str, *, task_id: str = "", context_id: str = "") -> RemoteMessage:
    return RemoteMessage(
        id=f"message-{next(NUMBERS)}",
        content=Content(parts=[text_part(text)]),
        task_id=task_id,
        context_id=context_id,
    )


@pytest.fixture(params=WIRES)
def agents(request: pytest.FixtureRequest, peer: Peer) -> A2aAgents:
    settings = RemoteAgent(url=peer.url(request.param), token="env://A2A_TEST_TOKEN")
    return A2aAgents({"it": settings}, clock=SystemClock())


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2A_TEST_TOKEN", "a token for tests")


async def until(agents: A2aAgents, task_id: str, is_so: Callable[[RemoteTask], bool]) -> RemoteTask:
    async with asyncio.timeout(GUARD_S):
        while True:
            task = await agents.get("it", task_id, hops=1)
            if is_so(task):
                return task
            await asyncio.sleep(0.02)


async def test_message_becomes_a_task_whose_result_is_read(agents: A2aAgents) -> None:
    card = await agents.card("it")
    sent = await agents.send("it", message("echo one two"))

    task = await until(agents, sent.id, lambda task: task.state.is_final)

    assert "Tester" == card.name
    assert (RemoteState.COMPLETED, "one two") == (task.state, text_of(result_of(task)))
    assert sent.context_id == task.context_id


async def test_values_and_files_come_back_as_they_were(agents: A2aAgents) -> None:
    sent = await agents.send("it", message("data"))

    task = await until(agents, sent.id, lambda task: task.state.is_final)

    result = result_of(task)
    [file] = [part for part in result.parts if part.kind is PartKind.BYTES]
    assert {"total": 3, "share": 0.5} == data_of(result)
    assert isinstance(data_of(result)["total"], int)
    assert (b"\x89PNG", "image/png", "a.png") == (file.raw, file.media_type, file.name)


async def test_all_kinds_of_parts_arrive_with_hops_and_token(agents: A2aAgents, peer: Peer) -> None:
    content = Content(
        parts=[
            text_part("echo parts"),
            data_part({"a": [1, None, "x"]}),
            bytes_part(b"\x00\xff", media_type="application/x-test", name="b.bin"),
        ]
    )
    sent = RemoteMessage(id=f"parts-{next(NUMBERS)}", content=content, hops=3)

    await agents.send("it", sent)

    [line] = [one for one in peer.messages(word="echo parts") if one["id"] == sent.id]
    assert {"a": [1, None, "x"]} == line["parts"][1]["data"]
    assert "AP8=" == line["parts"][2]["raw"]
    assert (3, "3") == (line["hops"], line["hops_header"])
    assert "Bearer a token for tests" == line["authorization"]


async def test_message_without_a_task_is_an_answer(agents: A2aAgents) -> None:
    answer = await agents.send("it", message("say"))

    assert answer.is_message
    assert (RemoteState.COMPLETED, "only said") == (answer.state, text_of(result_of(answer)))


async def test_question_is_seen_and_answered(agents: A2aAgents) -> None:
    sent = await agents.send("it", message("ask"))
    asked = await until(agents, sent.id, lambda task: task.state.waits_for_us)

    await agents.send("it", message("Joe", task_id=asked.id, context_id=asked.context_id))

    task = await until(agents, sent.id, lambda task: task.state.is_final)
    assert ("Who are you?", {"schema": {"type": "string"}}) == (
        text_of(asked.said),
        data_of(asked.said),
    )
    assert "Hello, Joe!" == text_of(result_of(task))


async def test_watching_tells_the_state_until_it_is_settled(agents: A2aAgents) -> None:
    sent = await agents.send("it", message("ask"))

    async with asyncio.timeout(GUARD_S):
        seen = [task async for task in agents.watch("it", sent.id, hops=1)]

    if (await agents.card("it")).streams:
        assert RemoteState.INPUT_REQUIRED is seen[-1].state
    assert {sent.id} == {task.id for task in seen}


async def test_cancelled_task_stays_so(agents: A2aAgents) -> None:
    sent = await agents.send("it", message("work"))

    cancelled = await agents.cancel("it", sent.id, hops=1)
    again = await agents.cancel("it", sent.id, hops=1)

    assert RemoteState.CANCELLED is cancelled.state is again.state


@pytest.mark.parametrize(
    ("word", "state", "said"),
    [
        ("fail", RemoteState.FAILED, "no luck"),
        ("reject", RemoteState.REJECTED, "not for you"),
    ],
)
async def test_bad_ends_are_told_with_their_reason(
    agents: A2aAgents, word: str, state: RemoteState, said: str
) -> None:
    sent = await agents.send("it", message(word))

    task = await until(agents, sent.id, lambda task: task.state.is_final)

    assert (state, said) == (task.state, text_of(task.said))


async def test_task_that_is_not_there_is_told_as_such(agents: A2aAgents) -> None:
    with pytest.raises(RemoteTaskNotFound):
        await agents.get("it", "nowhere", hops=1)
    with pytest.raises(RemoteTaskNotFound):
        await agents.cancel("it", "nowhere", hops=1)
    with pytest.raises(RemoteTaskNotFound):
        await agents.send("it", message("x", task_id="nowhere"))
