"""Conversations in a terminal, as a person has them: a real daemon, a played model, real keys."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.docs.terminal import Terminal, open_terminal
from tests.processes import ROOT, Daemons, daemons_in, free_port

CONFIG = """\
[llm]
provider = "ollama"
base_url = "{url}"
model = "llama3.2:latest"

[agents.default]
tools = ["write_file", "read_file", "todo", "ask_person", "delegate"]
ask = ["write_file"]
"""
WRITE = {"name": "write_file", "arguments": {"path": "a.txt", "content": "one\n"}}
EDITED = '{"path":"b.txt","content":"two\\n"}'


@dataclass
class Scene:
    """A daemon over a played model, and a terminal beside it."""

    daemons: Daemons
    port: int
    terminal: Terminal
    daemon: subprocess.Popen[str]

    def restart(self) -> None:
        self.daemon.kill()
        self.daemon.wait()
        self.start()

    def start(self) -> None:
        self.daemon = self.daemons.start("--port", str(self.port))

    def chat(self, *options: str) -> None:
        self.terminal.begin(f"agency chat {' '.join(options)}")
        self.prompt(1)

    def prompt(self, number: int) -> str:
        """Wait for the prompt of that number, and give all that is shown."""
        return self.see(lambda seen: len(re.findall("(?m)^>( |$)", seen)) >= number)

    def see(self, wanted: Any) -> str:
        is_wanted = wanted if callable(wanted) else lambda seen: wanted in seen
        seen = self.terminal.seen_until(is_wanted)
        assert is_wanted(seen), f"this is not what was waited for:\n{seen}"
        return seen

    def type(self, text: str) -> None:
        self.terminal.type(f"{text}\r")

    def leave(self) -> str:
        self.terminal.type("\x04")
        return self.ended(0)

    def ended(self, code: int) -> str:
        seen = self.terminal.end_seen()
        assert code == seen.code, seen.text
        return seen.text

    def agency(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "agency", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            cwd=self.daemons.folder,
            env=environ(self.daemons, self.port),
            timeout=60,
            check=False,
        )


def environ(daemons: Daemons, port: int) -> dict[str, str]:
    kept = {name: daemons.environ[name] for name in ("PATH", "HOME", "PYTHONPATH")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "TERM": "xterm",
        "NO_COLOR": "1",
        "LANG": "C.UTF-8",
        "AGENCY_URL": f"http://127.0.0.1:{port}",
    }


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Play the turns that the test's parameter has."""
    turns: Sequence[dict[str, Any]] = request.param
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"turns": turns}))
    model = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_ollama", "--script", str(script)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert model.stdout is not None
        url = json.loads(model.stdout.readline())["url"]
        (tmp_path / "config.toml").write_text(CONFIG.format(url=url))
        port = free_port()
        with daemons_in(tmp_path) as daemons:
            del daemons.environ["AGENCY_LLM__PROVIDER"]
            daemon = daemons.start("--port", str(port))
            with open_terminal(tmp_path, environ(daemons, port)) as terminal:
                yield Scene(daemons, port, terminal, daemon)
    finally:
        model.kill()
        model.communicate()


