"""Results and arguments at the border of what a run can take: it goes on with all of them."""

from __future__ import annotations

from typing import Any

import pytest

from agency.domain.tool import Asks, Question
from agency.errors import ContextTooLong, ModelBusy, ModelNotFound, ModelTimedOut
from agency.ports.model import ChatRequest, ContextLimits
from agency.ports.tool import ToolContext
from agency.testing.harness import Harness
from agency.workflows.agent.context.estimate import units_of_request
from tests.integration.agent.test_budgets import resume, retry
from tests.integration.agent.world import TEXT, PlainSet, PlainTool, Played, World, call, taking

TOKENS = 2048


class Small(Played):
    """A small context; what does not fit must never be sent."""

    async def context(self, model: str) -> ContextLimits:
        return ContextLimits(configured=TOKENS)

    async def chat(self, request: ChatRequest, **more: Any) -> Any:
        assert units_of_request(request) <= TOKENS * 3.3
        return await super().chat(request, **more)


@pytest.fixture
def model(harness: Harness, world: World) -> Small:
    made = Small()
    world.model = harness.model = made
    return made


async def tell(context: ToolContext, text: str) -> str:
    return text * 5000


@pytest.mark.parametrize("sign", ["漢", "ж", "\U0001f600"], ids=["three", "two", "four"])
def test_result_in_another_script_is_cut_by_its_bytes(
    harness: Harness, world: World, model: Small, sign: str
) -> None:
    world.extra.append(PlainSet("far", [PlainTool("tell", tell, taking(text=TEXT))]))
    model.plays("Tell", call("tell", text=sign), call("tell", text=sign), "Told.")

    run = harness.run("agent", {"message": "Tell.", "tools": ["tell"]})

    assert run.error is None, run.error
    assert "The whole is in the file" in run.step("call-1.0").value["content"]


def test_long_answer_of_a_helper_is_cut_to_what_a_small_context_takes(
    harness: Harness, world: World, model: Small
) -> None:
    model.plays("Ask", call("delegate", task="Help: tell."), "Told.")
    model.plays("Help", " ".join(str(i) for i in range(3000)))

    run = harness.run("agent", {"message": "Ask.", "tools": ["agent"]})

    assert run.error is None, run.error
    assert "The whole is in the file" in run.step("call-1.0").value["content"]


@pytest.mark.parametrize(
    "until", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"], ids=["late", "early"]
)
def test_moment_beyond_the_calendar_is_refused(harness: Harness, world: World, until: str) -> None:
    world.model.plays("Wait", call("wait", until=until), "I cannot.")

    run = harness.run("agent", {"message": "Wait.", "tools": ["wait"]})

    assert "completed" == run.status, run.error
    assert run.step("call-1.0").value["is_error"]


def test_files_are_handed_out_at_a_limit_too(harness: Harness, world: World) -> None:
    world.model.plays("Write", *[call("write", path="a.txt", text="x")] * 3, "Done.")
    wanted = {"message": "Write.", "max_steps": 2, "return_files": ["*.txt"]}

    run = harness.run("agent", wanted)
    assert ("limit_reached", {"a.txt": "xx"}) == (run.status, run.output["returned"])
    run = retry(harness, run)

    assert ("completed", {"a.txt": "xxx"}) == (run.status, run.output["returned"])


def test_files_of_a_helper_at_its_limit_are_brought_back(harness: Harness, world: World) -> None:
    world.model.plays(
        "Ask",
        call("delegate", task="Help: write.", share_files=["a.txt"], share=0.2),
        call("read", path="a.txt"),
        "Done.",
    )
    world.model.plays("Help", *[call("write", path="a.txt", text="x")] * 9, "Done.")

    run = harness.run("agent", {"message": "Ask.", "budgets": {"turns": 12}})

    assert "completed" == run.status, run.error
    assert "xx" == run.step("call-2.0").value["content"]


def test_hint_of_a_person_outlives_a_prompt_that_was_too_long(
    harness: Harness, world: World
) -> None:
    refused: list[int] = []

    def say(request: ChatRequest) -> Any:
        if not refused:
            refused.append(1)
            return ContextTooLong("too long", prompt_tokens=1380, context_tokens=3000)
        assert "Try the other one." in [one.content for one in request.messages]
        return "Found."

    for head in ("Agent", "What was", "Called"):
        world.model.scripts[head] = ["They called read."] * 10

    requests = world.model.requests
    reads = [lambda request: call("read", path="none") if len(requests) < 7 else say(request)]
    world.model.plays("Read", *reads * 20)
    run = harness.run("agent", {"message": "Read.", "tools": ["read"]})
    assert "suspended" == run.status

    run = resume(harness, run, "Try the other one.")

    assert "completed" == run.status, run.error


