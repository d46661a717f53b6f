"""Calls that a server makes a task of: followed over restarts, asked about, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from agency.domain.connection import ConnectionSetup
from agency.domain.tool import Asks, ToolOutput
from agency.errors import InvalidInput
from agency.ports.connection import DirectCall
from tests.fake_servers.authorization import served
from tests.integration.mcp.conftest import Opener

FORM = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "Whose?",
        "requestedSchema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 3}},
        },
    },
}


@dataclass
class Slow:
    """A server that makes a task of each call; how it goes is what the test says.

    Attributes:
        goes: Details of the task, one for each look; the last one stays.
        heard: Requests with their parameters and the header that names what they are about.
    """

    url: str = ""
    task_id: str = "task-1"
    goes: list[dict[str, Any]] = field(default_factory=list)
    heard: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/mcp", self._answer)
        return application

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.heard if method != "tools/list"]

    async def _answer(self, request: web.Request) -> web.Response:
        message = await request.json()
        method, params = message["method"], message.get("params", {})
        result: dict[str, Any] = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            result |= {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}},
                "serverInfo": {"name": "slow", "version": "1"},
            }
        else:
            self.heard.append((method, params, request.headers.get("Mcp-Name")))
            result |= self._result(method, params)
        return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        task = {"taskId": self.task_id, "pollIntervalMs": 10}
        match method:
            case "tools/list":
                return {"tools": [{"name": "dig", "inputSchema": {"type": "object"}}]}
            case "tools/call":
                capabilities = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]
                assert "io.modelcontextprotocol/tasks" in capabilities["extensions"]
                return {"resultType": "task", "status": "working", **task}
            case "tasks/get":
                return {**task, **(self.goes.pop(0) if len(self.goes) > 1 else self.goes[0])}
        return {}


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    server = Slow()
    async with served(server.application()) as base:
        server.url = f"{base}/mcp"
        yield server


def done(text: str) -> dict[str, Any]:
    return {"status": "completed", "result": {"content": [{"type": "text", "text": text}]}}


async def test_task_is_handed_out_before_it_is_looked_at_and_found_after_a_restart(
    world_of: Opener, slow: Slow
) -> None:
    slow.goes = [{"status": "working", "statusMessage": "half way"}, done("dug")]
    configured = {"slow": ConnectionSetup(url=slow.url)}
    async with world_of(configured) as world:
        begun = await world.call("slow__dig")
        assert isinstance(begun, Asks)
        before = slow.methods()
        working = await world.call("slow__dig", state=begun.state)
        assert isinstance(working, Asks)
        told = world.lines
    async with world_of(configured) as world:
        ended = await world.call("slow__dig", state=working.state)

    assert ["tools/call"] == before
    assert (True, [], True) == (begun.is_begun, list(begun.questions), begun.again_s > 0)
    assert working.again_s >= begun.again_s
    assert ["half way"] == told
    assert isinstance(ended, ToolOutput)
    assert ("dug", False) == (ended.content, ended.is_error)
    assert ["tools/call", "tasks/get", "tasks/get"] == slow.methods()
    assert "task-1" == slow.heard[-1][2]


async def test_question_of_a_task_is_asked_once_and_answered(world_of: Opener, slow: Slow) -> None:
    asking = {"status": "input_required", "inputRequests": {"who": FORM}}
    # It has not taken the answer in yet when it is looked at first.
    slow.goes = [asking, asking, done("dug")]
    async with world_of({"slow": ConnectionSetup(url=slow.url)}) as world:
        begun = await world.call("slow__dig")
        assert isinstance(begun, Asks)
        asked = await world.call("slow__dig", state=begun.state)
        assert isinstance(asked, Asks)
        answers = {"who": {"name": "Ada"}}
        working = await world.call("slow__dig", state=asked.state, answers=answers)
        assert isinstance(working, Asks)
        ended = await world.call("slow__dig", state=working.state, answers=answers)

    assert ["Whose?"] == [one.prompt for one in asked.questions]
    assert [] == list(working.questions)
    assert isinstance(ended, ToolOutput)
    updates = [params for method, params, _ in slow.heard if method == "tasks/update"]
    content = {"name": "Ada", "size": 3}
    assert [{"who": {"action": "accept", "content": content}}] == [
        one["inputResponses"] for one in updates
    ]


@pytest.mark.parametrize(
    ("goes", "said"),
    [
        ({"status": "failed", "error": {"code": -32603, "message": "It caved in."}}, "caved in"),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "completed", "result": {"content": "no list"}}, "not valid"),
        ({"status": "completed"}, "not valid"),
        ({"status": "input_required", "inputRequests": {"a": {"method": "x/y"}}}, "not valid"),
    ],
    ids=["failed", "cancelled", "no result", "nothing", "unknown question"],
)
async def test_task_that_comes_to_nothing_is_told(
    goes: dict[str, Any], said: str, world_of: Opener, slow: Slow
) -> None:
    slow.goes = [goes]
    async with world_of({"slow": ConnectionSetup(url=slow.url)}) as world:
        begun = await world.call("slow__dig")
        assert isinstance(begun, Asks)
        ended = await world.call("slow__dig", state=begun.state)

    assert isinstance(ended, ToolOutput)
    assert ended.is_error
    assert said in ended.content


async def test_call_by_hand_follows_its_task_as_long_as_calls_may_take(
    world_of: Opener, slow: Slow
) -> None:
    slow.goes = [{"status": "working"}, done("dug")]
    async with world_of({"slow": ConnectionSetup(url=slow.url, timeout_s=3.0)}) as world:
        call = DirectCall(tool="dig", arguments={})
        quick = await world.connections.call("slow", call)
        slow.goes = [{"status": "working"}]
        late = await world.connections.call("slow", call)
        assert isinstance(late, Asks)
        slow.goes = [done("dug at last")]
        look = DirectCall(tool="dig", arguments={}, state=late.state)
        again = await world.connections.call("slow", look)
        broken = DirectCall(tool="dig", arguments={}, state={"kind": "task", "id": 7})
        with pytest.raises(InvalidInput, match="not one of a call"):
            await world.connections.call("slow", broken)

    assert isinstance(quick, ToolOutput)
    assert "dug" == quick.content
    assert isinstance(again, ToolOutput)
    assert "dug at last" == again.content
