"""Streams over a killed daemon: who subscribes again has the rest, and no task works for ever."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.fronts.conftest import NO_SANDBOX, WORKFLOWS
from tests.processes import GUARD_S, Daemons, daemons_in, free_port

HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/json"}


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    (tmp_path / "flows.py").write_text(WORKFLOWS)
    config = tmp_path / "agency.toml"
    config.write_text(f'[workflows]\npaths = ["{tmp_path / "flows.py"}"]\n{NO_SANDBOX}')
    with daemons_in(tmp_path, PORT=str(free_port())) as started:
        yield started


def _said(text: str, **more: str) -> bytes:
    message = {"role": "ROLE_USER", "messageId": uuid.uuid4().hex, "parts": [{"text": text}]}
    return json.dumps({"message": {**message, **more}}).encode()


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def test_stream_goes_on_after_a_kill_and_ends_with_a_stop(
    daemons: Daemons, http: aiohttp.ClientSession
) -> None:
    killed = daemons.start("--config", "agency.toml")
    rest = daemons.announced()["url"] + "/a2a/ask/v1"
    async with http.post(f"{rest}/message:stream", data=_said("Hello"), headers=HEADERS) as stream:
        first = await anext(_events(stream))
    task_id = first["task"]["id"]
    watching = f"{rest}/tasks/{task_id}:subscribe"

    async with http.post(watching, headers=HEADERS) as cut_off:
        await anext(_events(cut_off))
        killed.send_signal(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await cut_off.read()
    killed.communicate(timeout=GUARD_S)
    again = daemons.start("--config", "agency.toml")

    async with http.post(watching, headers=HEADERS) as stream:
        events = _events(stream)
        snapshot = await anext(events)
        answer = _said("green", taskId=task_id)
        async with http.post(f"{rest}/message:send", data=answer, headers=HEADERS) as answered:
            ended = await answered.json()
        told = [event async for event in events]

    assert (task_id, "TASK_STATE_INPUT_REQUIRED") == (
        snapshot["task"]["id"],
        snapshot["task"]["status"]["state"],
    )
    assert "TASK_STATE_COMPLETED" == ended["task"]["status"]["state"]
    assert "TASK_STATE_COMPLETED" == told[-1]["statusUpdate"]["status"]["state"]
    other = await _open_task(http, rest)
    async with http.post(f"{rest}/tasks/{other}:subscribe", headers=HEADERS) as stream:
        await anext(_events(stream))
        again.send_signal(signal.SIGTERM)
        await stream.read()
    assert 0 == again.wait(timeout=GUARD_S)


async def _open_task(http: aiohttp.ClientSession, rest: str) -> str:
    async with http.post(f"{rest}/message:send", data=_said("Hello"), headers=HEADERS) as sent:
        answer = await sent.json()
    task_id: str = answer["task"]["id"]
    return task_id
