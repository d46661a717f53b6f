"""Daemons that call agents elsewhere, killed in the middle; and daemons that call each other."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agency.client import Client
from agency.config.schema import RemoteAgent
from agency.core.clock import SystemClock
from agency.domain.content import Content, data_part
from agency.domain.remote import RemoteMessage
from agency.tools.a2a.agents import A2aAgents
from tests.integration.remote.conftest import Peer
from tests.processes import GUARD_S, Daemons, daemons_in, free_port, get, post

FLOWS = """
from agency import Context, StepFailed, workflow


@workflow("outer")
async def outer(ctx: Context, message: str) -> str:
    return (await ctx.call_agent("other", message)).text


@workflow("ping")
async def ping(ctx: Context, depth: dict) -> dict:
    try:
        answer = await ctx.call_agent("other", data={"depth": depth["depth"] + 1})
    except StepFailed as error:
        return {"stopped": error.error_code}
    return {"inner": answer.data}


@workflow("order")
async def order(ctx: Context, what: str) -> dict:
    number = await ctx.input("How many?", schema=int)
    return {"number": number, "bought": bool(await ctx.approve(f"Buy {number} {what}?"))}
"""


def configure(daemons: Daemons, url: str) -> None:
    (daemons.folder / "flows.py").write_text(FLOWS)
    (daemons.folder / "config.toml").write_text(
        # What probes a sandbox would outlive a daemon that is killed meanwhile.
        '[workflows]\npaths = ["flows.py"]\n[sandbox]\ndriver = "none"\n'
        f'[a2a]\nhops_max = 2\nallowed_agents = ["127.0.0.1"]\n[a2a.agents.other]\nurl = "{url}"\n'
    )


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "peer")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def until(look: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + GUARD_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline_s, "it did not become so in time"
        time.sleep(0.05)


def output_of(url: str, run_id: str) -> Any:
    """Give the output of a run that has ended; None before."""
    _, run = get(f"{url}/api/v1/runs/{run_id}")
    assert run["status"] in {"pending", "running", "suspended", "completed"}, run
    return run["output"]


def test_killed_daemon_goes_on_watching_the_task_and_sends_nothing_again(
    tmp_path: Path, peer: Peer, stack: ExitStack
) -> None:
    daemons = stack.enter_context(daemons_in(tmp_path))
    configure(daemons, peer.url())
    child = daemons.start()
    url = daemons.announced()["url"]
    _, started = post(f"{url}/api/v1/runs", {"workflow": "outer", "input": "work"})

    def is_sent() -> bool:
        _, found = get(f"{url}/api/v1/runs?workflow=call_agent")
        steps = [
            step["key"]
            for run in found["runs"]
            for step in get(f"{url}/api/v1/runs/{run['id']}/steps")[1]["steps"]
        ]
        return "send#1" in steps

    until(is_sent)
    child.send_signal(signal.SIGKILL)
    child.wait()
    peer.let_work_end()
    daemons.start()
    url = daemons.announced()["url"]

    assert "worked" == until(lambda: output_of(url, started["run_id"]))
    assert 1 == len(peer.messages())


def test_daemons_that_call_each_other_stop_at_the_limit_of_hops(
    tmp_path: Path, stack: ExitStack
) -> None:
    ports = (free_port(), free_port())
    for port, other in (ports, ports[::-1]):
        folder = tmp_path / str(port)
        folder.mkdir()
        daemons = stack.enter_context(daemons_in(folder, PORT=str(port)))
        configure(daemons, f"http://127.0.0.1:{other}/a2a/ping")
        daemons.start()
    url = f"http://127.0.0.1:{ports[0]}"

    _, started = post(f"{url}/api/v1/runs", {"workflow": "ping", "input": {"depth": 0}})

    found = until(lambda: output_of(url, started["run_id"]))
    assert {"inner": {"inner": {"stopped": "too_many_hops"}}} == found
    # The same message twice is one task: so what may not have arrived can be sent again.
    first, again = asyncio.run(_sent_twice(f"{url}/a2a/ping"))
    assert first == again

    # What the workflow of the one asks is asked by the run of the other.
    assert {"number": 5, "bought": True} == _ordered(url, f"http://127.0.0.1:{ports[1]}/a2a/order")


def _ordered(url: str, agent: str) -> Any:
    """Have an agent order something, and answer what it asks; give the data of its answer."""
    client = Client(url, None)
    started = client.start("call_agent", {"agent": agent, "message": "apples"}, wait_s=0)
    for prompt, answer in (("How many?", 5), ("Buy 5 apples?", "approve")):
        [asked, *_] = until(partial(_asking, client, prompt))
        client.decide(asked["approval_id"], "answer", value=answer, has_value=True)
    return until(lambda: output_of(url, started["run_id"]))["data"]


def _asking(client: Client, prompt: str) -> list[Any]:
    return [one for one in client.inbox().items if one["show"]["prompt"].endswith(prompt)]


async def _sent_twice(url: str) -> tuple[str, str]:
    agents = A2aAgents({"it": RemoteAgent(url=url)}, clock=SystemClock())
    message = RemoteMessage(id="the-same", content=Content(parts=[data_part({"depth": 0})]), hops=2)
    return (await agents.send("it", message)).id, (await agents.send("it", message)).id
