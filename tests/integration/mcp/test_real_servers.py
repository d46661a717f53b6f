"""Servers that others have written, of both eras: listed, called, killed under load and back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agency.domain.connection import ConnectionSetup, ConnectionState
from agency.domain.tool import ToolOutput
from agency.tools.mcp.places import marked
from agency.tools.mcp.reaping import MARK
from tests.integration.mcp.conftest import Opener, Wait, World
from tests.tools_setup.mcp_servers import find_server

OLDER, NEWER = "2025-11-25", "2026-07-28"


def setup_of(name: str, *args: str, **more: Any) -> ConnectionSetup:
    """Make the setup of a server, or skip the test."""
    program = find_server(name)
    if program is None:
        pytest.skip(f"the MCP server {name} is not installed; `make setup` installs it")
    told = {"sandbox": False, "timeout_s": 30.0, **more}
    return ConnectionSetup(command=program, args=args, **told)


async def listed(world: World, name: str) -> set[str]:
    await world.reach(name)
    return {tool.name for tool in world.connections.get(name).connection.tools}


async def test_filesystem_server(world_of: Opener, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with world_of({"fs": setup_of("filesystem", str(data), trust_hints=True)}) as world:
        assert {"read_text_file", "write_file", "list_directory"} <= await listed(world, "fs")
        assert OLDER == world.connections.get("fs").status.protocol
        path = str(data / "a.txt")
        await world.say("fs__write_file", path=path, content="hello")

        assert "hello" == (data / "a.txt").read_text()
        assert "hello" == await world.say("fs__read_text_file", path=path)
        outside = await world.call("fs__read_text_file", {"path": "/etc/passwd"})
        assert isinstance(outside, ToolOutput)
        assert outside.is_error
        assert "allow" == (await world.tool("fs__read_text_file")).permission
        assert "ask" == (await world.tool("fs__write_file")).permission


async def test_everything_server(world_of: Opener) -> None:
    async with world_of({"all": setup_of("everything")}) as world:
        assert {"echo", "get-sum"} <= await listed(world, "all")
        assert "Echo: hi" == await world.say("all__echo", message="hi")
        structured = await world.call("all__get-structured-content", {"location": "New York"})
        image = await world.say("all__get-tiny-image")
        link = await world.say("all__get-resource-links", count=1)

        assert isinstance(structured, ToolOutput)
        assert "temperature" in structured.structured
        assert "[image image/png, " in image
        assert "[resource " in link


async def test_memory_server_keeps_what_it_was_told(world_of: Opener, tmp_path: Path) -> None:
    setup = setup_of("memory", env={"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")})
    entity = {"name": "Ada", "entityType": "person", "observations": ["counts"]}
    async with world_of({"mem": setup}) as world:
        await world.say("mem__create_entities", entities=[entity])
    async with world_of({"mem": setup}) as world:
        graph = json.loads(await world.say("mem__read_graph"))

        assert ["Ada"] == [one["name"] for one in graph["entities"]]


async def test_thinking_server(world_of: Opener) -> None:
    async with world_of({"think": setup_of("sequential-thinking")}) as world:
        assert {"sequentialthinking"} == await listed(world, "think")
        thought = {"thought": "one", "nextThoughtNeeded": False, "thoughtNumber": 1}
        said = await world.say("think__sequentialthinking", totalThoughts=1, **thought)

        assert 1 == json.loads(said)["thoughtNumber"]


async def test_time_server(world_of: Opener) -> None:
    async with world_of({"time": setup_of("time")}) as world:
        assert {"get_current_time", "convert_time"} == await listed(world, "time")
        assert NEWER == world.connections.get("time").status.protocol
        said = json.loads(await world.say("time__get_current_time", timezone="UTC"))

        assert "UTC" == said["timezone"]


async def test_git_server(world_of: Opener, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first of all"], check=True)
    async with world_of({"git": setup_of("git", "--repository", str(tmp_path))}) as world:
        assert {"git_log", "git_status"} <= await listed(world, "git")

        assert "first of all" in await world.say("git__git_log", repo_path=str(tmp_path))


async def test_fetch_server_tells_what_it_cannot_do(world_of: Opener) -> None:
    async with world_of({"web": setup_of("fetch")}) as world:
        assert {"fetch"} == await listed(world, "web")
        output = await world.call("web__fetch", {"url": "http://127.0.0.1:1/"})

        assert isinstance(output, ToolOutput)
        assert output.is_error


@pytest.mark.parametrize("name", ["everything", "time"])
async def test_server_is_killed_under_load_and_no_repeatable_call_fails(
    world_of: Opener, name: str, until: Wait
) -> None:
    tool, arguments = {
        "everything": ("srv__echo", {"message": "x"}),
        "time": ("srv__get_current_time", {"timezone": "UTC"}),
    }[name]
    async with world_of({"srv": setup_of(name, repeatable=["*"])}) as world:
        await world.reach("srv")
        done: list[bool] = []

        async def work(number: int) -> None:
            for turn in range(25):
                output = await world.call(tool, arguments, call_key=f"{number}-{turn}")
                assert isinstance(output, ToolOutput)
                done.append(not output.is_error)

        load = asyncio.gather(*(work(number) for number in range(4)))
        for threshold in (20, 60):
            least = threshold
            await until(lambda: len(done) >= least or load.done())  # noqa: B023  waited for here
            await world.reach("srv")
            _kill_servers(world, await _marks(world))
        await load

        assert [True] * 100 == done
        status = world.connections.get("srv").status
        assert (ConnectionState.READY, True) == (status.state, status.opened >= 2)
        marks = await _marks(world)
    await until(lambda: not marked(MARK, marks))


async def test_all_servers_close_together_and_leave_nothing(world_of: Opener) -> None:
    names = ("everything", "memory", "time", "sequential-thinking")
    async with world_of({name: setup_of(name) for name in names}) as world:
        for name in names:
            await world.reach(name)
        marks = await _marks(world)
        assert len(names) == len(marks)
        began_s = asyncio.get_running_loop().time()

    assert asyncio.get_running_loop().time() - began_s < 10
    assert [] == list(marked(MARK, marks))


async def _marks(world: World) -> list[str]:
    return [process.mark for process in await world.store.connections.processes()]


def _kill_servers(world: World, marks: list[str]) -> None:
    """Kill the servers themselves, and not those that watch over them."""
    wardens = {world.connections.get("srv").status.pid}
    for pid in marked(MARK, marks):
        if pid not in wardens:
            os.kill(pid, signal.SIGKILL)
