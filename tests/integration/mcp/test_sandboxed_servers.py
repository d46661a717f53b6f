"""Servers in the sandbox, as they are by default."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agency.config.schema import Settings
from agency.domain.connection import ConnectionSetup
from agency.domain.tool import ToolOutput
from agency.ports.sandbox import Sandbox
from agency.tools.sandbox.sandbox import make_sandbox
from tests.integration.mcp.conftest import HOSTILE, Opener, Wait
from tests.integration.mcp.test_real_servers import setup_of


@pytest.fixture
async def sandbox(tmp_path: Path) -> Sandbox:
    """The best that there is here."""
    settings = Settings()
    server = replace(settings.server, data_dir=str(tmp_path))
    made = make_sandbox(replace(settings, server=server))
    await made.ready()
    if made.choice.driver is None:
        pytest.skip(f"there is no sandbox here: {made.fix}")
    return made


async def test_server_writes_its_folder_and_reads_nothing_that_is_not_named(
    world_of: Opener, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("place")
    data, other = place / "data", place / "other"
    for folder in (data, other):
        folder.mkdir()
        (folder / "a.txt").write_text("content")
    # The server itself would allow both; the sandbox does not show the other.
    setup = setup_of("filesystem", str(data), str(place), cwd=str(data), sandbox=True)
    async with world_of({"fs": setup}, sandbox=sandbox) as world:
        assert "content" == await world.say("fs__read_text_file", path=str(data / "a.txt"))
        await world.say("fs__write_file", path=str(data / "b.txt"), content="new")
        refused = await world.call("fs__read_text_file", {"path": str(other / "a.txt")})

        assert "new" == (data / "b.txt").read_text()
        assert isinstance(refused, ToolOutput)
        assert refused.is_error
        assert sandbox.name == world.connections.get("fs").status.sandbox


async def test_words_of_a_sandboxed_server_are_shown_while_it_runs(
    world_of: Opener, sandbox: Sandbox, until: Wait
) -> None:
    setup = ConnectionSetup(command=sys.executable, args=[str(HOSTILE)], timeouts_s={"hang": 0.5})
    async with world_of({"odd": setup}, sandbox=sandbox) as world:
        with pytest.raises(Exception, match="longer than"):
            await world.call("odd__hang", {"word": "me"})

        await until(lambda: "cancelled me" in world.connections.log("odd"))


async def test_program_that_is_not_there_is_told(world_of: Opener, sandbox: Sandbox) -> None:
    async with world_of(sandbox=sandbox) as world:
        await world.connections.add(
            "x", ConnectionSetup(command="/no/such"), is_active=True, is_tested=False
        )
        tested = await world.connections.test("x")

        assert "there is no program '/no/such' that can be run" == tested.reason
