"""The commands of the daemon's guide, word for word; only the port is another."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import pytest

from tests.integration.api.conftest import Daemon

COMMANDS = {
    "health": ("curl http://localhost:8080/health", 200),
    "process": (
        """curl -X POST http://localhost:8080/api/v1/agent/process \\
  -H "Content-Type: application/json" \\
  -d '{"message": "What is Rust?", "max_steps": 10}'""",
        200,
    ),
    "create": (
        """curl -X POST http://localhost:8080/api/v1/workflows \\
  -H "Content-Type: application/json" \\
  -d '{
    "workflow_id": "my-workflow",
    "initial_message": "Process this data",
    "max_steps": 20
  }'""",
        201,
    ),
    "resume": (
        """curl -X POST http://localhost:8080/api/v1/workflows/resume \\
  -H "Content-Type: application/json" \\
  -d '{"snapshot_id": "550e8400-e29b-41d4-a716-446655440000"}'""",
        404,
    ),
    "snapshots": ("curl http://localhost:8080/api/v1/workflows/snapshots", 200),
    "delete": (
        "curl -X DELETE http://localhost:8080/api/v1/workflows/snapshots/"
        "550e8400-e29b-41d4-a716-446655440000",
        404,
    ),
}


async def run(command: str, daemon: Daemon) -> tuple[int, Any]:
    """Run a command of the guide in a shell; give back the status and the body."""
    command = command.replace("curl ", "curl -s -w '\\n%{http_code}' ", 1)
    command = command.replace("localhost:8080", f"localhost:{daemon.port}")
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(10):
        output, _ = await process.communicate()
    body, _, status = output.decode().rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", list(COMMANDS))
async def test_commands_of_the_guide_work(daemon: Daemon, name: str) -> None:
    command, status = COMMANDS[name]

    found, body = await run(command, daemon)

    assert found == status
    if status == 404:
        assert body["code"] == "snapshot_not_found"
