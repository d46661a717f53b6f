"""A server over stdio that tells everybody what is in the variable ``SHOWN``.

Each call does another thing: it fails, answers, asks, and ends the server.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

SHOWN = os.environ.get("SHOWN", "")
SCHEMA = {
    "type": "object",
    "description": f"All about {SHOWN}",
    "properties": {"a": {"type": "string"}},
}
FORM = {"type": "object", "properties": {"name": {"type": "string", "description": SHOWN}}}


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def call(number: int, identity: Any, params: dict[str, Any]) -> None:
    token = params["_meta"]["progressToken"]
    progress = {"progressToken": token, "progress": number, "message": SHOWN}
    say(method="notifications/progress", params=progress)
    say(method="notifications/message", params={"level": "info", "data": SHOWN})
    match number:
        case 1:
            say(id=identity, error={"code": -32000, "message": f"no {SHOWN}"})
        case 2:
            texts = [{"type": "text", "text": SHOWN}]
            say(id=identity, result={"content": texts, "structuredContent": {SHOWN: SHOWN}})
        case 3:
            asked = {"message": f"Is it {SHOWN}?", "requestedSchema": FORM}
            say(id=1000, method="elicitation/create", params=asked)
        case _:
            os._exit(3)


def main() -> None:
    sys.stderr.write(f"{SHOWN}\n")
    sys.stderr.flush()
    calls = 0
    for line in sys.stdin:
        message = json.loads(line)
        identity, method = message.get("id"), message.get("method")
        match method:
            case "initialize":
                result = {
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": {"tools": {}, "logging": {}},
                    "serverInfo": {"name": SHOWN, "version": "1"},
                }
                say(id=identity, result=result)
            case "tools/list":
                names = ("tell", f"tell-{SHOWN}")
                tools = [
                    {"name": name, "title": SHOWN, "description": SHOWN, "inputSchema": SCHEMA}
                    for name in names
                ]
                say(id=identity, result={"tools": tools})
            case "tools/call":
                calls += 1
                call(calls, identity, message["params"])
            case "ping":
                say(id=identity, result={})
            case _ if identity is not None and method is not None:
                say(id=identity, error={"code": -32601, "message": "no such method"})


if __name__ == "__main__":
    main()
