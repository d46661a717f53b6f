"""The runtime checklist of the agent workflow deployment notes, at a real daemon."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.processes import GUARD_S, ROOT, daemons_in, get, log_messages, post

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

CONFIG = """\
[workflows]
paths = ["availability_planner.py", "local_insight.py", "broken.py"]
"""
BROKEN = """\
from agency import Context, Retry, workflow


@workflow("broken", retry=Retry(attempts=2, base_s=0))
async def broken(ctx: Context, value: int) -> None:
    raise OSError(f"{value} does not work.")
"""
WISH = {
    "people": [{"name": "ann", "zone": "Europe/Berlin"}, {"name": "bob"}],
    "window": {"start": "2026-03-23T00:00:00Z", "end": "2026-03-24T00:00:00Z"},
}


def furnish(folder: Path) -> None:
    for name in ("availability_planner.py", "local_insight.py"):
        shutil.copy(ROOT / "examples" / name, folder)
    (folder / "broken.py").write_text(BROKEN)
    (folder / "config.toml").write_text(CONFIG)
    (folder / "notes").mkdir()
    (folder / "notes/office.txt").write_text("The key of the archive hangs in the kitchen.")


def watched(url: str, *arguments: str) -> list[dict[str, Any]]:
    """Watch tasks with curl until the stream ends; gives the data of its events in order."""
    done = subprocess.run(
        ["curl", "-sSN", "--max-time", str(GUARD_S), *arguments, url],
        capture_output=True,
        text=True,
        timeout=GUARD_S + 5,
        check=True,
    )
    lines = done.stdout.splitlines()
    return [
        {"event": event.removeprefix("event: "), **json.loads(data.removeprefix("data: "))}
        for event, data in pairwise(lines)
        if event.startswith("event: ")
    ]


def finished(url: str, type_: str, payload: Any, **more: Any) -> tuple[dict[str, Any], list[Any]]:
    """Submit a task, watch it to its end, and read it."""
    status, accepted = post(f"{url}/api/tasks", {"type": type_, "payload": payload, **more})
    assert (202, "pending", 0) == (status, accepted["status"], accepted["attempts"])
    events = watched(f"{url}/api/task-events?taskId={accepted['id']}", "-H", "Last-Event-ID: 0")
    task = get(f"{url}/api/tasks/{accepted['id']}")[1]
    return task, events


def test_checklist_of_the_notes(tmp_path: Path) -> None:
    furnish(tmp_path)
    environ = {"AGENT_LOG_LEVEL": "debug", "JWT_SECRET": "abcdef0123456789", "DB_HOST": "::1"}
    with daemons_in(tmp_path, **environ) as daemons:
        log_file = tmp_path / "agency.log"
        daemons.start("--config", "config.toml", "--log-file", log_file)
        url = daemons.announced()["url"]

        planned, events = finished(url, "availability", WISH)
        insight, _ = finished(url, "knowledge", {"question": "Where is the key?"})
        unknown, _ = finished(url, "knowledge", {"question": "Who was Napoleon?"})
        dead, told = finished(url, "broken", 7)
        refused, problem = post(f"{url}/api/tasks", {"type": "nothing"})
        inbox = get(f"{url}/api/tasks/inbox")[1]["items"]
        letters = get(f"{url}/api/tasks?status=dead-letter")[1]["items"]
        # A run's end is told to watchers and written to the log by different tasks.
        guard_s = time.monotonic() + GUARD_S
        while "Task moved to dead-letter" not in log_file.read_text():
            assert time.monotonic() < guard_s
            time.sleep(0.05)
        log = log_messages(log_file)

    assert ("completed", 3) == (planned["status"], len(planned["result"]))
    assert ["connected", "task-update", "task-update", "task-update"] == [
        one["event"] for one in events
    ]
    assert planned == {key: events[-1][key] for key in planned}
    assert ["office.txt:1"] == insight["result"]["sources"]
    assert (False, []) == (unknown["result"]["is_answered"], unknown["result"]["sources"])
    assert ("dead-letter", 2, "7 does not work.") == (
        dead["status"],
        dead["attempts"],
        dead["error"],
    )
    assert "dead-letter" == told[-1]["status"]
    assert [dead["id"]] == [one["id"] for one in letters]
    assert {planned["id"], insight["id"], unknown["id"]} == {one["id"] for one in inbox}
    assert (400, "There is no workflow named 'nothing'.") == (refused, problem["message"])

    def logged(message: str, **fields: Any) -> bool:
        return any(one["message"] == message and fields.items() <= one.items() for one in log)

    assert logged("Task submitted", task_id=dead["id"], type="broken")
    assert logged("run ended", run_id=planned["id"], workflow="availability", outcome="completed")
    assert logged("Task moved to dead-letter", run_id=dead["id"], workflow="broken")
    assert logged("SSE connection opened", path="/api/task-events")
    assert logged("SSE connection closed", path="/api/task-events", why="ended")
    assert logged("environment variable has no effect", variable="JWT_SECRET", level="warning")
    assert logged("environment variable has no effect", variable="DB_HOST")
    assert environ["JWT_SECRET"] not in log_file.read_text()


def test_agents_are_switched_off_by_the_variables_of_the_notes(tmp_path: Path) -> None:
    furnish(tmp_path)
    switches = {"FEATURE_KNOWLEDGE_AGENT": "false", "FEATURE_AVAILABILITY_AGENT": "true"}
    with daemons_in(tmp_path, **switches, FEATURE_NOBODYS_AGENT="off") as daemons:
        log_file = tmp_path / "agency.log"
        daemons.start("--config", "config.toml", "--log-file", log_file)
        url = daemons.announced()["url"]

        status, problem = post(f"{url}/api/tasks", {"type": "knowledge", "payload": {}})
        by_api = post(f"{url}/api/v1/runs", {"workflow": "knowledge", "input": {}})
        planned, _ = finished(url, "availability", WISH)
        shown = get(f"{url}/api/v1/definitions")[1]["definitions"]
        log = log_messages(log_file)

    assert (409, "workflow_disabled") == (status, problem["code"])
    assert (409, "workflow_disabled") == (by_api[0], by_api[1]["code"])
    assert "completed" == planned["status"]
    assert ["knowledge"] == [one["name"] for one in shown if not one["enabled"]]
    told = [one for one in log if one["message"] == "feature names no workflow"]
    assert [("nobodys", "env FEATURE_NOBODYS_AGENT")] == [
        (one["feature"], one["origin"]) for one in told
    ]


def test_submitted_tasks_survive_a_kill(tmp_path: Path) -> None:
    furnish(tmp_path)
    with daemons_in(tmp_path) as daemons:
        first = daemons.start("--config", "config.toml")
        url = daemons.announced()["url"]
        later = "2026-01-01T00:00:00Z"
        ids = [
            post(
                f"{url}/api/tasks",
                {"type": "availability", "payload": WISH, "scheduleAt": later, "priority": number},
            )[1]["id"]
            for number in range(10)
        ]
        first.kill()
        first.wait(GUARD_S)
        daemons.start("--config", "config.toml")
        url = daemons.announced()["url"]

        for task_id in ids:
            watched(f"{url}/api/task-events?taskId={task_id}")
        tasks = [get(f"{url}/api/tasks/{task_id}")[1] for task_id in ids]

    assert {"completed"} == {one["status"] for one in tasks}
    assert {1} == {one["attempts"] for one in tasks}
