"""Calls, questions and tasks that outlive the daemon; one run through three protocols."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mcp_types as types
import pytest
from a2a.client import ClientConfig, create_client
from a2a.types import (
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    TaskState,
)
from mcp.client import Client

from tests.integration.mcp_door.wire import REVISION, accepted, answer, call, task
from tests.processes import Daemons, daemons_in, free_port, get
from tests.tools_setup.mcp_servers import NPM

OFFERED = Path(__file__).with_name("offered.py")
SDK = NPM / "node_modules" / "@modelcontextprotocol" / "sdk"
GUARD_S = 20
FORMS: dict[str, Any] = {"elicitation": {}}


class Living:
    """A daemon that is killed and started again at the same address."""

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (daemons.folder / "config.toml").write_text(
            f'[server]\nport = {port}\ndata_dir = "var"\n[workflows]\npaths = ["{OFFERED}"]\n'
            '[publish]\nworkflows = ["*"]\n'
        )
        daemons.environ.pop("PORT", None)
        self._process = daemons.start()

    def stop(self) -> int:
        """End it with SIGTERM, and give its exit code."""
        self._process.terminate()
        return self._process.wait(timeout=GUARD_S)

    def kill(self) -> None:
        """End it with SIGKILL, and start another."""
        self._process.kill()
        self._process.wait()  # not for its pipes, which what it has begun may still hold
        self._process = self._daemons.start()


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Living]:
    with daemons_in(tmp_path) as daemons:
        yield Living(daemons)


def ended(url: str, run_id: str) -> Any:
    """Wait until a run has ended or waits for somebody."""
    status, run = get(f"{url}/api/v1/runs/{run_id}", headers={"Prefer": f"wait={GUARD_S}"})
    assert 200 == status
    return run


def test_questions_and_tasks_are_answered_after_the_daemon_was_killed(living: Living) -> None:
    url = living.url
    offer = call(url, "introduce", can=FORMS)
    run = call(url, "ask_name", can=FORMS)
    made = call(url, "deliver", {"input": "box"})["taskId"]

    living.kill()

    named = call(
        url,
        "introduce",
        can=FORMS,
        again={
            "requestState": offer["requestState"],
            "inputResponses": {"name": accepted(name="Al")},
        },
    )
    greeted = call(
        url,
        "ask_name",
        can=FORMS,
        again={
            "requestState": run["requestState"],
            "inputResponses": {key: accepted(answer="Bo") for key in run["inputRequests"]},
        },
    )
    asked = task(url, made)["inputRequests"]
    answer(url, made, {key: accepted(street="Elm", number=3) for key in asked})
    ended(url, made)
    asked = task(url, made)["inputRequests"]

    living.kill()

    aged = call(
        url,
        "introduce",
        can=FORMS,
        again={"requestState": named["requestState"], "inputResponses": {"age": accepted(age=7)}},
    )
    again = call(url, "ask_name", can=FORMS, again={"requestState": run["requestState"]})
    answer(url, made, {key: accepted(decision="approve") for key in asked})
    ended(url, made)
    done = task(url, made)

    assert "Al is 7" == aged["content"][0]["text"]
    assert "Hello, Bo!" == greeted["content"][0]["text"] == again["content"][0]["text"]
    assert ("completed", "box to Elm 3: sent") == (
        done["status"],
        done["result"]["content"][0]["text"],
    )


class Person:
    """Sits before a client, and answers the first form only."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content: dict[str, Any] | None = content
        self.shown: list[str] = []

    async def __call__(self, context: object, params: Any) -> types.ElicitResult:
        self.shown.append(params.message)
        content, self._content = self._content, None
        return types.ElicitResult(action="accept" if content else "cancel", content=content)


async def started_over_a2a(url: str, text: str) -> str:
    """Have a run started by the official client of A2A, and give the id of its task."""
    message = Message(message_id="m-1", role=Role.ROLE_USER, parts=[Part(text=text)])
    async with httpx.AsyncClient() as http:
        config = ClientConfig(httpx_client=http)
        async with await create_client(f"{url}/a2a/deliver", config) as client:
            async for event in client.send_message(SendMessageRequest(message=message)):
                if event.HasField("task"):
                    task_id = event.task.id
    return task_id


async def read_over_a2a(url: str, task_id: str) -> tuple[int, str]:
    """Read the state and the result of a task with the official client of A2A."""
    async with httpx.AsyncClient() as http:
        config = ClientConfig(httpx_client=http)
        async with await create_client(f"{url}/a2a/deliver", config) as client:
            found = await client.get_task(GetTaskRequest(id=task_id))
    return found.status.state, found.artifacts[0].parts[0].text


def over_npm(
    node: str, url: str, tool: str, arguments: dict[str, Any], content: dict[str, Any]
) -> Any:
    """Call a tool with the npm client, and answer each form with this content."""
    script = Path(__file__).with_name("npm_client.mjs")
    done = subprocess.run(
        [node, script, SDK, f"{url}/mcp", tool, json.dumps(arguments), json.dumps(content)],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


async def test_daemon_that_stops_answers_the_call_whose_form_is_shown(living: Living) -> None:
    shown = asyncio.Event()

    async def ponder(context: object, params: object) -> types.ElicitResult:
        shown.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        asyncio.timeout(GUARD_S),
        Client(f"{living.url}/mcp", mode="legacy", elicitation_callback=ponder) as client,
    ):
        await client.list_tools()  # else it would ask for the tool's schema when it has the result
        calling = asyncio.create_task(client.call_tool("ask_name", {}))
        await shown.wait()
        code = await asyncio.to_thread(living.stop)
        result = await calling

    assert 0 == code
    assert result.structured_content is not None
    assert "suspended" == result.structured_content["status"]


async def test_run_is_started_over_a2a_answered_over_mcp_and_read_over_rest(
    living: Living,
) -> None:
    """Three official clients, unchanged, and a daemon that is killed between them."""
    node = shutil.which("node")
    if node is None or not SDK.exists():
        pytest.skip("node or the npm package @modelcontextprotocol/sdk is not here")
    url = living.url
    async with asyncio.timeout(2 * GUARD_S):
        task_id = await started_over_a2a(url, "box")
        await asyncio.to_thread(living.kill)
        person = Person({"street": "Elm", "number": 3})
        async with Client(f"{url}/mcp", mode=REVISION, elicitation_callback=person) as client:
            await client.call_tool("run_result", {"run_id": task_id})
        npm = await asyncio.to_thread(
            over_npm, node, url, "run_result", {"run_id": task_id}, {"decision": "approve"}
        )
        state, text = await read_over_a2a(url, task_id)
    run = await asyncio.to_thread(ended, url, task_id)

    assert ["Where to?", 'Deliver?\n\n{"parcel":"box"}\n\nRisk: medium.'] == [
        person.shown[0],
        npm["shown"][0],
    ]
    assert ("completed", "box to Elm 3: sent") == (run["status"], run["output"])
    assert "box to Elm 3: sent" == npm["result"]["content"][0]["text"]
    assert (TaskState.TASK_STATE_COMPLETED, "box to Elm 3: sent") == (state, text)
