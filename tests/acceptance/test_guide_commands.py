"""The guide's curl commands, word for word, at a real daemon: rehearsed, and with Ollama."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.test_guide import COMMANDS
from tests.processes import GUARD_S, ROOT, Daemons, daemons_in

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@contextmanager
def played_ollama() -> Iterator[str]:
    """A server that speaks as Ollama does, in a process of its own; gives its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fake_ollama"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def guide(daemons: Daemons, name: str) -> Any:
    """Run a command of the guide in a shell; only the port is another. Gives the body."""
    command, status = COMMANDS[name]
    command = command.replace("curl ", "curl -s -w '\\n%{http_code}' ", 1)
    url = daemons.announced()["url"].replace("127.0.0.1", "localhost")
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("http://localhost:8080", url)],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=True,
    )
    body, _, found = done.stdout.rpartition("\n")
    assert status == int(found), body
    return json.loads(body)


@pytest.mark.parametrize("model_server", ["absent", "present"])
def test_commands_of_the_guide_work(tmp_path: Path, model_server: str) -> None:
    config = (ROOT / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(config)
    is_absent = model_server == "absent"
    with played_ollama() as url:
        address = "http://127.0.0.1:9" if is_absent else url
        with daemons_in(tmp_path, AGENCY_LLM__BASE_URL=address) as daemons:
            del daemons.environ["AGENCY_LLM__PROVIDER"]  # the file's own: auto
            daemons.start("--config", "config.toml")

            health = guide(daemons, "health")
            answer = guide(daemons, "process")
            created = guide(daemons, "create")
            guide(daemons, "resume")
            listed = guide(daemons, "snapshots")
            guide(daemons, "delete")

    assert ("healthy", "connected") == (health["status"], health["database"])
    assert is_absent is health["llm"]["rehearsal"] is answer["rehearsal"]
    assert (1, True) == (answer["steps_executed"], answer["completed"])
    assert "What is Rust?" in answer["response"]
    assert "my-workflow" == created["workflow_id"]
    assert [] == listed["snapshots"]
