"""One task from a script or a terminal: a real daemon with a rehearsed model, and real keys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_chat import environ
from tests.docs.terminal import Terminal, open_terminal
from tests.processes import Daemons, daemons_in, free_port

CONFIG = """\
[llm]
provider = "rehearsal"
rehearsal_script = "rehearsal.toml"

[agents.default]
tools = ["write_file", "read_file", "todo"]

[agents.careful]
tools = ["write_file"]
ask = ["write_file"]
"""
SCRIPT = """\
[[rules]]
when = { contains = "slow" }
reply = "At last."
delay_s = 600

[[rules]]
when = { contains = "write", tool_result = "write_file" }
reply = "It is written."

[[rules]]
when = { contains = "write" }
tool_calls = [{ name = "write_file", arguments = { path = "out/.hidden", content = "one" } }]

[[rules]]
when = { contains = "read", tool_result = "read_file" }
reply = "It is read."

[[rules]]
when = { contains = "read" }
tool_calls = [{ name = "read_file", arguments = { path = "given.bin" } }]
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "rehearsal.toml").write_text(SCRIPT)
    with daemons_in(tmp_path) as started:
        yield started


@pytest.fixture
def surroundings(daemons: Daemons) -> dict[str, str]:
    """Start a daemon, and give the environment of commands that talk to it."""
    port = free_port()
    daemons.start("--port", str(port))
    return environ(daemons, port)


@pytest.fixture
def agency(daemons: Daemons, surroundings: dict[str, str]) -> Run:
    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "agency", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            cwd=daemons.folder,
            env=surroundings,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def terminal(daemons: Daemons, surroundings: dict[str, str]) -> Iterator[Terminal]:
    with open_terminal(daemons.folder, surroundings) as opened:
        yield opened


def test_result_is_all_of_stdout_and_files_are_fetched(agency: Run, daemons: Daemons) -> None:
    done = agency("task", "Please write.", "--out", "fetched")

    assert (0, "It is written.\n") == (done.returncode, done.stdout)
    assert "+ write_file(" in done.stderr
    assert "rehearsal" in done.stderr
    assert "one" == (daemons.folder / "fetched/out/.hidden").read_text()


def test_files_are_handed_over_and_only_what_has_changed_is_fetched(
    agency: Run, daemons: Daemons
) -> None:
    (daemons.folder / "given.bin").write_bytes(b"\xff\x00text")

    done = agency("task", "read", "--file", "given.bin", "--out", "fetched", "--json", "--quiet")

    run = json.loads(done.stdout)
    assert (0, [], "completed") == (done.returncode, run["saved"], run["status"])
    assert {"base64": "/wB0ZXh0"} == run["input"]["files"]["given.bin"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["write", "--max-turns", "1"], 1, "limit of turns"),
        (["write", "--agent", "careful", "--no-wait"], 6, "agency approvals approve"),
        (["slow", "--timeout", "1s"], 7, "It goes on."),
        (["write", "--agent", "nobody"], 2, "There is no agent 'nobody'"),
        (["write", "--file", "missing"], 2, "cannot be read"),
        (["write", "--schema", "[1]"], 2, "--schema"),
        (["  "], 2, "There is no task."),
    ],
    ids=["limit", "waiting", "timed_out", "agent", "file", "schema", "empty"],
)
def test_exit_code_says_how_it_went(agency: Run, options: list[str], code: int, said: str) -> None:
    done = agency("task", *options)

    assert code == done.returncode, done.stderr
    assert said in done.stderr


def test_detached_task_is_cancelled_elsewhere(agency: Run) -> None:
    run_id = agency("task", "slow", "--detach").stdout.strip()
    agency("runs", "cancel", run_id)

    assert "cancelled" == json.loads(agency("runs", "show", run_id, "--json").stdout)["status"]


def test_tools_are_narrowed_to_none(agency: Run) -> None:
    done = agency("task", "write", "--tools", "", "--json")

    run = json.loads(done.stdout)
    assert [] == run["input"]["tools"]
    assert 0 == run["output"]["usage"]["tool_calls"]


def test_interrupted_without_a_terminal_the_run_goes_on(
    agency: Run, daemons: Daemons, surroundings: dict[str, str]
) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "agency", "task", "slow"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=daemons.folder,
        env=surroundings,
    )
    assert watching.stderr is not None
    run_id = watching.stderr.readline().split()[1]

    os.kill(watching.pid, signal.SIGINT)
    _, said = watching.communicate(timeout=60)

    assert 130 == watching.returncode
    assert "goes on" in said
    assert "running" == json.loads(agency("runs", "show", run_id, "--json").stdout)["status"]


def test_ctrl_c_asks_what_becomes_of_the_run(agency: Run, terminal: Terminal) -> None:
    terminal.begin("agency task slow")
    terminal.seen_until(lambda seen: "turn 1" in seen)
    terminal.type("\x03")
    terminal.seen_until(lambda seen: "c = cancel" in seen)
    terminal.type("\r")
    terminal.seen_until(lambda seen: "Going on." in seen)
    terminal.type("\x03")
    terminal.seen_until(lambda seen: seen.count("c = cancel") == 2)
    terminal.type("c\r")
    seen = terminal.end_seen()

    assert 1 == seen.code
    assert "is cancelled" in seen.text
    [run] = json.loads(agency("runs", "ls", "--json").stdout)["runs"]
    assert "cancelled" == run["status"]


def test_approval_is_asked_for_beside_the_result(daemons: Daemons, terminal: Terminal) -> None:
    terminal.begin("agency task write --agent careful --out got > result.txt")
    asked = terminal.seen_until(lambda seen: "l = later:" in seen)
    terminal.type("y\r")
    seen = terminal.end_seen()

    assert "? Write the file 'out/.hidden'?" in asked
    assert 0 == seen.code
    assert "It is written.\n" == (daemons.folder / "result.txt").read_text()
    assert (daemons.folder / "got/out/.hidden").exists()


def test_a_tool_that_there_is_not_is_refused_before_anything_starts(agency: Run) -> None:
    done = agency("task", "read", "--tools", "read_file,raed_file")

    assert (2, "") == (done.returncode, done.stdout)
    assert "There is no tool or toolset 'raed_file'." in done.stderr
    assert "agency tools ls" in done.stderr
    assert "" == agency("runs", "ls").stdout
