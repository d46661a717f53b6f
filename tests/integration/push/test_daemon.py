"""Push notifications of a real daemon, killed in between; and what its owner sees of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.push.receiver import receiving
from tests.processes import Daemons, daemons_in

WORKFLOW = """
from agency import Context, workflow


@workflow("ask")
async def ask(ctx: Context, message: str) -> str:
    return f"You like {await ctx.input('Which colour?')}."
"""


def call(url: str, method: str, **params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
    request = urllib.request.Request(f"{url}/a2a/ask", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=15) as answer:
        return json.load(answer)


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}], **more}


async def started(daemons: Daemons, config: Path) -> tuple[subprocess.Popen[str], str]:
    child = await asyncio.to_thread(daemons.start, "--config", config)
    return child, daemons.announced()["url"]


async def test_notifications_go_on_after_a_kill_and_their_owner_sees_how_far(
    tmp_path: Path,
) -> None:
    (tmp_path / "flows.py").write_text(WORKFLOW)
    config = tmp_path / "agency.toml"
    config.write_text(
        f'[workflows]\npaths = ["{tmp_path / "flows.py"}"]\n'
        '[a2a]\npush_allow_private = ["127.0.0.1"]\n'
    )
    with daemons_in(tmp_path) as daemons:
        async with receiving() as receiver:
            child, url = await started(daemons, config)
            push = {"id": "p", "url": receiver.url, "token": "t0ken-t0ken"}
            refused = await asyncio.to_thread(
                call, url, "SendMessage", message=message("refused"),
                configuration={"taskPushNotificationConfig": {"url": "http://[::1]:9/"}},
            )  # fmt: skip
            sent = await asyncio.to_thread(
                call, url, "SendMessage", message=message("hello"),
                configuration={"taskPushNotificationConfig": push},
            )  # fmt: skip
            task_id = sent["result"]["task"]["id"]
            await receiver.until(lambda got: bool(got) and got[-1].said == "INPUT_REQUIRED")

            # The next one comes, and the daemon is dead before it hears that it was taken.
            receiver.holds = asyncio.Event()
            before = len(receiver.got)
            await asyncio.to_thread(
                call, url, "SendMessage", message=message("red", taskId=task_id)
            )
            await receiver.count(before + 1)
            child.kill()
            log = "".join(child.communicate())
            receiver.holds.set()
            receiver.holds = None

            _, url = await started(daemons, config)
            got = await receiver.end()
            await asyncio.to_thread(_settled, url, task_id)
            shown = json.loads(_command(url, "a2a", "push", task_id, "--json"))["pushes"][0]

    assert refused["error"]["code"] == -32602
    ids = [one.id for one in got]
    assert ids[before] in ids[before + 1 :]
    numbers = [[int(part) for part in one.split("-")[-2:]] for one in dict.fromkeys(ids)]
    assert numbers == sorted(numbers)
    assert receiver.taken[-2:] == ["artifact output", "COMPLETED"]
    assert {one.headers["X-A2A-Notification-Token"] for one in got} == {"t0ken-t0ken"}
    assert (shown["state"], shown["skipped"], shown["last_error"]) == ("done", 0, None)
    assert shown["task_id"] == task_id
    assert "run accepted" in log
    assert "t0ken-t0ken" not in json.dumps(shown) + log


def _settled(url: str, task_id: str) -> None:
    """Wait until it was noted that the end was taken."""
    path = f"{url}/api/v1/runs/{task_id}/push"
    for _ in range(500):
        with urllib.request.urlopen(path, timeout=15) as answer:
            if json.load(answer)["pushes"][0]["state"] != "active":
                return
    raise AssertionError("the end was not noted")


def _command(url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agency", *arguments, "--url", url],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return done.stdout
