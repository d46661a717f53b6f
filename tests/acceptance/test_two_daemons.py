"""One daemon calls a workflow of another over MCP, and both are killed while it waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.client import Client
from tests.processes import daemons_in, free_port

FLOW = '''\
from agency import Context, workflow


@workflow("dig", version="1")
async def dig(ctx: Context, input: str) -> str:
    """Dig for somebody."""
    who = await ctx.input("For whom?", schema=str)
    await ctx.sleep(0.5)
    return f"{input} for {who}"
'''


@pytest.mark.soak
def test_call_that_became_a_task_outlives_both_daemons(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    ports = free_port(), free_port()
    (there / "flows.py").write_text(FLOW)
    (there / "config.toml").write_text(
        '[workflows]\npaths = ["flows.py"]\n[publish]\nworkflows = ["dig"]\n'
    )
    (here / "config.toml").write_text(
        f'[mcp.servers.far]\nurl = "http://127.0.0.1:{ports[1]}/mcp"\nallow = ["*"]\n'
    )
    with daemons_in(there) as far, daemons_in(here) as near:
        lives = [far.start("--port", str(ports[1])), near.start("--port", str(ports[0]))]
        client = Client(f"http://127.0.0.1:{ports[0]}")
        asked = client.call_tool("far", "dig", {"input": "dug"})
        for life in lives:
            life.kill()
            life.wait()
        far.start("--port", str(ports[1]))
        near.start("--port", str(ports[0]))
        (question,) = asked["questions"]
        (member,) = (question["schema"] or {})["properties"]
        ended = client.call_tool(
            "far",
            "dig",
            {"input": "dug"},
            answers={question["key"]: {member: "Ada"}},
            state=asked["state"],
        )

    assert ("input_required", "For whom?") == (asked["status"], question["prompt"])
    assert ("completed", "dug for Ada") == (ended["status"], ended["content"])
