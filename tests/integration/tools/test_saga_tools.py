"""Legs of sagas that are tools: one folder for the run, nobody asked, and all of it taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings, Tools
from agency.domain.run import RunStatus
from agency.errors import InvalidInput
from agency.files.workspaces import FileWorkspaces, open_workspaces
from agency.ports.tool import ToolCalls
from agency.tools.background import open_background
from agency.tools.direct import DirectCalls
from agency.tools.sandbox.sandbox import open_sandbox
from agency.tools.toolsets import open_tools
from agency.workflows.saga.declared import parse
from agency.workflows.saga.saga import Saga
from tests.integration.engine.house import House, open_house


@dataclass
class Works:
    """A house with tools."""

    house: House
    workspaces: FileWorkspaces

    async def files(self, run_id: str) -> dict[str, str]:
        page = await self.workspaces.list(run_id, after=0, limit=100)
        found = {}
        for file in page.files:
            _, pieces = await self.workspaces.read(run_id, file.path)
            found[file.path] = b"".join([piece async for piece in pieces]).decode()
        return found


@asynccontextmanager
async def open_works(
    path: Path, *legs: dict[str, Any], allow: Sequence[str] = (), **more: Any
) -> AsyncIterator[Works]:
    made: list[ToolCalls] = []
    declaration = {"name": "work", "legs": list(legs), **more}
    saga: Saga = parse(declaration, lambda _: None, lambda: made[0])
    settings = Settings(
        server=Server(data_dir=str(path)),
        sandbox=SandboxSettings(driver="none"),
        tools=Tools(command_needs=[]),
    )
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(path, saga))
        sandbox = await stack.enter_async_context(open_sandbox(settings))
        versions = house.store.versions
        background = await stack.enter_async_context(open_background(versions.is_live))
        workspaces = await stack.enter_async_context(
            open_workspaces(path, versions=versions, bytes_max=1 << 20, files_max=100)
        )
        registry = await stack.enter_async_context(
            open_tools(settings.tools, sandbox=sandbox, background=background)
        )
        made.append(DirectCalls(registry, workspaces, allow=allow))
        yield Works(house, workspaces)


def leg(leg_id: str, tool: str, /, undo: dict[str, Any] | None = None, **arguments: Any) -> Any:
    made = {"id": leg_id, "action": {"kind": "tool", "tool": tool, "arguments": arguments}}
    return made if undo is None else {**made, "compensation": {"kind": "tool", **undo}}


async def test_legs_share_the_files_of_their_run(tmp_path: Path) -> None:
    legs = (
        leg("write", "write_file", path="a.txt", content="Dear ${input.name},"),
        leg("edit", "edit_file", path="a.txt", old="Dear", new="Hello"),
        leg("read", "read_file", path="a.txt"),
    )
    async with open_works(tmp_path, *legs, output="${results.read.content}") as works:
        detail = await works.house.run("work", {"name": "Ada"})
        assert ("completed", "Hello Ada,") == (detail.run.status, detail.run.output)
        assert {"a.txt": "Hello Ada,"} == await works.files(detail.run.id)


async def test_legs_beside_each_other_keep_what_each_has_changed(tmp_path: Path) -> None:
    beside = {
        "parallel": [
            leg(f"w{number}", "write_file", path=f"{number}.txt", content=str(number))
            for number in range(5)
        ]
    }
    async with open_works(tmp_path, beside) as works:
        detail = await works.house.run("work")
        assert "completed" == detail.run.status
        assert {f"{n}.txt": str(n) for n in range(5)} == await works.files(detail.run.id)


async def test_tool_takes_back_what_a_tool_has_done(tmp_path: Path) -> None:
    undo = {"tool": "write_file", "arguments": {"path": "log", "content": "${error.code}"}}
    legs = (
        leg("write", "write_file", path="log", content="done", undo=undo),
        leg("fail", "read_file", path="nowhere"),
    )
    async with open_works(tmp_path, *legs) as works:
        detail = await works.house.run("work")
        assert RunStatus.COMPENSATED is detail.run.status
        assert detail.run.error is not None
        assert "'read_file' has failed: There is no file 'nowhere'." in detail.run.error.message
        assert {"log": "tool_failed"} == await works.files(detail.run.id)


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("shell", {"command": "true"}, "needs somebody's approval"),
        ("fetch", {"url": "http://127.0.0.1:9/"}, "needs somebody's approval"),
        ("nothing", {}, "There is no tool 'nothing'"),
        ("read_file", {"path": 5}, "/path: 5 is not of type 'string'"),
        ("read_file", {}, "'path' is a required property"),
    ],
)
async def test_what_cannot_be_called_fails_the_leg(
    tmp_path: Path, tool: str, arguments: dict[str, Any], why: str
) -> None:
    async with open_works(tmp_path, leg("one", tool, **arguments)) as works:
        detail = await works.house.run("work")
        assert detail.run.error is not None
        assert why in detail.run.error.message


async def test_allowed_command_gets_values_as_single_words(tmp_path: Path) -> None:
    command = 'printf "%s|" ${input.a} ${input.b}; echo "$${HOME:+home}" > h'
    legs = (leg("run", "shell", command=command),)
    async with open_works(tmp_path, *legs, allow=["sh*"], output="${results.run.content}") as works:
        detail = await works.house.run("work", {"a": "x; touch oops", "b": "$(touch oops)"})
        assert "completed" == detail.run.status
        assert detail.run.output.startswith("x; touch oops|$(touch oops)|\n[exit code 0")
        assert {"h": "home\n"} == await works.files(detail.run.id)


async def test_two_runs_never_see_each_others_files(tmp_path: Path) -> None:
    legs = (
        leg("write", "write_file", path="${input.name}", content="x"),
        leg("list", "list_files"),
    )
    async with open_works(tmp_path, *legs, output="${results.list.content}") as works:
        one = await works.house.start("work", {"name": "one"})
        two = await works.house.start("work", {"name": "two"})
        ends = [(await works.house.settled(run_id)).run.output for run_id in (one, two)]
        assert ["one (1 bytes)", "two (1 bytes)"] == ends


def test_references_in_arguments_are_checked() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(
            {"name": "work", "legs": [leg("a", "read_file", path="${results.b.content}")]},
            lambda _: None,
        )
    assert "/legs/0/action/arguments/path" == refused.value.faults[0].where
