"""Agents over a real engine and a real store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agency.testing.harness import Harness
from tests.integration.agent.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.threads.shutdown()


@pytest.fixture
def harness(world: World) -> Iterator[Harness]:
    with Harness(make_agent=world.make_agent) as opened:
        opened.model = world.model
        yield opened