def plays(*turns: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scene", [turns], indirect=True, ids=["played"])


@plays(
    {"when": "Hello", "content": ["Good ", "day, ", "Ada."], "hold_after": 2},
    {"when": "Hello", "content": ["never"]},
    {"when": "Again", "content": ["Here I am."]},
)
def test_words_come_as_they_are_said_and_ctrl_c_stops_only_the_run(scene: Scene) -> None:
    scene.chat()
    scene.type("Hello")

    scene.see("Good day,")  # the rest is held back
    scene.terminal.type("\x03")
    stopped = scene.prompt(2)
    scene.type("Again")
    scene.see("Here I am.")
    seen = scene.prompt(3)
    said_bye = scene.leave()

    assert "Stopped." in stopped
    assert "[llama3.2:latest, context " in seen
    assert "agency chat --resume " in said_bye
    runs = json.loads(scene.agency("runs", "ls", "--json").stdout)["runs"]
    assert ["completed", "cancelled"] == [run["status"] for run in runs]
    assert 1 == len({run["session_id"] for run in runs})


@plays(
    {"when": "yes", "tool_calls": [WRITE]},
    {"when": "yes", "content": "Done."},
    {"when": "no", "tool_calls": [WRITE]},
    {"when": "no", "content": "Denied."},
    {"when": "edited", "tool_calls": [WRITE]},
    {"when": "edited", "content": "Other."},
)
def test_approvals_are_decided_in_line(scene: Scene) -> None:
    scene.chat()
    scene.type("write yes")
    asked = scene.see("l = later:")
    scene.type("y")
    scene.prompt(2)
    scene.type("write no")
    scene.see(lambda seen: seen.count("l = later:") == 2)
    scene.type("n not now")
    scene.prompt(3)
    scene.type("write edited")
    scene.see(lambda seen: seen.count("l = later:") == 3)
    scene.type("e")
    scene.see("arguments: {")
    scene.type(f"\x01\x0b{EDITED}")  # to the line's beginning, and away with the rest of it
    scene.prompt(4)
    scene.type("/files")
    scene.prompt(5)
    seen = scene.leave()

    assert "? Write the file 'a.txt'?" in asked
    assert "    +one" in asked
    assert '+ write_file(path="a.txt"' in seen
    assert "x write_file" in seen
    assert "The call was denied by local: not now" in seen
    assert "4  b.txt" in seen
    assert "\nDone." in seen


@plays(
    {"when": "Tell", "content": ["It ", "begins"], "hold_after": 1},
    {"when": "Tell", "content": ["It begins", " and ends."]},
    {"when": "More", "content": ["More it is."]},
)
def test_daemon_that_is_killed_in_the_middle_is_waited_for(scene: Scene) -> None:
    scene.chat()
    scene.type("Tell me")
    scene.see("It")
    scene.daemon.kill()
    scene.see("Waiting for the daemon.")

    scene.start()

    scene.see("It begins and ends.")
    back = scene.prompt(2)
    scene.type("More")
    scene.see("More it is.")
    scene.prompt(3)
    scene.leave()
    assert "The daemon is back." in back


@plays(
    {
        "when": "colour",
        "tool_calls": [
            {
                "name": "ask_person",
                "arguments": {"question": "Which one?", "choices": ["red", "blue"]},
            }
        ],
    },
    {"when": "colour", "content": "I paint it."},
)
def test_question_is_left_and_answered_when_the_conversation_is_taken_up(scene: Scene) -> None:
    scene.chat("--model", "llama3.2:latest")
    scene.type("paint it in a colour")
    asked = scene.see("answer:")
    scene.terminal.type("\x04")
    scene.ended(6)
    scene.restart()

    scene.terminal.begin("agency chat --continue")
    scene.see("answer:")
    scene.type("2")
    scene.prompt(1)
    seen = scene.leave()

    assert "? Which one?" in asked
    assert "2 = blue" in asked
    assert "The person answered: blue" in seen
    assert "I paint it." in seen


@plays(
    {"when": "first", "content": "One."}, {"when": "second", "content": "Two."}, {"content": "?"}
)
def test_pipe_is_a_conversation_line_by_line(scene: Scene) -> None:
    plain = scene.agency("chat", stdin="first\nsecond\n")
    told = scene.agency("chat", "--json", stdin="third\n")

    assert (0, "One.\nTwo.\n") == (plain.returncode, plain.stdout)
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert "end" == lines[-1]["type"]
    assert "?" == lines[-1]["run"]["output"]["response"]
    assert {"status", "step", "token"} <= {line["type"] for line in lines}
    runs = json.loads(scene.agency("runs", "ls", "--json").stdout)["runs"]
    assert 2 == len({run["session_id"] for run in runs})


@plays(
    {"when": "one", "content": "One."}, {"when": "two", "content": "Two."}, {"content": "Three."}
)
def test_conversation_is_forked_undone_and_resumed(scene: Scene) -> None:
    scene.chat()
    scene.type("one")
    scene.prompt(2)
    scene.type("two")
    scene.prompt(3)
    scene.type("/undo")
    scene.prompt(4)
    scene.type("three")
    scene.prompt(5)
    scene.type("/fork")
    listed = scene.prompt(6)
    scene.type("/nonsense")
    scene.see("There is no command /nonsense.")
    scene.type("/export talk.md")
    scene.see("Written to talk.md.")
    scene.type("/quit")
    scene.ended(0)

    assert "   3  user       three" in listed
    assert "two" not in (scene.daemons.folder / "talk.md").read_text()


@plays({"content": "x", "hold_after": 0})
def test_ctrl_c_twice_at_the_prompt_leaves(scene: Scene) -> None:
    scene.chat()
    scene.terminal.type("\x03")
    scene.see("Ctrl-C again")
    scene.prompt(2)
    scene.terminal.type("\x03")

    scene.ended(130)


@plays(
    {"when": "outer", "tool_calls": [{"name": "delegate", "arguments": {"task": "inner"}}]},
    {"when": "inner", "tool_calls": [WRITE]},
    {"when": "inner", "content": "The helper is done."},
    {"when": "outer", "content": "All is done."},
)
def test_what_a_helper_wants_to_do_is_asked_in_line(scene: Scene) -> None:
    scene.chat()
    scene.type("outer")
    asked = scene.see("l = later:")
    scene.type("y")
    scene.prompt(2)
    seen = scene.leave()

    assert "? Write the file 'a.txt'?" in asked
    assert "  | + write_file(" in seen
    assert "\nAll is done." in seen


@plays({"when": "one\ntwo", "content": "Both came."}, {"when": "three\nfour", "content": "Again."})
def test_pasted_lines_are_one_message(scene: Scene) -> None:
    scene.chat()
    scene.terminal.type("\x1b[200~one\rtwo\x1b[201~\r")
    scene.see("Both came.")
    scene.prompt(2)
    scene.terminal.type("three\\\rfour\r")
    scene.see("Again.")
    scene.see(lambda seen: seen.endswith("\n>"))
    scene.leave()


@plays(
    {"when": "elsewhere", "content": "I looked elsewhere."},
    {"times": 0, "tool_calls": [{"name": "read_file", "arguments": {"path": "no"}}]},
)
def test_hint_for_an_agent_that_is_stuck_is_given_in_line(scene: Scene) -> None:
    scene.chat()
    scene.type("go")
    asked = scene.see("answer:")
    scene.type("Look elsewhere.")
    scene.see("I looked elsewhere.")
    scene.prompt(2)
    scene.leave()

    assert "? The agent is stuck." in asked
