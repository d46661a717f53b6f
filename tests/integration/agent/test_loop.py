"""The loop: turns, calls, files, plans, helpers, structured answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency import Context, workflow
from agency.config.schema import Agent as AgentSettings
from agency.domain.tool import Asks, Question, ToolEffect, ToolOutput
from agency.errors import ToolUnavailable
from agency.ports.model import ChatReply, ChatRequest
from agency.ports.tool import ToolContext
from agency.testing.harness import Harness
from tests.integration.agent.world import TEXT, PlainSet, PlainTool, World, call, taking


def test_calls_are_made_and_their_results_come_back(harness: Harness, world: World) -> None:
    world.model.plays(
        "Write",
        call("write", path="a.txt", text="one"),
        [call("write", path="a.txt", text="two"), call("read", path="a.txt")],
        "Done: onetwo.",
    )

    run = harness.run("agent", {"message": "Write it."})

    assert run.error is None, run.error
    assert "Done: onetwo." == run.output["response"]
    assert ["a.txt"] == run.output["files"]
    assert (3, 3) == (run.output["usage"]["turns"], run.output["usage"]["tool_calls"])
    assert "onetwo" == run.step("call-2.1").value["content"]
    last = world.model.requests[-1].messages
    assert ["system", "user", "assistant", "tool", "assistant", "tool", "tool"] == [
        one.role for one in last
    ]


def test_each_reply_and_each_call_is_a_step_in_order(harness: Harness, world: World) -> None:
    world.model.plays("Go", call("read", path="none"), "There is none.")

    run = harness.run("agent", {"message": "Go."})

    assert ["reply#1", "call-1.0#1", "reply#2"] == [step.key for step in run.steps]
    reply = run.step("reply#1").value
    assert "native" == reply["judgement"]["rung"]
    assert reply["gauge"]["used"] > 0
    record = run.step("call-1.0").value
    assert ("read", {"path": "none"}, True) == (
        record["tool"], record["arguments"], record["is_error"],
    )  # fmt: skip
    assert "Error: There is no none." == world.model.requests[-1].messages[-1].content


def test_files_of_the_input_are_there_and_files_come_back(harness: Harness, world: World) -> None:
    world.model.plays("Add", call("write", path="in/a.txt", text=" more"), "Added.")

    run = harness.run(
        "agent",
        {
            "message": "Add.",
            "files": {"in/a.txt": "some", "b.bin": {"base64": "/w=="}},
            "return_files": ["in/*", "b.bin", "gone.txt"],
        },
    )

    assert {"in/a.txt": "some more", "b.bin": {"base64": "/w=="}} == run.output["returned"]
    assert ["gone.txt: there is no such file."] == run.output["left_out"]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x"])
def test_files_that_lead_out_of_the_workspace_are_refused(
    harness: Harness, world: World, path: str
) -> None:
    world.model.plays("Go", "never")

    run = harness.run("agent", {"message": "Go.", "files": {path: "x"}})

    assert "failed" == run.status
    assert [] == world.model.requests


def test_todos_are_shown_last_in_each_prompt_and_as_progress(
    harness: Harness, world: World
) -> None:
    items = [{"text": "look", "status": "done"}, {"text": "write", "status": "in_progress"}]
    world.model.plays("Plan", call("todo", items=items), call("read", path="x"), "Done.")

    run = harness.run("agent", {"message": "Plan it."})

    for request in world.model.requests[1:]:
        last = request.messages[-1]
        assert last.role == "user"
        assert "[x] look\n[>] write" in last.content
    assert items == run.output["todos"]
    assert (1, 2) == (run.progress["done"], run.progress["total"])
    assert run.progress["context"]["limit"] > run.progress["context"]["used"] > 0


def test_helper_works_in_a_clean_context_and_brings_files_back(
    harness: Harness, world: World
) -> None:
    world.model.plays(
        "Big",
        call("write", path="a.txt", text="one"),
        call("delegate", task="Small: add two.", tools=["write"], share_files=["a.txt"]),
        call("read", path="a.txt"),
        "All done.",
    )
    world.model.plays("Small", call("write", path="a.txt", text="two"), "Added two.")

    run = harness.run("agent", {"message": "Big task.", "budgets": {"turns": 20}})

    assert run.error is None, run.error
    assert "onetwo" == run.step("call-3.0").value["content"]
    assert "Added two." in run.step("call-2.0").value["content"]
    assert 6 == run.output["usage"]["turns"]
    helper = next(r for r in world.model.requests if r.messages[1].content.startswith("Small"))
    assert {"write"} == {tool.name for tool in helper.tools}
    assert all("Big" not in one.content for one in helper.messages)


def test_helper_at_its_budget_hands_on_what_it_has(harness: Harness, world: World) -> None:
    world.model.plays("Big", call("delegate", task="Small", share=0.05), "Half is better.")
    world.model.plays("Small", call("read", path="x"), "never said")

    run = harness.run("agent", {"message": "Big task.", "budgets": {"turns": 10}})

    record = run.step("call-1.0").value
    assert record["is_error"]
    assert "used up its turns" in record["content"]
    assert "completed" == run.status


def test_helpers_are_nested_only_so_deep(harness: Harness, world: World) -> None:
    world.agents["default"] = AgentSettings(delegation_depth=1)
    world.model.plays("Big", call("delegate", task="Small"), "Done.")
    world.model.plays("Small", "I have no helper.")

    harness.run("agent", {"message": "Big task."})

    offers = [{tool.name for tool in request.tools} for request in world.model.requests]
    assert [True, False, True] == ["delegate" in names for names in offers]


def test_workflow_is_started_only_if_it_is_listed(harness: Harness, world: World) -> None:
    @workflow("double", version="1")
    async def double(ctx: Context, input: int) -> int:
        return input * 2

    harness.add(double)
    world.agents["default"] = AgentSettings(workflows=["double"], tools_per_turn=20)
    world.model.plays(
        "Go",
        call("start_workflow", workflow="double", input=21),
        call("start_workflow", workflow="agent", input={"message": "x"}),
        "It is 42.",
    )

    run = harness.run("agent", {"message": "Go."})

    assert "42" == run.step("call-1.0").value["content"]
    assert "It is 42." == run.output["response"]
    assert ["reply#1", "call-1.0#1", "reply#2", "reply#3"] == [step.key for step in run.steps]


def test_waiting_costs_a_timer_and_no_turn(harness: Harness, world: World) -> None:
    world.model.plays("Later", call("wait", seconds=3600), "Now.")

    run = harness.run("agent", {"message": "Later."})
    assert ["timer"] == [wait.kind for wait in run.waits]
    harness.advance(hours=1)

    assert "Now." == harness.get(run).output["response"]


def test_person_is_asked_and_answers(harness: Harness, world: World) -> None:
    world.model.plays("Ask", call("ask_person", question="Which?", choices=["a", "b"]), "It is b.")

    run = harness.run("agent", {"message": "Ask."})
    assert "Which?" == run.wait("ask_person").show["prompt"]
    run = harness.answer(run, "b")

    assert "The person answered: b" == run.step("call-1.0").value["content"]
    assert "It is b." == run.output["response"]


def test_answer_obeys_its_schema(harness: Harness, world: World) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    world.model.plays("Count", call("read", path="x"), "There are five.", "five", '{"n": "5"}')

    run = harness.run("agent", {"message": "Count.", "schema": schema})

    assert run.error is None, run.error
    assert {"n": 5} == run.output["answer"]
    asked = world.model.requests[-1]
    assert (schema, ()) == (asked.response_schema, tuple(asked.tools))


def test_answer_that_never_obeys_is_a_failure_and_a_retry_asks_again(
    harness: Harness, world: World
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    world.model.plays("Count", *["no"] * 4, *['{"n": 1}'])

    run = harness.run("agent", {"message": "Count.", "schema": schema, "tools": []})

    assert "failed" == run.status
    assert run.error is not None
    assert "model_answer_unfit" == run.error.code
    assert 3 == len(world.model.requests)


def test_work_without_an_answer_is_asked_for_one(harness: Harness, world: World) -> None:
    empty = ChatReply(content="", model="", provider="")
    said = ["Written."]

    def answer(request: ChatRequest) -> Any:
        return said[0] if not request.tools and request.response_schema is None else empty

    world.model.plays("Write", call("write", path="a", text="b"), answer)

    run = harness.run("agent", {"message": "Write."})

    assert ("completed", "Written.") == (run.status, run.output and run.output["response"])


def test_loop_is_told_then_withdrawn_then_waits_for_a_hint(harness: Harness, world: World) -> None:
    again = call("read", path="x")
    other = call("read", path="y")
    world.model.plays("Go", *[again] * 3, *[again] * 12, other, "Done.")
    seen: list[tuple[str, ...]] = []

    def say(request: ChatRequest) -> Any:
        names = tuple(tool.name for tool in request.tools)
        seen.append(names)
        if any("look in y" in one.content for one in request.messages):
            return "Done."
        return again if "read" in names else call("send", to="nobody")

    world.model.scripts["Go"] = [say] * 40

    run = harness.run("agent", {"message": "Go."})

    assert "suspended" == run.status, run.error
    wait = run.wait("stuck")
    assert "stuck" in wait.show["prompt"]
    notes = [n["kind"] for s in run.steps if s.name == "reply" for n in s.value.get("notes", ())]
    assert "nudge" in notes
    run = harness.answer(run, "look in y")
    assert "Done." == run.output["response"]


def test_tool_that_is_away_is_waited_for(harness: Harness, world: World) -> None:
    tries = []

    async def flaky(context: ToolContext) -> str:
        tries.append(1)
        if len(tries) < 4:
            raise ToolUnavailable("away")
        return "There."

    world.extra.append(PlainSet("far", [PlainTool("flaky", flaky, taking())]))
    world.model.plays("Go", call("flaky"), "Done.")

    run = harness.run("agent", {"message": "Go."})

    assert ("completed", 4) == (run.status, len(tries))


def test_late_tool_is_stopped_and_the_model_is_told(harness: Harness, world: World) -> None:
    ended = []

    async def slow(context: ToolContext) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)
        return ""

    world.extra.append(PlainSet("far", [PlainTool("slow", slow, taking(), timeout_s=0.05)]))
    world.model.plays("Go", call("slow"), "It was late.")

    run = harness.run("agent", {"message": "Go."})

    assert [1] == ended
    assert "did not end within 0.05 s" in run.step("call-1.0").value["content"]
    assert "completed" == run.status


def test_tool_that_raises_is_an_error_for_the_model(harness: Harness, world: World) -> None:
    async def broken(context: ToolContext) -> str:
        raise KeyError("oops")

    world.extra.append(PlainSet("far", [PlainTool("broken", broken, taking())]))
    world.model.plays("Go", call("broken"), "It is broken.")

    run = harness.run("agent", {"message": "Go."})

    assert "broken failed with KeyError" in run.step("call-1.0").value["content"]
    assert "completed" == run.status


def test_questions_of_a_tool_are_put_to_people_and_to_the_model(
    harness: Harness, world: World
) -> None:
    async def asks(context: ToolContext) -> ToolOutput | Asks:
        if "who" not in context.answers:
            return Asks(
                questions=[
                    Question(key="who", kind="input", prompt="Who?", schema=TEXT),
                    Question(
                        key="say",
                        kind="model",
                        prompt="Greet",
                        messages=[{"role": "user", "content": "Greet shortly"}],
                    ),
                ],
                state={"round": 1},
            )
        said = context.answers["say"]["content"]
        return ToolOutput(content=f"{context.answers['who']}: {said} ({context.state})")

    world.extra.append(PlainSet("far", [PlainTool("asks", asks, taking())]))
    world.model.plays("Go", call("asks"), "Done.")
    world.model.plays("Greet", "Hello")

    run = harness.run("agent", {"message": "Go."})
    assert "Who?" == run.wait("asks").show["prompt"]
    run = harness.answer(run, "Ada")

    assert "Ada: Hello ({'round': 1})" == run.step("call-1.0.1").value["content"]
    assert (1, "completed") == (run.output["usage"]["tool_calls"], run.status)


def test_work_that_goes_on_elsewhere_is_looked_at_and_never_begun_again(
    harness: Harness, world: World
) -> None:
    """In between the run sleeps, also over restarts."""
    begun, looks = [], []

    async def slow(context: ToolContext) -> ToolOutput | Asks:
        if context.state is None:
            begun.append(context.call_key)
        else:
            looks.append(context.state["looks"])
            if context.state["looks"] == 3:
                return ToolOutput(content="It is done.")
        state = {"looks": len(looks) + 1}
        return Asks(questions=(), state=state, is_begun=True, again_s=60.0)

    world.extra.append(PlainSet("far", [PlainTool("slow", slow, taking(), ToolEffect.ONCE)]))
    world.model.plays("Go", call("slow"), "Done.")

    run = harness.run("agent", {"message": "Go."})
    states = [run.status]
    for _ in range(3):
        harness.restart()
        harness.advance(seconds=61)
        states.append(harness.get(run).status)

    assert ["suspended"] * 3 + ["completed"] == states
    assert (1, [1, 2, 3]) == (len(begun), looks)
    done = harness.get(run)
    assert "It is done." == done.step("call-1.0.3").value["content"]
    assert 1 == done.output["usage"]["tool_calls"]


def test_effect_in_doubt_is_asked_about(harness: Harness, world: World) -> None:
    async def late(context: ToolContext) -> str:
        await asyncio.Event().wait()
        return ""

    tool = PlainTool("late", late, taking(), ToolEffect.ONCE, timeout_s=0.05)
    world.extra.append(PlainSet("far", [tool]))
    world.model.plays("Go", call("late"), "Done.")

    run = harness.run("agent", {"message": "Go."})
    assert ["decision"] == [wait.kind for wait in run.waits]
    run = harness.answer(run, {"decision": "done", "result": "It has arrived."})

    assert "completed" == run.status
    assert "It has arrived." == world.model.requests[-1].messages[-1].content


def test_runs_of_one_session_see_calls_with_their_results(harness: Harness, world: World) -> None:
    world.model.plays("First", call("read", path="x"), "Nothing there.")
    world.model.plays("Second", "I said: nothing there.")

    harness.run("agent", {"message": "First."}, session_id="s")
    harness.run("agent", {"message": "Second."}, session_id="s")

    roles = [one.role for one in world.model.requests[-1].messages]
    assert ["system", "user", "assistant", "tool", "assistant", "user"] == roles
    assert world.model.requests[-1].messages[2].tool_calls[0].name == "read"


def test_secrets_are_in_no_journal_prompt_or_session(harness: Harness, world: World) -> None:
    world.redact = lambda text: text.replace("hunter22", "secret://door")

    async def leak(context: ToolContext) -> ToolOutput:
        return ToolOutput(content="key hunter22", structured={"hunter22": ["hunter22"]})

    world.extra.append(PlainSet("far", [PlainTool("leak", leak, taking())]))
    world.model.plays("Open hunter22"[:4], call("leak"), "It is hunter22.")

    run = harness.run("agent", {"message": "Open with hunter22."}, session_id="s")

    assert "It is secret://door." == run.output["response"]
    assert all("hunter22" not in str(step.value) for step in run.steps)
    assert all("hunter22" not in str(request) for request in world.model.requests)
