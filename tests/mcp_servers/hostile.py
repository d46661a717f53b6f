"""A server over stdio that does what servers should not, and what few servers do.

It speaks the older era by hand, line by line, so that nothing keeps it from being wrong. Run as
``python hostile.py [WORD …]``; the words say what is wrong from the beginning:

``banner``       text on stdout before and between the messages
``stubborn``     ignores the end of its input, and SIGTERM
``children``     leaves processes behind that do the same, one of them in a session of its own
``silent``       answers nothing at all
``leaves``       exits at the first question that it does not know
``dies``         exits at once, with words on stderr
``deaf``         does not answer pings
``flood``        writes to stderr without end
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": True}
TOOLS = {
    "echo": {"readOnlyHint": True},
    "count": {},
    "slow": {},
    "hang": {},
    "exit": {},
    "huge": {},
    "flood": {},
    "garbage": {},
    "grow": {},
    "ask": {},
    "ask_twice": {},
    "ask_model": {},
    "ask_much": {},
    "ask_page": {},
    "roots": {},
    "environment": {},
    "bad structure": {},
    "picture": {},
    "progress": {},
    "wipe": {"destructiveHint": True, "readOnlyHint": False},
}


class Server:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.lock = threading.Lock()
        self.next_id = 1000
        self.answers: dict[int, Any] = {}
        self.arrived = threading.Condition()
        self.cancelled: set[Any] = set()
        self.more: list[str] = []
        self.counted = 0

    def write(self, text: str) -> None:
        with self.lock:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def say(self, **message: Any) -> None:
        if "banner" in self.words:
            self.write("hello, I am a line that is no message")
        self.write(json.dumps({"jsonrpc": "2.0", **message}))

    def answer(self, identity: Any, text: str, **more: Any) -> None:
        self.say(id=identity, result={"content": [{"type": "text", "text": text}], **more})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Send a request of our own and wait for its answer."""
        with self.arrived:
            self.next_id += 1
            identity = self.next_id
        self.say(id=identity, method=method, params=params)
        with self.arrived:
            self.arrived.wait_for(lambda: identity in self.answers, timeout=60)
            return self.answers.get(identity)

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "method" not in message:
                with self.arrived:
                    self.answers[message["id"]] = message.get("result") or message.get("error")
                    self.arrived.notify_all()
                continue
            if "silent" in self.words:
                continue
            if message["method"] == "notifications/cancelled":
                self.cancelled.add(message["params"].get("requestId"))
                continue
            if "id" in message:
                threading.Thread(target=self.handle, args=(message,), daemon=True).start()

    def handle(self, message: dict[str, Any]) -> None:
        identity, method = message["id"], message["method"]
        match method:
            case "initialize":
                version = message["params"]["protocolVersion"]
                self.say(
                    id=identity,
                    result={
                        "protocolVersion": version,
                        "capabilities": {"tools": {"listChanged": True}},
                        "serverInfo": {"name": "hostile", "version": "1"},
                    },
                )
            case "ping":
                if "deaf" not in self.words:
                    self.say(id=identity, result={})
            case "tools/list":
                names = [*TOOLS, *self.more]
                tools = [
                    {"name": name, "inputSchema": SCHEMA, "annotations": TOOLS.get(name, {})}
                    for name in names
                ]
                self.say(id=identity, result={"tools": tools})
            case "tools/call":
                params = message["params"]
                self.call(identity, params["name"], params.get("arguments") or {}, params)
            case _:
                if "leaves" in self.words:
                    os._exit(3)
                self.say(id=identity, error={"code": -32601, "message": "no such method"})

    def call(self, identity: Any, name: str, given: dict[str, Any], params: dict[str, Any]) -> None:
        match name:
            case "echo":
                self.answer(identity, str(given.get("text", "")))
            case "count":
                # Calls with the same idempotency key are one and the same.
                self.counted += 1
                self.answer(identity, f"{self.counted} {params['_meta']}")
            case "slow":
                time.sleep(float(given.get("seconds", 0.2)))
                self.answer(identity, "done")
            case "hang":
                while identity not in self.cancelled:
                    time.sleep(0.01)
                sys.stderr.write(f"cancelled {given.get('word')}\n")
                sys.stderr.flush()
            case "exit":
                os._exit(7)
            case "huge":
                self.answer(identity, "x" * int(given["bytes"]))
            case "flood":
                for _ in range(int(given["lines"])):
                    sys.stderr.write("y" * 1000 + "\n")
                sys.stderr.flush()
                self.answer(identity, "flooded")
            case "garbage":
                self.write('{"jsonrpc": "2.0", "id": ')
                self.write("\x00\xff not json at all")
                self.write(json.dumps({"jsonrpc": "2.0", "id": 999999, "result": {}}))
                self.write(json.dumps([1, 2, 3]))
                self.answer(identity, "after garbage")
            case "grow":
                self.more.append(str(given["name"]))
                self.say(method="notifications/tools/list_changed")
                self.answer(identity, "grown")
            case "wipe":
                self.answer(identity, "wiped")
            case "picture":
                blocks = [
                    {"type": "text", "text": "Here:"},
                    {"type": "image", "mimeType": "image/png", "data": given["data"]},
                    {"type": "image", "mimeType": "image/svg+xml", "data": given["data"]},
                    {"type": "audio", "mimeType": "audio/wav; rate=8000", "data": given["data"]},
                    {"type": "audio", "mimeType": "image/png", "data": given["data"]},
                ]
                self.say(id=identity, result={"content": blocks})
            case "bad structure":
                self.say(id=identity, result={"content": "not a list"})
            case "environment":
                self.answer(identity, json.dumps(dict(os.environ)))
            case "progress":
                token = params["_meta"]["progressToken"]
                self.say(
                    method="notifications/progress",
                    params={"progressToken": token, "progress": 1, "total": 2, "message": "half"},
                )
                self.answer(identity, "done")
            case _:
                self.inquire(identity, name, given)

    def inquire(self, identity: Any, name: str, given: dict[str, Any]) -> None:
        form = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        match name:
            case "ask":
                said = self.ask(
                    "elicitation/create",
                    {"message": f"Who are you, {given.get('word', '')}?", "requestedSchema": form},
                )
            case "ask_twice":
                first = self.ask(
                    "elicitation/create", {"message": "First?", "requestedSchema": form}
                )
                second = self.ask(
                    "elicitation/create", {"message": "Second?", "requestedSchema": form}
                )
                said = [first, second]
            case "ask_model":
                said = self.ask(
                    "sampling/createMessage",
                    {
                        "messages": [
                            {"role": "user", "content": {"type": "text", "text": "Say a word."}}
                        ],
                        "maxTokens": 10,
                        "systemPrompt": "Be short.",
                    },
                )
            case "ask_much":
                asked: dict[str, Any] = {"message": "?", "requestedSchema": form}
                said = []
                asking = [
                    threading.Thread(
                        target=lambda: said.append(self.ask("elicitation/create", asked))
                    )
                    for _ in range(int(given["times"]))
                ]
                for one in asking:
                    one.start()
                for one in asking:
                    one.join()
            case "ask_page":
                said = self.ask(
                    "elicitation/create",
                    {
                        "mode": "url",
                        "message": "Sign in.",
                        "url": "https://example.org/in",
                        "elicitationId": "e-1",
                    },
                )
            case "roots":
                said = self.ask("roots/list", {})
            case _:
                self.say(id=identity, error={"code": -32602, "message": f"no tool {name}"})
                return
        self.answer(identity, json.dumps(said))


def main(words: list[str]) -> None:
    if "dies" in words:
        sys.stderr.write("I cannot find my configuration\n")
        sys.exit(9)
    if "stubborn" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "children" in words:
        stubborn = "import signal,time; signal.signal(15, 1); time.sleep(600)"
        for is_apart in (False, True):
            subprocess.Popen(
                [sys.executable, "-c", stubborn, *words],
                start_new_session=is_apart,
                stdout=sys.stdout if is_apart else subprocess.DEVNULL,
            )
    if "flood" in words:
        threading.Thread(target=_flood, daemon=True).start()
    Server(words).serve()
    if "stubborn" in words:
        time.sleep(600)


def _flood() -> None:
    while True:
        sys.stderr.write("noise " * 200 + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
