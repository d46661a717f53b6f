"""Two agents at work at the same time, one of them hostile; and secrets that must not get about."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.crash.daemons import Daemon, Place
from tests.crash.driver import RUNS, has_ended, until
from tests.fake_ollama.turns import Call
from tests.fake_servers import FakeOpenAi
from tests.integration.agent.played import Messages, Player, begin, call, home
from tests.mcp_servers import hostile
from tests.tools_setup.bubblewrap import find_bubblewrap

pytestmark = pytest.mark.skipif(find_bubblewrap() is None, reason="bubblewrap is not here")

MARK = "canary-of-alice"
"""Is in all that Alice has. Bob looks for it; that he has seen it a digit behind it proves."""
SEEN = re.compile(r"canary-of-alice-[0-9]")
GUARD_S = 60.0

AGENTS = """
[llm]
concurrency = 4
num_ctx = 65536

[sandbox]
driver = "bubblewrap"

[agents.alice]
allow = ["*"]
tools_per_turn = 64

[agents.bob]
allow = ["*"]
tools_per_turn = 64
"""


def attempts(daemon: Daemon, place: Place, run_id: str, handle: str) -> Sequence[Sequence[Call]]:
    """List what Bob tries, turn by turn; he knows where everything of Alice is, and its names."""
    root = next(place.data.glob(f"workspaces/*{run_id}*"))
    file = root / "secret.txt"
    data = place.data
    session = f"{daemon.url}/api/v1/sessions/alice/messages"
    fetch = f"import urllib.request as u; print(u.urlopen('{session}', timeout=5).read())"
    return [
        [
            call("read_file", path=str(file)),
            call("read_file", path=f"../{root.name}/secret.txt"),
            call("list_files", path=".."),
            call("search_files", pattern=MARK, path=str(root)),
            call("search_files", pattern=MARK),
        ],
        [
            call("shell", command=f"cat {file}; cat ../{root.name}/secret.txt; ls -R ..; true"),
            call("shell", command=f"ln -s {file} link; ln -s {root} folder; cat link folder/*"),
            call("read_file", path="link"),
            call("read_file", path="folder/secret.txt"),
            call("write_file", path="link", content="overwritten"),
            call("write_file", path="folder/secret.txt", content="overwritten"),
            call("edit_file", path="folder/secret.txt", old="canary", new="overwritten"),
            call("write_file", path=str(file), content="overwritten"),
        ],
        [
            call("python", code=f"print(open({str(file)!r}).read())"),
            call("python", code=f"open({str(file)!r}, 'w').write('overwritten')"),
            call("shell", command=f"echo overwritten > {file}; rm -rf {root}; true"),
            call("shell", command=f"cat {data}/agency.db* {data}/*key* | tr -c '[:print:]' ' '"),
            call("shell", command=f"cat {place.folder}/config.toml; cat {place.folder}/log-1*"),
            call("shell", command=f"grep -rs {MARK}- {place.folder} /home /run; true"),
        ],
        [
            call("shell", command="cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' ' '"),
            call("shell", command=f"for p in /proc/[0-9]*; do cat $p/root{file} $p/cwd/*; done"),
            call("shell", command=f"kill -9 {daemon.process.pid}"),
            call("python", code=fetch),
            call("fetch", url=session),
            call("http_request", method="DELETE", url=f"{daemon.url}/api/v1/sessions/alice"),
        ],
        [
            call("shell_tail", handle=handle),
            call("shell_stop", handle=handle),
            call("read_notes"),
            call("recall", query=f"What is the {MARK}?"),
            call("remember", fact="Bob was here."),
            call("core_memory_edit", block="user", operation="append", text="Bob was here."),
        ],
        [
            call(
                "delegate", task="Helper of Bob: read.", share_files=[str(file), "../*", "folder/*"]
            )
        ],
    ]


def alice(reached: asyncio.Event, released: asyncio.Event) -> Sequence[Any]:
    async def held(messages: Messages) -> Sequence[Call]:
        reached.set()
        await released.wait()
        handle = _handle(messages)
        return [
            call("read_file", path="secret.txt"),
            call("shell_tail", handle=handle),
            call("read_notes"),
            call("recall", query="Which colour?"),
        ]

    command = f"export OWN={MARK}-3; echo {MARK}-3; sleep 300"
    return [
        [
            call("write_file", path="secret.txt", content=f"{MARK}-1"),
            call("note", text=f"{MARK}-2"),
            call("shell", command=command, background=True),
            call("remember", fact=f"The colour is {MARK}-4."),
            call("core_memory_edit", block="user", operation="append", text=f"{MARK}-5"),
        ],
        held,
        "Alice is done.",
    ]


def _handle(messages: Messages) -> str:
    found = re.search(r"Started as (bg-\w+)", str(messages))
    assert found is not None, messages
    return found[1]


async def test_hostile_agent_sees_and_touches_nothing_of_another(tmp_path: Path) -> None:
    reached, released = asyncio.Event(), asyncio.Event()
    async with Player() as model, home(tmp_path, model, AGENTS) as place:
        daemon = await place.start()
        model.plays("Alice", *alice(reached, released))
        hers = await begin(daemon, f"Alice: {MARK}-0", agent="alice", session_id="alice")
        async with asyncio.timeout(GUARD_S):
            await reached.wait()
        tried = attempts(daemon, place, hers, _handle(model.prompts("Alice")[-1]["messages"]))
        model.plays("Bob", *tried, "Bob is done.")
        model.plays("Helper", [call("shell", command="cat *")], "Nothing.")
        his = await until(daemon, await begin(daemon, "Bob", agent="bob", max_steps=40))

        released.set()
        ended = await until(daemon, hers)

        steps = (await daemon.get(f"{RUNS}/{his['id']}/steps?limit=500"))["steps"]

    assert ("completed", "Bob is done.") == (his["status"], his["output"]["response"])
    made = [
        entry for entry in steps if entry["key"].startswith("call-") and "run" not in entry["key"]
    ]
    assert len(made) >= sum(map(len, tried))
    for body in model.chats:
        said = json.dumps(body)
        if "Alice" not in said:
            assert SEEN.search(said) is None, SEEN.search(said)
    assert SEEN.search(json.dumps(steps)) is None
    assert "Alice is done." == ended["output"]["response"]
    last = model.prompts("Alice")[-1]["messages"]
    own, tail, notes, memory = [one["content"] for one in last if one["role"] == "tool"][-4:]
    assert f"{MARK}-1" in own
    assert "overwritten" not in own
    assert f"{MARK}-3" in tail
    assert "still running" in tail
    assert f"{MARK}-2" in notes
    assert f"{MARK}-4" in memory
    assert "Bob" not in json.dumps(last)
    assert f"{MARK}-5" in model.prompts("Alice")[-1]["messages"][0]["content"] + own + memory


VAULT_KEY = "canary-vault-4f1c9e77a2"
ENV_KEY = "canary-env-90b1d6c3e8"
MODEL_KEY = "canary-model-77aa01fe5d"
CANARIES = (VAULT_KEY, ENV_KEY, MODEL_KEY)


def secretive(openai: FakeOpenAi) -> str:
    return f"""
