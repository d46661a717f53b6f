"""Published workflows and agents, and the verbs for runs, as the official client uses them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import AudioContent, EmbeddedResource, ImageContent, ResourceLink, TextContent

from agency.mcp.schemas import CHECKED_VALUES_MAX
from tests.integration.mcp_door.conftest import Door, envelope, opened, request, sent
from tests.processes import get, post


async def test_each_published_workflow_and_agent_is_a_tool(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert {"order", "double", "ask_default", "run_start", "runs_list"} <= set(tools)
    assert tools["order"].description == "Order something."
    assert tools["order"].input_schema["required"] == ["sku"]
    assert tools["order"].output_schema is not None
    assert tools["double"].input_schema["properties"]["input"] == {"type": "integer"}
    assert "agent" not in tools["ask_default"].input_schema["properties"]
    dotted = [
        tool for tool in tools.values() if tool.meta and tool.meta["agency/name"] == "echo.any"
    ]
    assert dotted[0].name.startswith("echo_any_")
    assert dotted[0].input_schema["properties"] == {"input": {}}
    assert tools["nothing"].input_schema["properties"] == {}


async def test_call_gives_what_the_run_returns(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        ordered = await client.call_tool("order", {"sku": "A-1", "count": 2})
        doubled = await client.call_tool("double", {"input": 21})
        empty = await client.call_tool("nothing", {})
        asked = await client.call_tool("ask_default", {"message": "hello"})

    assert ordered.structured_content == {"total": 6, "sku": "A-1"}
    assert doubled.structured_content == {"output": 42}
    assert not empty.is_error
    assert isinstance(asked.content[0], TextContent)
    assert "hello" in asked.content[0].text


@pytest.mark.parametrize(
    "value",
    [None, 0, "text", [1, {"a": None}], {"a": 1}],
    ids=["none", "0", "text", "list", "object"],
)
async def test_any_value_goes_in_and_comes_out(door: Door, value: Any) -> None:
    async with door.client("2026-07-28") as client:
        tools = (await client.list_tools()).tools
        (name,) = [one.name for one in tools if one.name.startswith("echo_any_")]
        echoed = await client.call_tool(name, {"input": value})
        surplus = await client.call_tool("nothing", {"input": value, "more": 1})

    wanted = value if isinstance(value, dict) else {"output": value}
    assert echoed.structured_content == (None if value is None else wanted)
    assert surplus.is_error


async def test_output_that_no_model_could_read_is_linked(door: Door) -> None:
    async with door.client("2026-07-28") as client:
        called = await client.call_tool("large", {"input": 5 << 20})
        link = called.content[1]
        assert isinstance(link, ResourceLink)
        read = await client.read_resource(link.uri)

    assert len(_text(called)) < 1000
    assert len(read.contents[0].text) == 5 << 20  # type: ignore[union-attr]


async def test_run_of_a_call_is_like_any_other(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        called = await client.call_tool("double", {"input": 2})

    assert called.meta is not None
    status, run = get(f"{door.url}/api/v1/runs/{called.meta['agency/run_id']}")
    assert (status, run["status"], run["output"]) == (200, "completed", 4)


async def test_content_comes_as_blocks(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        drawn = await client.call_tool("drawn", {})

    text, picture, sound, packed, link, data = drawn.content
    assert isinstance(text, TextContent)
    assert text.text == "look"
    assert isinstance(picture, ImageContent)
    assert base64.b64decode(picture.data) == b"\x89PNG"
    assert isinstance(sound, AudioContent)
    assert isinstance(packed, EmbeddedResource)
    assert isinstance(link, ResourceLink)
    assert link.uri == "https://example.org/more"
    assert isinstance(data, TextContent)
    assert drawn.structured_content == {"pages": 2}


async def test_arguments_that_do_not_fit_are_told_to_the_model(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        refused = await client.call_tool("order", {"count": "many"})
        failed = await client.call_tool("broken", {})
        with pytest.raises(MCPError, match="Unknown tool") as unknown:
            await client.call_tool("no-such-tool", {})

    assert refused.is_error
    assert "/sku" in _text(refused)
    assert failed.is_error
    assert "it broke" in _text(failed)
    assert unknown.value.code == -32602


async def test_progress_is_told_and_a_long_run_is_answered_with_where_it_is(
    door: Door, mode: str
) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with door.client(mode) as client:
        called = await client.call_tool("steps", {"input": 6}, progress_callback=on_progress)
        handle = called.structured_content
        assert handle["status"] == "running"
        stopped = await client.call_tool("run_cancel", {"run_id": handle["run_id"]})

    assert told[0] == (1, 3, "step 1")
    assert handle["run_id"] in _text(called)
    assert stopped.structured_content["status"] == "cancelled"


async def test_key_makes_a_call_that_is_sent_again_the_same_run(door: Door, mode: str) -> None:
    meta: Any = {"agency/idempotency_key": f"key-{mode}"}
    async with door.client(mode) as client:
        first = await client.call_tool("double", {"input": 5}, meta=meta)
        again = await client.call_tool("double", {"input": 5}, meta=meta)
        other = await client.call_tool("double", {"input": 6}, meta=meta)

    assert first.meta is not None
    assert again.meta is not None
    assert first.meta["agency/run_id"] == again.meta["agency/run_id"]
    assert other.is_error


async def test_run_that_asks_is_answered_by_its_verb(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        called = await client.call_tool("address", {"input": "A-1"})
        run_id = called.structured_content["run_id"]
        status = await client.call_tool("run_status", {"run_id": run_id})
        unfit = await client.call_tool("run_answer", {"run_id": run_id, "value": {"street": 5}})
        await client.call_tool("run_answer", {"run_id": run_id, "value": {"street": "Here 1"}})
        result = await client.call_tool("run_result", {"run_id": run_id})

    assert f"It asks: {status.structured_content['waits'][0]['show']['prompt']}" in _text(called)
    assert status.structured_content["waits"][0]["kind"] == "input"
    assert unfit.is_error
    assert _text(result) == "A-1 to Here 1"


async def test_approval_is_decided_by_its_verb(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        started = await client.call_tool("run_start", {"workflow": "ship"})
        run_id = started.structured_content["run_id"]
        waiting = await client.call_tool("run_result", {"run_id": run_id})
        await client.call_tool(
            "run_approve", {"run_id": run_id, "decision": "deny", "comment": "not today"}
        )
        result = await client.call_tool("run_result", {"run_id": run_id})

    assert waiting.structured_content["status"] == "suspended"
    assert result.structured_content == {"output": False}


async def test_what_is_not_published_cannot_be_started(door: Door) -> None:
    async with door.client("2026-07-28") as client:
        refused = await client.call_tool("run_start", {"workflow": "model_pull", "input": {}})

    assert refused.is_error
    assert "model_pull" in _text(refused)


async def test_call_goes_on_when_an_event_comes_from_elsewhere(door: Door, mode: str) -> None:
    async with door.client(mode) as client:
        calling = asyncio.create_task(client.call_tool("paid", {}))
        run_id = await _newest(client, "paid", "suspended")
        status, _ = await asyncio.to_thread(
            post, f"{door.url}/api/v1/runs/{run_id}/events", {"name": "paid", "payload": 7}
        )
        called = await calling

    assert status == 202
    assert called.structured_content == {"output": 7}


async def test_call_that_is_taken_back_cancels_its_run(door: Door) -> None:
    async with door.client("2025-11-25") as client:
        calling = asyncio.create_task(client.call_tool("steps", {"input": 60}))
        run_id = await _newest(client, "steps", "running")
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        result = await client.call_tool("run_result", {"run_id": run_id})

    assert result.is_error
    assert "cancelled" in _text(result)


async def test_run_goes_on_when_its_caller_hangs_up(door: Door, mode: str) -> None:
    headers = opened(door) if mode < "2026" else envelope("tools/call", "steps")
    call = request("tools/call", {"name": "steps", "arguments": {"input": 1.5}}, mode)
    _, writer = await sent(door, call, headers)

    async with door.client(mode) as client:
        run_id = await _newest(client, "steps", "running")
        writer.close()
        await writer.wait_closed()
        result = await client.call_tool("run_result", {"run_id": run_id})

    assert _text(result) == "done"


async def test_answer_is_to_the_question_and_not_to_the_timer_beside_it(door: Door) -> None:
    async with door.client("2026-07-28") as client:
        asked = await client.call_tool("soon", {})
        run_id = asked.structured_content["run_id"]
        await client.call_tool("run_answer", {"run_id": run_id, "value": "that"})
        result = await client.call_tool("run_result", {"run_id": run_id})

    assert _text(result) == "that"


async def test_many_values_are_not_held_against_a_schema_but_given_with_their_run(
    door: Door, mode: str
) -> None:
    few, many = CHECKED_VALUES_MAX // 100, CHECKED_VALUES_MAX
    async with door.client(mode) as client:
        checked = await client.call_tool("numbers", {"input": few})
        unchecked = await client.call_tool("numbers", {"input": many})

    assert checked.structured_content == {"output": list(range(few))}
    assert unchecked.meta is not None
    assert unchecked.structured_content["status"] == "completed"
    assert unchecked.structured_content["output"] == list(range(many))
    assert unchecked.structured_content["run_id"] == unchecked.meta["agency/run_id"]


async def _newest(client: Any, workflow: str, status: str) -> str:
    """Wait until there is a run of a workflow in a status, and give its id."""
    async with asyncio.timeout(10):
        while True:
            listed = await client.call_tool(
                "runs_list", {"workflow": workflow, "status": status, "limit": 1}
            )
            if runs := listed.structured_content["runs"]:
                return str(runs[0]["run_id"])


def _text(result: Any) -> str:
    return str(result.content[0].text)
