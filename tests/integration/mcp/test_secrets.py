"""A server that repeats the secret it was given repeats it to nobody but the daemon."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.domain.tool import Asks, ToolOutput
from agency.errors import ToolInterrupted
from tests.integration.mcp.conftest import Opener, World
from tests.mcp_servers import leaky

CANARY = "canary-4711-canary"


def setup(**more: Any) -> ConnectionSetup:
    told = {"args": [leaky.__file__], "env": {"SHOWN": "secret://shown"}, **more}
    return ConnectionSetup(command=sys.executable, sandbox=False, **told)


async def calls_of(world: World) -> list[object]:
    """Have the tool do all that it does."""
    failed, said = await world.call("leaky__tell"), await world.call("leaky__tell")
    asked = await world.call("leaky__tell")
    with pytest.raises(ToolInterrupted) as broken:
        await world.call("leaky__tell", call_key="another")

    assert isinstance(failed, ToolOutput)
    assert isinstance(said, ToolOutput)
    assert isinstance(asked, Asks)
    assert "secret://shown" in failed.content
    return [failed, said, asked, broken.value]


async def test_secret_of_a_server_is_in_nothing_that_it_says(
    world_of: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    async with world_of() as world:
        await world.vault.set("shown", CANARY, principal="owner")
        added = await world.connections.add("leaky", setup(), is_active=True, is_tested=True)
        seen: list[object] = [added, await world.connections.test("leaky")]
        await world.reach("leaky")
        seen += [world.connections.get("leaky"), await world.connections.tools("leaky")]
        seen += [world.connections.log("leaky"), *await calls_of(world), world.lines]

        await world.connections.change("leaky", is_active=False)

        seen.append(world.connections.log("leaky"))
        kept = b"".join(path.read_bytes() for path in Path(world.folder).glob("agency.db*"))
        assert CANARY not in repr(seen)
        assert CANARY.encode() not in kept
        assert CANARY not in caplog.text


async def test_last_words_of_a_server_that_has_died_are_shown_without_its_secret(
    world_of: Opener,
) -> None:
    words = ["-c", "import os, sys; sys.exit('It is ' + os.environ['SHOWN'])"]
    async with world_of() as world:
        await world.vault.set("shown", CANARY, principal="owner")
        await world.connections.add("leaky", setup(args=words), is_active=True, is_tested=False)
        await world.reach("leaky", ConnectionState.BACKOFF, ConnectionState.BROKEN)

        assert "It is secret://shown" in world.connections.log("leaky")


async def test_nobody_needs_to_look_how_a_call_ended_that_was_asking(
    world_of: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was to be read of it but a line of asyncio's, of an exception never retrieved."""
    async with world_of() as world:
        await world.vault.set("shown", CANARY, principal="owner")
        await world.connections.add("leaky", setup(), is_active=True, is_tested=True)
        await calls_of(world)
    gc.collect()

    assert [] == [one.message for one in caplog.records if one.levelno >= logging.ERROR]
