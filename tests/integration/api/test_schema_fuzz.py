"""Requests made from the API's document find no fault of the server."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.integration.api.conftest import Daemon, Serve

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "missing_required_header",
)

# A tool whose server is away is an answer, and the one that is documented: no fault of ours. The
# same holds for a model that cannot write what a schema demands.
SETTINGS = """
[[operations]]
include-operation-id = ["list_connection_tools", "call_connection_tool"]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]

[[operations]]
include-operation-id = ["process_message"]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 502]
"""


async def seed_runs(daemon: Daemon) -> None:
    """Start a run of each kind, so that not every request meets an empty daemon."""
    for workflow in ("asks", "both", "listens", "hangs"):
        body = {"workflow_id": workflow, "workflow": workflow}
        assert (await daemon.ask("POST", "/api/v1/workflows", json=body)).status == 201


async def test_schemathesis_finds_no_server_error(serve: Serve, tmp_path: Path) -> None:
    daemon = await serve(sync_wait_s=0.2)
    await seed_runs(daemon)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    arguments = [
        "--config-file", str(settings),
        "run", f"{daemon.url}/openapi.json",
        "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing",
        "--max-examples", os.environ.get("FUZZ_EXAMPLES", "15"),
        "--seed", os.environ.get("SEED", "1"),
        "--request-timeout", "10",
        # They would not end; tests of their own have their faults.
        "--exclude-operation-id", "watch_runs",
        "--exclude-operation-id", "watch_run",
        "--exclude-operation-id", "watch_tasks",
    ]  # fmt: skip

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
        *arguments,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(420):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert process.returncode == 0, output.decode()[-8000:]
    assert (await daemon.ask("GET", "/health")).status == 200