@pytest.mark.parametrize(
    "error",
    [ModelBusy("the lane is full"), ModelTimedOut("total", 60.0, "Wait."), ModelNotFound("small")],
    ids=["busy", "slow", "absent"],
)
def test_room_is_made_although_the_model_for_summaries_fails(
    harness: Harness, world: World, model: Small, error: Exception
) -> None:
    failed: list[int] = []

    def condense(request: ChatRequest) -> Any:
        if not failed:
            failed.append(1)
            return error
        return "They called tell."

    world.extra.append(PlainSet("far", [PlainTool("tell", tell, taking(text=TEXT))]))
    for head in ("Agent", "What was", "Called"):
        model.scripts[head] = [condense] * 10
    requests = model.requests
    model.scripts["Tell"] = [
        lambda _: call("tell", text=f"{len(requests)} ") if len(requests) < 12 else "Told."
    ] * 20

    run = harness.run("agent", {"message": "Tell.", "tools": ["tell"]})

    assert "completed" == run.status, run.error
    assert failed


class Default(Played):
    """A context as servers give it that nobody has configured."""

    async def context(self, model: str) -> ContextLimits:
        return ContextLimits(allocated=4096)

    async def chat(self, request: ChatRequest, **more: Any) -> Any:
        assert units_of_request(request) <= 4096 * 3.3
        return await super().chat(request, **more)


def test_long_results_leave_room_for_as_many_tools_as_there_are(
    harness: Harness, world: World
) -> None:
    model = world.model = harness.model = Default()
    description = "It says more than anybody wants to know about the text that it is given. " * 5
    tools = [
        PlainTool(name, tell, taking(text=TEXT), description=description)
        for name in ("tell", *(f"other{i}" for i in range(7)))
    ]
    world.extra.append(PlainSet("far", tools))
    for head in ("Agent", "What was", "Called"):
        model.scripts[head] = ["They called tell. " * 200] * 60
    model.scripts["Tell"] = [
        lambda _: (
            call("tell", text=f"{len(model.requests)} ") if len(model.requests) < 20 else "Told."
        )
    ] * 20

    run = harness.run("agent", {"message": "Tell.", "tools": ["far"]})

    assert "completed" == run.status, run.error


@pytest.mark.parametrize("count", [12, 400])
def test_many_calls_at_once_are_made_as_far_as_there_is_room(
    harness: Harness, world: World, count: int
) -> None:
    model = world.model = harness.model = Default()
    world.extra.append(PlainSet("far", [PlainTool("tell", tell, taking(text=TEXT))]))
    for head in ("Agent", "What was", "Called"):
        model.scripts[head] = ["They called tell."] * 60
    model.scripts["Tell"] = [
        lambda _: (
            [call("tell", text=f"{len(model.requests)}.{i} ") for i in range(count)]
            if len(model.requests) < 8
            else "Told."
        )
    ] * 20

    run = harness.run("agent", {"message": "Tell.", "tools": ["far"]})

    assert "completed" == run.status, run.error
    assert 3 <= sum(step.name.startswith("call-1.") for step in run.steps) < count
    told = model.requests[1].messages
    assert f"{count} calls at once" in told[-1].content
    calls = [one for message in told for one in message.tool_calls]
    assert len(calls) == sum(message.role == "tool" for message in told)


async def ask_much(context: ToolContext) -> Asks:
    said = [{"role": "user", "content": "word " * 10_000}]
    return Asks(questions=[Question(key="q", kind="model", prompt="Sum up.", messages=said)])


def test_tool_that_asks_the_model_too_much_is_told_so(harness: Harness, world: World) -> None:
    model = world.model = harness.model = Default()
    world.extra.append(PlainSet("far", [PlainTool("much", ask_much, taking())]))
    model.plays("Ask", call("much"), "It asks too much.")

    run = harness.run("agent", {"message": "Ask.", "tools": ["far"]})

    assert ("completed", 2) == (run.status, len(model.requests)), run.error
    told = model.requests[-1].messages[-1].content
    assert "the context of" in told
    assert "4096" in told


def test_long_files_are_written_in_a_small_context(harness: Harness, world: World) -> None:
    model = world.model = harness.model = Default()
    texts = [f"line {i}\n" * 900 for i in range(4)]
    for head in ("Agent", "What was", "Called"):
        model.scripts[head] = ["They wrote files."] * 60
    model.scripts["Write"] = [
        lambda _: (
            call("write", path=f"{made}.txt", text=texts[made])
            if (made := world_written(model)) < 4
            else "Written."
        )
    ] * 20

    run = harness.run("agent", {"message": "Write.", "tools": ["write"], "return_files": ["*.txt"]})

    assert "completed" == run.status, run.error
    assert {f"{i}.txt": text for i, text in enumerate(texts)} == run.output["returned"]
    (shown,) = model.requests[1].messages[-2].tool_calls
    assert "characters left out" in shown.arguments["text"]


def world_written(model: Played) -> int:
    """Count the turns of the task: requests that offer tools, but for the one under way."""
    return sum(bool(one.tools) for one in model.requests) - 1
