"""Agents as A2A agents: files that go in and out, conversations, questions about tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict

from agency.config.schema import Agent as AgentSettings
from agency.errors import InvalidInput, SessionBusy
from agency.files.folder import Bounds
from agency.files.workspaces import FileWorkspaces
from agency.workflows.agent.catalogue import Catalogue
from tests.integration.agent.world import World, call
from tests.integration.tasks.desk import AT_ONCE, Desk, data, open_desk, state, text, texts


@asynccontextmanager
async def agents_desk(folder: Path, world: World) -> AsyncIterator[Desk]:
    """A desk at which two agents are spoken to."""
    world.agents["writer"] = AgentSettings(ask=["send"])
    async with open_desk(folder) as desk:
        store = desk.house.store
        agent = world.make_agent(store, world.model, folder)
        workspaces = FileWorkspaces(
            folder,
            versions=store.versions,
            bounds=Bounds(bytes_max=1 << 20, files_max=100),
            threads=world.threads,
        )
        desk.house.registry.add(agent.definition())
        desk.speak_for(Catalogue(agent.means), workspaces)
        yield desk


@pytest.fixture
def world() -> Any:
    made = World()
    yield made
    made.threads.shutdown()


def parts(task: pb.Task) -> dict[str, Any]:
    return {one["artifactId"]: one["parts"] for one in MessageToDict(task).get("artifacts", [])}


async def test_files_go_in_with_a_message_and_come_out_as_artifacts(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.a2a.artifacts.INLINE_BYTES_MAX", 10)
    world.model.plays(
        "Read it",
        call("read", path="in.txt"),
        [call("write", path="a.txt", text="short"), call("write", path="ü.bin", text="x" * 20)],
        "There.",
    )
    async with agents_desk(tmp_path, world) as desk:
        task = await desk.send(
            "writer",
            "Read it",
            pb.Part(raw=b"what is in it", filename="../in.txt"),
            pb.Part(url="https://example.com/more", filename="more"),
        )

        url = f"http://desk.example/api/v1/runs/{task.id}/files/%C3%BC.bin"
        assert {
            "output": [{"text": "There."}],
            "file:a.txt": [{"raw": "c2hvcnQ=", "filename": "a.txt", "mediaType": "text/plain"}],
            "file:ü.bin": [
                {"url": url, "filename": "ü.bin", "mediaType": "application/octet-stream"}
            ],
        } == parts(task)
        asked = world.model.requests[0].messages[-1].content
        assert "more: https://example.com/more" in asked
        assert "what is in it" in world.model.requests[1].messages[-1].content


async def test_context_is_a_conversation_of_its_caller_alone(tmp_path: Path, world: World) -> None:
    world.model.plays("First", "One.", "Two.")
    world.model.plays("Second", "Two.")
    async with agents_desk(tmp_path, world) as desk:
        first = await desk.send("writer", "First", context_id="c")
        second = await desk.send("writer", "Second", context_id="c")
        assert {"output": [{"text": "Two."}]} == parts(second)
        mine = [one.content for one in world.model.requests[-1].messages]
        await desk.send("writer", "Second", context_id="c", caller="ben")
        others = [one.content for one in world.model.requests[-1].messages]

        assert any("One." in said for said in mine)
        assert not any("One." in said for said in others)
        assert "c" == first.context_id
        assert "c" not in {first.metadata["sessionId"]}


async def test_message_to_an_agent_at_work_is_its_next_task(tmp_path: Path, world: World) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Any) -> str:
        begun.set()
        await goes_on.wait()
        return "One."

    world.model.plays("First", wait, "Two.")
    world.model.plays("Second", "Two.")
    async with agents_desk(tmp_path, world) as desk:
        first = await desk.send("writer", "First", configuration=AT_ONCE)
        await begun.wait()
        second = await desk.send(
            "writer", "Second", task_id=first.id, message_id="m", configuration=AT_ONCE
        )
        again = await desk.send(
            "writer", "Second", task_id=first.id, message_id="m", configuration=AT_ONCE
        )
        assert (second.id, first.context_id) == (again.id, second.context_id)
        assert first.id != second.id
        assert "submitted" == state(second)
        goes_on.set()
        assert [["One."], ["Two."]] == [
            texts((await desk.ended("writer", one.id)).artifacts[0].parts)
            for one in (first, second)
        ]
        # Where the one that it was said to has ended it would be refused, if it were not the same.
        late = await desk.send("writer", "Second", task_id=first.id, message_id="m")
        assert second.id == late.id


async def test_message_to_a_conversation_that_is_held_is_refused(
    tmp_path: Path, world: World
) -> None:
    world.model.is_away = True
    async with agents_desk(tmp_path, world) as desk:
        task = await desk.send("writer", "First", context_id="c", configuration=AT_ONCE)
        await desk.house.suspended(task.id)
        await desk.house.runs.suspend(task.id, reason="look", wait_s=5)

        for more in ({}, {"task_id": task.id}):
            with pytest.raises(SessionBusy):
                await desk.send("writer", "Second", context_id="c", **more)
        held = await desk.get("writer", task.id)
        assert "working" == state(held)
        assert "holds it" in held.status.message.parts[0].text


async def test_question_about_a_tool_is_answered_by_a_message(tmp_path: Path, world: World) -> None:
    world.model.plays("Send it", call("send", to="bob"), "Sent.")
    async with agents_desk(tmp_path, world) as desk:
        task = await desk.send("writer", "Send it", context_id="c")
        assert "input_required" == state(task)
        assert 0 == world.sent["bob"]
        # A message in its context is for it, as it is in a conversation.
        task = await desk.send("writer", data({"decision": "approve"}), context_id="c")

        assert {"output": [{"text": "Sent."}]} == parts(task)
        assert 1 == world.sent["bob"]


async def test_task_at_its_limit_has_failed_with_what_there_is(
    tmp_path: Path, world: World
) -> None:
    world.model.plays("Write", call("write", path="a.txt", text="x"), "Half of it.", "More.")
    async with agents_desk(tmp_path, world) as desk:
        task = await desk.send("writer", "Write", data({"max_steps": 1}))

        assert "failed" == state(task)
        assert "budget of turns was used up" in task.status.message.parts[0].text
        assert "limit_reached" == task.metadata["runStatus"]
        assert [{"raw": "eA==", "filename": "a.txt", "mediaType": "text/plain"}] == (
            parts(task)["file:a.txt"]
        )


async def test_data_with_members_of_the_input_is_these(tmp_path: Path, world: World) -> None:
    world.model.plays("Count", '{"n": 3}')
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with agents_desk(tmp_path, world) as desk:
        task = await desk.send("writer", "Count", data({"schema": schema}))
        assert {"data": {"n": 3}} in parts(task)["output"]
        with pytest.raises(InvalidInput, match="needs a text"):
            await desk.send("writer", text("  "))
