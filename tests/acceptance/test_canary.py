"""A secret is nowhere to be found: not in the database, its log, the log, answers or streams."""

from __future__ import annotations

import base64
import json
import signal
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Daemons, get, post

CANARY = "canary-5d1f/7c+wäre-9e2b"
ENCODED = base64.b64encode(f"user:{CANARY}".encode()).decode()

SCRIPT = f"""\
[[rules]]
name = "remembers it"
when = {{ contains = "go", turn = 1 }}
tool_calls = [
  {{ name = "remember", arguments = {{ fact = "The password is {CANARY} for the pumps" }} }},
  {{ name = "core_memory_edit", arguments = {{ block = "user", operation = "write", \
text = "Basic {ENCODED}" }} }},
  {{ name = "write_file", arguments = {{ path = "a.txt", content = "{CANARY}" }} }},
]

[[rules]]
name = "says it"
when = {{ contains = "go", turn = 2 }}
reply = "It is {CANARY}, or {ENCODED}, or {urllib.parse.quote(CANARY, safe="")}."
"""

NEEDLES = [
    CANARY.encode(),
    CANARY[:12].encode(),
    base64.b64encode(f"user:{CANARY}".encode())[8:28],
    urllib.parse.quote(CANARY, safe="").encode(),
    json.dumps(CANARY)[1:-1].encode(),
    CANARY.encode().hex().encode(),
]


def put(url: str, document: object) -> tuple[int, Any]:
    return get(
        url,
        data=json.dumps(document).encode(),
        method="PUT",
        headers={"Content-Type": "application/json"},
    )


def read(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        data: bytes = answer.read()
        return data


def traces(data: bytes) -> list[bytes]:
    return [needle for needle in NEEDLES if needle in data]


@pytest.fixture
def daemon(daemons: Daemons) -> Daemons:
    (daemons.folder / "script.toml").write_text(SCRIPT)
    daemons.environ["AGENCY_LLM__REHEARSAL_SCRIPT"] = str(daemons.folder / "script.toml")
    return daemons


def test_canary_is_found_nowhere(daemon: Daemons, tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    child = daemon.start("--log-file", log)
    url = daemon.announced()["url"]
    status, stored = put(f"{url}/api/v1/secrets/pumps", {"value": CANARY})
    assert (201, "secret://pumps") == (status, stored["reference"])
    put(f"{url}/api/v1/secrets/{urllib.parse.quote(CANARY, safe='')}", {"value": "x"})
    put(f"{url}/api/v1/secrets/other", {"valeu": CANARY})

    # An agent whose model says the secret, and gives it to tools.
    status, said = post(
        f"{url}/api/v1/agent/process", {"message": "go", "session_id": "s", "max_steps": 4}
    )
    assert 200 == status, said
    assert "secret://pumps" in said["response"]
    post(f"{url}/api/v1/memory/default/facts", {"text": f"It is {CANARY}."})
    put(f"{url}/api/v1/memory/default/core/more", {"text": f"Also {CANARY}."})
    post(f"{url}/api/v1/notebooks", {"name": "manual", "agents": ["*"]})
    status, document = get(
        f"{url}/api/v1/notebooks/manual/documents?title=T",
        data=f"# Secret\n\nThe pumps have {CANARY}.".encode(),
        headers={"Content-Type": "text/markdown"},
    )
    assert 202 == status, document
    get(f"{url}/api/v1/runs/{document['run_id']}", headers={"Prefer": "wait=10"})
    post(f"{url}/api/v1/vault/rekey", {})

    run = f"{url}/api/v1/runs/{said['run_id']}"
    answers = {
        "secrets": read(f"{url}/api/v1/secrets"),
        "run": read(run),
        "steps": read(f"{run}/steps"),
        "messages": read(f"{url}/api/v1/sessions/s/messages"),
        "export": read(f"{url}/api/v1/sessions/s/export"),
        "transcript": read(f"{url}/api/v1/sessions/s/transcript"),
        "run export": read(f"{run}/export"),
        "memory": read(f"{url}/api/v1/memory/default"),
        "recall": read(f"{url}/api/v1/memory/default/recall?query=password+pumps"),
        "text": read(url + document["links"]["text"]),
    }
    child.send_signal(signal.SIGKILL)  # so that nothing is tidied up
    child.wait()

    assert {} == {name: found for name, data in answers.items() if (found := traces(data))}
    assert b"secret://pumps" in answers["recall"]
    assert b"secret://pumps" in answers["memory"]
    files = [path for path in (daemon.folder / "var").rglob("*") if path.is_file()]
    # The file that the agent has written is its own work; everything else must not hold it.
    kept = {
        str(path): found
        for path in [*files, log]
        if "workspaces" not in path.parts and (found := traces(path.read_bytes()))
    }
    assert {} == kept
    assert b"\n" in log.read_bytes()
    assert any(path.name == "agency.db-wal" for path in files)
