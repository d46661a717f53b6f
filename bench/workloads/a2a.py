"""Messages over A2A, each to a task of its own that ends before it is answered."""

from __future__ import annotations

import json
import statistics
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from bench.a2a_server import served
from bench.contender import Laboratory
from bench.daemon import Daemon
from bench.load import CONNECTIONS, generator, scripted_per_s
from bench.report import Outcome, Table, Target

OURS, PEER = "agency, durable (WAL, FULL)", "the SDK's server on its in-memory store"
HEADERS = {"Content-Type": "application/json", "A2A-Version": "1.0"}

# Every message has an id of its own: one that comes again starts nothing.
_SCRIPT = """
local count = 0
local thread = 0
setup = function(thread) thread:set("seed", tostring({{}}):sub(8)) end
request = function()
  count = count + 1
  local id = seed .. "-" .. count .. "-{round}"
  local body = '{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"message":{{'
    .. '"messageId":"' .. id .. '","role":"ROLE_USER","parts":[{{"text":"hello"}}]}}}}}}'
  return wrk.format("POST", nil,
    {{["Content-Type"] = "application/json", ["A2A-Version"] = "1.0"}}, body)
end
"""


def measure(laboratory: Laboratory) -> Outcome:
    """Measure both in turns, on the RAM disk where there is one."""
    outcome = Outcome(name="a2a")
    place = laboratory.places[0]
    seconds, rounds = (1.0, 1) if laboratory.is_quick else (4.0, 5)
    rates: dict[str, list[float]] = {OURS: [], PEER: []}
    with Daemon(place.folder / "a2a") as daemon, served() as peer:
        daemon.start()
        url = f"{daemon.url}/a2a/bench-echo"
        for one in (url, peer):
            _try(one)
        for number in range(rounds):
            for name, one in ((OURS, url), (PEER, peer)):
                rates[name].append(_per_s(one, seconds, number))
    outcome.tables.append(
        Table(
            title=f"SendMessage to a workflow of one step, answered with the completed task · "
            f"{place.title} · {CONNECTIONS} connections · {generator()} · {rounds} rounds in turns",
            columns=("", "messages/s", "range"),
            rows=[
                [name, f"{statistics.median(found):.0f}", f"{min(found):.0f} to {max(found):.0f}"]
                for name, found in rates.items()
            ],
        )
    )
    ratio = statistics.median(
        ours / theirs for ours, theirs in zip(rates[OURS], rates[PEER], strict=True)
    )
    outcome.targets.append(
        Target(name=f"times the rate of {PEER}", limit=1.5, attained=ratio, is_floor=True)
    )
    return outcome


def _per_s(url: str, seconds: float, number: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "send.lua"
        script.write_text(_SCRIPT.format(round=number))
        return scripted_per_s(url, script, seconds=seconds)


def _try(url: str) -> None:
    """Send one message, and see that its task has completed: both are to do the same."""
    message = {"messageId": "first", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    asked = urllib.request.Request(url, json.dumps(call).encode(), HEADERS)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        told: dict[str, Any] = json.load(answer)
    task = told["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED", told
    assert task["artifacts"][0]["parts"][0]["text"] == "hello", told
