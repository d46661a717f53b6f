"""An agent asks about pictures, and the model of the role ``vision`` looks at them."""

from __future__ import annotations

import base64

import pytest

from agency.domain.tool import ToolOutput
from agency.errors import ModelLacks
from agency.ports.tool import ToolContext
from agency.testing.harness import Harness
from agency.workflows.agent import looking
from tests.integration.agent.world import PlainSet, PlainTool, Say, World, call, taking

PNG = b"\x89PNG\r\n\x1a\n and the rest of it"
FILES = {"cat.png": {"base64": base64.b64encode(PNG).decode()}, "a.txt": "no picture"}
LOOK = call("look_at_image", path="cat.png", question="What is on it?")


@pytest.fixture(autouse=True)
def sees(world: World) -> None:
    world.sees = True


def test_picture_is_looked_at_once_and_stays_out_of_the_conversation(
    harness: Harness, world: World
) -> None:
    world.model.plays("Look", LOOK, "It is a cat.")
    world.model.plays("What is on it?", "A cat, asleep.")

    run = harness.run("agent", {"message": "Look at it.", "files": FILES})

    assert run.error is None, run.error
    assert "It is a cat." == run.output["response"]
    shown = [one for one in world.model.requests if any(part.images for part in one.messages)]
    assert [[PNG]] == [list(one.messages[-1].images) for one in shown]
    assert world.model.requests[-1].messages[-1].content.endswith("\nA cat, asleep.")
    assert "A cat, asleep." == run.step("call-1.0-look").value["said"]
    # Two turns and what was asked about the picture.
    assert 330 == run.output["usage"]["tokens"]


@pytest.mark.parametrize(
    ("path", "told"),
    [("a.txt", "is no picture"), ("none.png", "cannot be read"), ("../x.png", "cannot be read")],
    ids=["text", "missing", "outside"],
)
def test_what_is_no_picture_is_told_to_the_model_and_sent_to_nobody(
    harness: Harness, world: World, path: str, told: str
) -> None:
    world.model.plays("Look", call("look_at_image", path=path, question="What?"), "I cannot.")

    run = harness.run("agent", {"message": "Look at it.", "files": FILES})

    assert told in world.model.requests[-1].messages[-1].content
    assert ("I cannot.", 2) == (run.output["response"], len(world.model.requests))


def test_picture_that_is_too_large_is_not_read(
    harness: Harness, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "IMAGE_BYTES_MAX", 10)
    world.model.plays("Look", LOOK, "Too large.")

    harness.run("agent", {"message": "Look at it.", "files": FILES})

    assert "10 are the most" in world.model.requests[-1].messages[-1].content


def test_model_that_is_blind_is_an_error_for_the_agent(harness: Harness, world: World) -> None:
    blind: Say = ModelLacks("It cannot see pictures.", capability="vision")
    world.model.plays("Look", LOOK, "I cannot.")
    world.model.plays("What is on it?", blind)

    run = harness.run("agent", {"message": "Look at it.", "files": FILES})

    assert "I cannot." == run.output["response"]
    assert "It cannot see pictures." in world.model.requests[-1].messages[-1].content


async def shoot(context: ToolContext) -> ToolOutput:
    await context.workspace.put("pictures/x.png", PNG)
    return ToolOutput(content="In pictures/x.png.", files=("pictures/x.png",))


def test_picture_that_a_repeatable_tool_has_brought_stays(harness: Harness, world: World) -> None:
    world.extra = [PlainSet("camera", [PlainTool("shoot", shoot, taking())])]
    look = call("look_at_image", path="pictures/x.png", question="What is on it?")
    world.model.plays("Look", call("shoot"), look, "It is a cat.")
    world.model.plays("What is on it?", "A cat.")

    run = harness.run("agent", {"message": "Look out of the window."})

    assert ("It is a cat.", ["pictures/x.png"]) == (run.output["response"], run.output["files"])
    assert "A cat." == run.step("call-2.0-look").value["said"]


def test_tool_is_not_there_without_models_that_see(harness: Harness, world: World) -> None:
    world.sees = False
    world.model.plays("Look", "I have no eyes.")

    harness.run("agent", {"message": "Look at it."})

    assert "look_at_image" not in [one.name for one in world.model.requests[0].tools]
