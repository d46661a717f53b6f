"""What may be started from outside: found by its name as it is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency import Context, workflow
from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Publish
from agency.errors import NotPublished
from agency.web.published import Publication, PublishedKind
from agency.workflows.agent.catalogue import Catalogue
from tests.integration.agent.world import World
from tests.integration.engine.house import open_house


@workflow("plain")
async def plain(_: Context) -> None:
    """Does nothing."""


@workflow("writer")
async def writer(_: Context, text: str) -> str:
    return text


@workflow("hidden")
async def hidden(_: Context, text: str) -> str:
    return text


async def test_what_is_found_by_its_name_is_what_is_listed(tmp_path: Path) -> None:
    world = World()
    world.agents |= {"writer": AgentSettings(description="Writes."), "secret": AgentSettings()}
    async with open_house(tmp_path, plain, writer, hidden) as house:
        agent = world.make_agent(house.store, world.model, tmp_path)
        house.registry.add(agent.definition())
        wanted = Publish(agents=["default", "wr*"], workflows=["plain", "writer", "agent"])
        publication = Publication(wanted, house.runs, Catalogue(agent.means))
        listed = publication.list()

        assert ["default", "plain", "writer"] == [one.name for one in listed]
        # The agent of that name, and not the workflow.
        assert (PublishedKind.AGENT, "Writes.") == (listed[2].kind, listed[2].description)
        assert [True, False, True] == [one.takes_input for one in listed]
        assert list(listed) == [publication.get(one.name) for one in listed]
        for name in ("hidden", "secret", "agent", "nobody", ""):
            with pytest.raises(NotPublished):
                publication.get(name)
    world.threads.shutdown()
