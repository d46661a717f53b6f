"""What a server asks in the middle of a call becomes a question, and the call goes on with it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agency.domain.connection import ConnectionSetup
from agency.domain.tool import Asks, ToolOutput
from agency.errors import InvalidInput, ToolInterrupted
from agency.tools.mcp.calls import ROUNDS_MAX
from agency.tools.mcp.live import DOUBTED_MAX
from tests.integration.mcp.conftest import Opener, Wait, World, hostile_setup
from tests.mcp_servers import modern

MODERN = Path(modern.__file__)


def modern_setup(**more: Any) -> ConnectionSetup:
    return ConnectionSetup(command=sys.executable, args=[str(MODERN)], sandbox=False, **more)


async def answered(world: World, name: str, asks: Asks | ToolOutput, *answers: Any) -> Any:
    """Answer all questions of a call, in their order, and go on with it."""
    assert isinstance(asks, Asks)
    given = {one.key: answer for one, answer in zip(asks.questions, answers, strict=True)}
    # What is handed over is recorded between the two.
    state = json.loads(json.dumps(asks.state))
    return await world.call(name, {}, answers=given, state=state)


def content(output: Any) -> Any:
    assert isinstance(output, ToolOutput)
    return json.loads(output.content)


async def test_held_call_goes_on_with_the_answer(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        asks = await world.call("odd__ask")
        assert isinstance(asks, Asks)
        (question,) = asks.questions
        assert ("input", "Who are you, ?") == (question.kind, question.prompt)
        assert question.schema is not None
        assert ["name"] == question.schema["required"]

        output = await answered(world, "odd__ask", asks, {"name": "Ada"})

        assert {"action": "accept", "content": {"name": "Ada"}} == content(output)


async def test_no_answer_declines(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        output = await answered(world, "odd__ask", await world.call("odd__ask"), None)

        assert {"action": "decline"} == content(output)


async def test_server_may_ask_again(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        first = await world.call("odd__ask_twice")
        second = await answered(world, "odd__ask_twice", first, {"name": "one"})
        output = await answered(world, "odd__ask_twice", second, {"name": "two"})

        assert ["one", "two"] == [said["content"]["name"] for said in content(output)]


async def test_model_is_asked_with_what_the_server_wants(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        asks = await world.call("odd__ask_model")
        assert isinstance(asks, Asks)
        (question,) = asks.questions

        output = await answered(world, "odd__ask_model", asks, "word")

        assert "model" == question.kind
        assert [{"role": "user", "content": "Say a word."}] == list(question.messages)
        assert {"tokens_max": 10, "system": "Be short."} == dict(question.options)
        assert "word" == content(output)["content"]["text"]


async def test_page_is_shown_and_consented_to(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        asks = await world.call("odd__ask_page")
        assert isinstance(asks, Asks)

        output = await answered(world, "odd__ask_page", asks, True)

        assert "https://example.org/in" in asks.questions[0].prompt
        assert {"action": "accept"} == content(output)


async def test_call_that_is_not_held_any_more_is_made_again_with_the_answers(
    world_of: Opener,
) -> None:
    setup = hostile_setup(repeatable=["ask*"])
    async with world_of({"odd": setup}) as world:
        first = await world.call("odd__ask_twice")
        second = await answered(world, "odd__ask_twice", first, {"name": "one"})
    async with world_of({"odd": setup}) as world:
        output = await answered(world, "odd__ask_twice", second, {"name": "two"})

        assert ["one", "two"] == [said["content"]["name"] for said in content(output)]


async def test_call_that_happens_once_and_is_not_held_any_more_is_interrupted(
    world_of: Opener,
) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        asks = await world.call("odd__ask")
    async with world_of({"odd": hostile_setup()}) as world:
        with pytest.raises(ToolInterrupted, match="does not hold the call"):
            await answered(world, "odd__ask", asks, {"name": "Ada"})


async def test_held_call_is_given_up_after_a_time(
    world_of: Opener, monkeypatch: pytest.MonkeyPatch, until: Wait
) -> None:
    monkeypatch.setattr("agency.tools.mcp.live.PARK_S", 0.1)
    async with world_of({"odd": hostile_setup()}) as world:
        await world.call("odd__ask")
        await until(lambda: world.connections.get("odd").status.calls_running == 0)

        assert "hi" == await world.say("odd__echo", text="hi")


async def test_question_goes_to_the_call_that_is_left_when_several_run(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        await world.say("odd__echo")
        slow = asyncio.ensure_future(world.call("odd__slow", {"seconds": 0.5}, call_key="a"))
        asks = await world.call("odd__ask", call_key="b")
        assert isinstance(asks, Asks)
        assert isinstance(await slow, ToolOutput)

        answers = {asks.questions[0].key: {"name": "Ada"}}
        output = await world.call("odd__ask", answers=answers, state=asks.state, call_key="b")

        assert {"name": "Ada"} == content(output)["content"]


async def test_questions_of_which_nobody_knows_whose_they_are_do_not_pile_up(
    world_of: Opener,
) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        await world.say("odd__echo")
        slow = asyncio.ensure_future(world.call("odd__slow", {"seconds": 3.0}, call_key="a"))
        asking = asyncio.ensure_future(world.call("odd__ask_much", {"times": 40}, call_key="b"))
        asks = await asking
        assert isinstance(asks, Asks)
        assert isinstance(await slow, ToolOutput)

        assert len(asks.questions) <= ROUNDS_MAX
        answers = {one.key: {"name": "Ada"} for one in asks.questions}
        output = await world.call("odd__ask_much", answers=answers, state=asks.state, call_key="b")

        said = [one.get("message", "") for one in content(output)]
        assert 40 - DOUBTED_MAX == sum("which call" in one for one in said)


async def test_answer_does_not_wait_behind_calls_that_wait_for_it(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup(concurrency=2)}) as world:
        await world.say("odd__echo")
        slow = asyncio.ensure_future(world.call("odd__slow", {"seconds": 0.3}, call_key="a"))
        # Two calls ran when the question came, so that calls are made one after another now.
        asks = await world.call("odd__ask", call_key="b")
        assert isinstance(asks, Asks)
        await slow
        others = [asyncio.ensure_future(world.say("odd__echo", text=word)) for word in ("c", "d")]
        await asyncio.sleep(0)

        answers = {asks.questions[0].key: {"name": "Ada"}}
        output = await world.call("odd__ask", answers=answers, state=asks.state, call_key="b")

        assert {"name": "Ada"} == content(output)["content"]
        assert ["c", "d"] == await asyncio.gather(*others)


async def test_answer_of_another_call_is_not_taken(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        asks = await world.call("odd__ask", call_key="mine")
        assert isinstance(asks, Asks)
        answers = {asks.questions[0].key: {"name": "Eve"}}

        with pytest.raises(ToolInterrupted):
            await world.call("odd__ask", answers=answers, state=asks.state, call_key="yours")


async def test_state_that_is_none_is_refused(world_of: Opener) -> None:
    async with world_of({"odd": hostile_setup()}) as world:
        rounds: dict[str, Any] = {
            "kind": "rounds",
            "kinds": {},
            "request_state": None,
            "number": -100,
        }
        for state in ("x", 1, {}, {"kind": "parked"}, {"kind": "rounds", "kinds": 1}, rounds):
            with pytest.raises(InvalidInput):
                await world.call("odd__ask", state=state)


async def test_folder_of_the_run_is_told_only_if_it_may_be(world_of: Opener) -> None:
    told = hostile_setup(roots=True)
    async with world_of({"odd": hostile_setup(), "told": told}) as world:
        refused = json.loads(await world.say("odd__roots"))
        shown = json.loads(await world.say("told__roots"))

        assert -32601 == refused.get("code") or -32600 == refused.get("code")
        assert [world.folder.as_uri()] == [root["uri"] for root in shown["roots"]]


# --- the newer era -------------------------------------------------------------------------


async def test_newer_server_asks_in_rounds(world_of: Opener) -> None:
    async with world_of({"new": modern_setup()}) as world:
        assert "2026-07-28" == await _protocol(world)
        asks = await world.call("new__ask")
        assert isinstance(asks, Asks)
        assert ["Who are you?"] == [one.prompt for one in asks.questions]

        output = await answered(world, "new__ask", asks, {"name": "Ada"})

        assert (
            ToolOutput(content="hello Ada", is_untrusted=True, structured=output.structured)
            == output
        )


async def test_rounds_go_on_after_a_restart_where_the_server_keeps_its_key(
    world_of: Opener,
) -> None:
    async with world_of({"new": modern_setup()}) as world:
        asks = await world.call("new__ask")
    async with world_of({"new": modern_setup()}) as world:
        output = await answered(world, "new__ask", asks, {"name": "Ada"})

        assert isinstance(output, ToolOutput)
        assert "hello Ada" == output.content


async def test_newer_server_asks_the_model(world_of: Opener) -> None:
    async with world_of({"new": modern_setup()}) as world:
        asks = await world.call("new__ask_model")
        assert isinstance(asks, Asks)
        assert ["model"] == [one.kind for one in asks.questions]

        output = await answered(world, "new__ask_model", asks, "bees")

        assert isinstance(output, ToolOutput)
        assert "the model says bees" == output.content


async def test_newer_server_tells_changes_to_those_who_listen(world_of: Opener) -> None:
    async with world_of({"new": modern_setup()}) as world:
        await world.call("new__grow")
        toolset = world.sources.all()[0]
        async with asyncio.timeout(10):
            while "new__grown" not in {tool.spec.name for tool in await toolset.tools()}:
                await asyncio.sleep(0.02)


async def _protocol(world: World) -> str:
    await world.reach("new")
    return world.connections.get("new").status.protocol