[llm]
num_ctx = 65536

[sandbox]
driver = "bubblewrap"

[agents.default]
allow = ["*"]
tools_per_turn = 64

[providers.lab]
base_url = "{openai.base_url}"
api_key = "secret://lab"

[providers.other]
base_url = "{openai.base_url}"
api_key = "env://OTHER_KEY"

[mcp.servers.odd]
command = "{sys.executable}"
args = ["{hostile.__file__}"]
sandbox = false
env = {{ TOKEN = "secret://token" }}
"""


async def test_secrets_are_used_and_found_nowhere(tmp_path: Path) -> None:
    async with (
        Player() as model,
        FakeOpenAi(key="another") as openai,
        home(tmp_path, model, secretive(openai), OTHER_KEY=ENV_KEY) as place,
    ):
        daemon = await place.start()
        for name, value in (("token", VAULT_KEY), ("lab", MODEL_KEY)):
            answer = await daemon.ask("PUT", f"/api/v1/secrets/{name}", {"value": value})
            assert answer.status == 201, answer
        await _ready(daemon)
        model.plays(
            "Look",
            [call("odd__environment"), call("odd__echo", text="hi")],
            [
                call("shell", command="env; cat /proc/[0-9]*/environ | tr '\\0' ' '"),
                call("python", code="import os; print(dict(os.environ))"),
                call("write_file", path="a.txt", content="nothing"),
            ],
            lambda messages: f"I saw {messages[-1]['content'][:10]}.",
        )
        run_id = await begin(daemon, "Look around.", session_id="looking")
        streamed = asyncio.ensure_future(_updates(daemon, run_id))
        run = await until(daemon, run_id)
        refused = [
            await until(daemon, await begin(daemon, "Ask the lab.", model=name), _has_stopped)
            for name in ("lab/m1", "other/m1")
        ]
        shown = [await _text(daemon, path) for path in _addresses(run_id)]
        shown += [str(run), str(refused), await streamed]
        words, environs = await asyncio.to_thread(_processes, daemon.process.pid)
        daemon.stop()
        await daemon.wait_ended()
        kept = await asyncio.to_thread(_files, place.folder)
        shown += [json.dumps(body) for body in model.chats]

    # They were used: each got where it belongs.
    assert "completed" == run["status"], run
    assert any(VAULT_KEY in one for one in environs.values())
    sent = {seen.headers.get("Authorization") for seen in openai.asked}
    assert {f"Bearer {MODEL_KEY}", f"Bearer {ENV_KEY}"} <= sent
    assert "secret://token" in json.dumps(model.chats), "the server's answer was shown, cleaned"
    for canary in CANARIES:
        assert [] == [one[:300] for one in shown if canary in one]
        assert [] == [path for path, content in kept.items() if canary.encode() in content]
        assert [] == [one for one in words.values() if canary in one]
    assert {"completed"}.isdisjoint(one["status"] for one in refused)


def _has_stopped(run: dict[str, Any]) -> bool:
    return has_ended(run) or run["status"] == "suspended"


def _addresses(run_id: str) -> list[str]:
    session = "/api/v1/sessions/looking"
    run = f"{RUNS}/{run_id}"
    return [
        *(f"{run}{rest}" for rest in ("", "/steps?limit=500", "/export", "/files")),
        *(f"{session}{rest}" for rest in ("", "/messages", "/export", "/transcript")),
        "/api/v1/connections",
        "/api/v1/connections/odd",
        "/api/v1/secrets",
        "/api/v1/models",
        "/api/v1/tools",
        "/api/v1/agents",
        "/api/v1/approvals",
        "/health",
    ]


async def _text(daemon: Daemon, path: str) -> str:
    return (await daemon.fetch(path)).decode()


async def _ready(daemon: Daemon) -> None:
    async with asyncio.timeout(GUARD_S):
        while (await daemon.get("/api/v1/connections/odd"))["state"] != "ready":
            await asyncio.sleep(0.05)


async def _updates(daemon: Daemon, run_id: str) -> str:
    """Read what watchers of a run see, up to its end."""
    found = b""
    async with (
        asyncio.timeout(GUARD_S),
        aiohttp.ClientSession() as session,
        session.get(f"{daemon.url}{RUNS}/{run_id}/updates") as response,
    ):
        async for piece in response.content.iter_any():
            found += piece
            if b"run.completed" in found or b'"completed"' in found:
                break
    assert b"odd__environment" in found
    return found.decode()


def _processes(daemon_pid: int) -> tuple[dict[int, str], dict[int, str]]:
    """Read the words of all processes, and the variables of all but this one and the daemon."""
    words, environs = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            words[pid] = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            if pid not in (os.getpid(), daemon_pid):
                environs[pid] = (entry / "environ").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
    return words, environs


def _files(folder: Path) -> dict[str, bytes]:
    """Read all that a daemon has left: database, logs, files of runs, backups."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
