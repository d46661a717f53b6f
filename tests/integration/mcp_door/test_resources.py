"""Runs as resources, agents as prompts, completion, and what clients are told of changes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    BlobResourceContents,
    PromptReference,
    ResourceLink,
    ResourceTemplateReference,
    ResourceUpdatedNotification,
    TextResourceContents,
    ToolListChangedNotification,
)

from tests.integration.mcp_door.conftest import Door
from tests.processes import get, post

SAGA = {
    "name": "late-tool",
    "legs": [{"id": "one", "action": {"kind": "workflow", "workflow": "double", "input": 1}}],
}


async def test_run_is_read_with_its_output(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        called = await client.call_tool("order", {"sku": "R-1"})
        assert called.meta is not None
        uri = f"agency://runs/{called.meta['agency/run_id']}"
        listed = await client.list_resources()
        run = json.loads(_text(await client.read_resource(uri)))
        output = json.loads(_text(await client.read_resource(f"{uri}/output")))
        files = json.loads(_text(await client.read_resource(f"{uri}/files")))
        snapshots = json.loads(_text(await client.read_resource(f"{uri}/snapshots")))

    assert listed.resources[0].uri == uri
    assert (run["workflow"], run["status"]) == ("order", "completed")
    assert output == {"total": 3, "sku": "R-1"}
    assert files == {"files": [], "files_total": 0}
    assert snapshots == {"snapshots": []}


async def test_files_of_an_agent_are_linked_and_read(door: Door, mode: str) -> None:
    files = {"notes/ä b.txt": "hello", "raw.bin": {"base64": "AP8="}}
    async with door.client(mode) as client:
        called = await client.call_tool("ask_default", {"message": "Look.", "files": files})
        links = {one.name: one for one in called.content if isinstance(one, ResourceLink)}
        text = (await client.read_resource(links["notes/ä b.txt"].uri)).contents[0]
        raw = (await client.read_resource(links["raw.bin"].uri)).contents[0]

    assert isinstance(text, TextResourceContents)
    assert text.text == "hello"
    assert isinstance(raw, BlobResourceContents)
    assert raw.blob == "AP8="


async def test_snapshot_of_a_waiting_run_is_read(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        called = await client.call_tool("ship", {})
        run_id = called.structured_content["run_id"]
        listed = _text(await client.read_resource(f"agency://runs/{run_id}/snapshots"))
        snapshot_id = json.loads(listed)["snapshots"][0]["snapshot_id"]
        shown = _text(await client.read_resource(f"agency://snapshots/{snapshot_id}"))
        await client.call_tool("run_cancel", {"run_id": run_id})

    assert json.loads(shown)["run_id"] == run_id


@pytest.mark.parametrize(
    "uri",
    [
        "agency://runs/01234567-89ab-7def-8123-456789abcdef",
        "agency://runs/../../etc/passwd",
        "agency://runs/01234567-89ab-7def-8123-456789abcdef/files/../x",
        "agency://snapshots/nope",
        "file:///etc/passwd",
    ],
    ids=["unknown", "dots", "file", "snapshot", "scheme"],
)
async def test_resource_that_is_not_there_is_told_so(door: Door, mode: str, uri: str) -> None:
    async with door.client(mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)

    assert refused.value.code == (-32602 if mode >= "2026" else -32002)


async def test_pages_of_runs_follow_each_other(door: Door) -> None:
    async with door.client("2026-07-28", of="bob") as client:
        for _ in range(52):
            await client.call_tool("run_start", {"workflow": "nothing"})
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
        with pytest.raises(MCPError, match="cursor"):
            await client.list_resources(cursor="bm90LW91cnM")

    assert len(first.resources) == 50
    assert len({one.uri for one in (*first.resources, *second.resources)}) == 52


async def test_runs_of_others_are_not_there(door: Door, mode: str) -> None:
    async with door.client(mode, of="alice") as alice:
        called = await alice.call_tool("ship", {})
        run_id = called.structured_content["run_id"]

        async with door.client(mode, of="bob") as bob:
            answers = [
                await bob.call_tool(verb, {"run_id": run_id, **more})
                for verb, more in (
                    ("run_status", {}),
                    ("run_result", {}),
                    ("run_cancel", {}),
                    ("run_approve", {"decision": "approve"}),
                    ("run_answer", {"value": 1}),
                )
            ]
            with pytest.raises(MCPError):
                await bob.read_resource(f"agency://runs/{run_id}")
            listed = await bob.call_tool("runs_list", {"workflow": "ship"})

        own = await alice.call_tool("run_status", {"run_id": run_id})
        await alice.call_tool("run_cancel", {"run_id": run_id})

    absent = {answer.content[0].text for answer in answers}  # type: ignore[union-attr]
    assert all(answer.is_error for answer in answers)
    assert len(absent) == 1
    assert "There is no run" in absent.pop()
    assert listed.structured_content["runs"] == []
    assert own.structured_content["status"] == "suspended"


async def test_agent_is_a_prompt(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        written = await client.get_prompt("ask_default", {"message": "Sort my notes."})
        with pytest.raises(MCPError, match="Unknown prompt"):
            await client.get_prompt("nobody", {})

    assert names == ["ask_default"]
    assert "Sort my notes." in written.messages[0].content.text  # type: ignore[union-attr]


async def test_ids_of_runs_are_completed(door: Door, mode: str) -> None:
    template = ResourceTemplateReference(type="ref/resource", uri="agency://runs/{run_id}")
    async with door.client(mode) as client:
        called = await client.call_tool("double", {"input": 1})
        assert called.meta is not None
        run_id = called.meta["agency/run_id"]
        found = await client.complete(template, {"name": "run_id", "value": run_id[:20]})
        prompt = PromptReference(type="ref/prompt", name="ask_default")
        none = await client.complete(prompt, {"name": "message", "value": "a"})

    assert run_id in found.completion.values
    assert none.completion.values == []


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")  # not for these sessions
async def test_session_is_told_of_a_watched_run_and_of_new_tools(door: Door) -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(message: Any) -> None:
        await told.put(message)

    async with door.client("2025-11-25", message_handler=hear) as client:
        called = await client.call_tool("ship", {})
        run_id = called.structured_content["run_id"]
        await client.subscribe_resource(f"agency://runs/{run_id}")
        with pytest.raises(MCPError):
            await client.subscribe_resource("agency://runs/nope")
        await client.call_tool("run_approve", {"run_id": run_id, "decision": "approve"})
        updated = await _heard(told, ResourceUpdatedNotification)
        status, _ = await asyncio.to_thread(post, f"{door.url}/api/v1/sagas", SAGA)
        assert status == 201
        await _heard(told, ToolListChangedNotification)
        tools = {tool.name for tool in (await client.list_tools()).tools}

    assert updated.params.uri == f"agency://runs/{run_id}"
    assert "late-tool" in tools


async def test_stream_of_changes_tells_of_own_runs_only(door: Door) -> None:
    async with door.client("2026-07-28", of="alice") as alice:
        called = await alice.call_tool("ship", {})
        run_id = called.structured_content["run_id"]
        uri = f"agency://runs/{run_id}"
        async with (
            door.client("2026-07-28", of="bob") as bob,
            bob.listen(resource_subscriptions=[uri]) as unheard,
        ):
            assert not unheard.honored.resource_subscriptions
        async with alice.listen(resource_subscriptions=[uri]) as heard:
            await alice.call_tool("run_approve", {"run_id": run_id, "decision": "deny"})
            async with asyncio.timeout(10):
                event = await anext(aiter(heard))

    assert event.uri == uri  # type: ignore[union-attr]


async def _heard(told: asyncio.Queue[Any], kind: type) -> Any:
    async with asyncio.timeout(10):
        while True:
            message = await told.get()
            if isinstance(message, kind):
                return message


def _text(read: Any) -> str:
    return str(read.contents[0].text)


def test_health_is_good_after_all_this(door: Door) -> None:
    status, health = get(f"{door.url}/health")

    assert (status, health["status"]) == (200, "healthy")
