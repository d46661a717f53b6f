"""A task of forty turns for an agent, and the world that it is done in.

The model's replies follow from where the conversation stands, so that the transcript is determined:
whoever is killed on the way and goes on has to end with the very same one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fake_ollama.server import FakeOllama, Seen
from tests.fake_ollama.turns import Call, Turn, Turns

TASK = "Write the log of the ship."
HELP = "Add two lines to shared.txt."
LAST_WORD = "The log of the ship is written."
TURNS = 40
APPROVED = "echo released >> log.txt; tail -n 1 log.txt"
STORED = "stored"

Calls = Sequence[Call]


def _call(name: str, /, **arguments: Any) -> Call:
    return Call(name=name, arguments=arguments)


def _daily(day: int) -> Calls:
    """One of the plain turns: what is done twice is seen in the files."""
    line = f"day {day}"
    match day % 5:
        case 0:
            return [_call("shell", command=f"sleep 0.1; echo {line} >> log.txt; wc -l < log.txt")]
        case 1:
            return [
                _call("write_file", path=f"days/{day}.txt", content=f"{line}\n"),
                _call("shell", command=f"cat days/{day}.txt >> log.txt; tail -n 2 log.txt"),
            ]
        case 2:
            code = f"open('log.txt', 'a').write('{line}\\n')\nprint(open('log.txt').read())"
            return [_call("python", code=code)]
        case 3:
            old = f"day {day - 1}\n"
            return [_call("edit_file", path="log.txt", old=old, new=f"{old}{line}\n")]
        case _:
            return [_call("read_file", path="log.txt"), _call("list_files")]


def main_script(address: str) -> Sequence[Calls]:
    """Write what the agent does, turn by turn; after them it says its last word.

    Args:
        address: Where things are sent that must not be sent twice.
    """
    todos = [{"text": "write", "status": "in_progress"}, {"text": "send", "status": "pending"}]
    body = json.dumps({"log": "whole"})
    special: Mapping[int, Calls] = {
        0: [_call("todo", items=todos)],
        1: [
            _call("write_file", path="log.txt", content="begin\n"),
            _call("write_file", path="shared.txt", content="one\n"),
        ],
        9: [_call("shell", command=APPROVED)],
        17: [_call("delegate", task=HELP, share_files=["shared.txt"])],
        26: [_call("http_request", method="POST", url=f"{address}/letters", body=body)],
        33: [_call("shell", command="cat shared.txt >> log.txt; exit 3")],
        38: [_call("todo", items=[{**one, "status": "done"} for one in todos])],
    }
    return [special.get(turn) or _daily(turn) for turn in range(TURNS - 1)]


HELPER: Sequence[Calls] = (
    [_call("shell", command="sleep 0.1; echo two >> shared.txt; cat shared.txt")],
    [_call("shell", command="echo three >> shared.txt; cat shared.txt")],
    [_call("read_file", path="shared.txt")],
)
HELPED = "Two lines were added."


class Scribe(FakeOllama):
    """The model's server: it answers by where the conversation stands.

    Attributes:
        asked: How often each turn was asked for, by ``main 0`` or ``helper 0``.
        on_ask: Is told of each, before it is answered.
    """

    def __init__(self, address: str) -> None:
        super().__init__(piece_delay_s=0.005)
        self._scripts = {
            TASK: ("main", main_script(address), LAST_WORD),
            HELP: ("helper", HELPER, HELPED),
        }
        self.asked: Counter[str] = Counter()
        self.on_ask: Callable[[str], None] = lambda _: None

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        messages = seen.body["messages"]
        task = next(one["content"] for one in messages if one["role"] == "user")
        name, script, last_word = self._scripts[task]
        turn = sum(one["role"] == "assistant" for one in messages)
        self.asked[f"{name} {turn}"] += 1
        self.on_ask(f"{name} {turn}")
        # Taken by the next line, before anybody else has a turn.
        if turn < len(script):
            self.turns = Turns([Turn(tool_calls=script[turn])])
        else:
            self.turns = Turns([Turn(content=last_word)])
        return await super()._chat(request, seen)


class Letterbox:
    """A server that keeps what it is sent, and never notices that it had it already.

    Attributes:
        letters: Bodies, each as often as it came.
        on_letter: Is told of each, before it is answered.
    """

    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.on_letter: Callable[[], None] = lambda: None
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Letterbox:
        app = web.Application()
        app.router.add_post("/letters", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.letters.append(await request.read())
        self.on_letter()
        return web.Response(status=201, text=STORED)


def configure(folder: Path) -> None:
    """Write the settings of a daemon in whose folder the task is done."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(
        "[llm]\nnum_ctx = 65536\n\n"
        "[agents.default]\n"
        'ask = ["shell(*released*)"]\n'
        "tools_per_turn = 24\n\n"
        '[tools]\nfetch_allow = ["127.0.0.1"]\n\n'
        '[sandbox]\ndriver = "bubblewrap"\n'
    )
