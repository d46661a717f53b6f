"""A daemon that is killed in the middle of a stream, and the official client that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import a2a_pb2 as pb

from tests.integration.tasks.desk import GUARD_S, shown, texts
from tests.processes import daemons_in, free_port, get, post

WORKFLOWS = '''
from agency import Context, workflow


@workflow("tell")
async def tell(ctx: Context, said: str) -> str:
    """Tells one thing at a time."""
    await ctx.deliver("log", "one ", is_last=False)
    await ctx.wait_event("go")
    await ctx.deliver("log", "two", append=True)
    colour = await ctx.input("Which colour?")
    return f"{said} {colour}"
'''


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(timeout=GUARD_S, trust_env=False) as http:
        factory = ClientFactory(ClientConfig(httpx_client=http, streaming=True))
        client = await factory.create_from_url(url)
        async with client:
            yield client


def message(said: str, task_id: str = "") -> pb.SendMessageRequest:
    return pb.SendMessageRequest(
        message=pb.Message(
            message_id=str(uuid4()), role=pb.ROLE_USER, parts=[pb.Part(text=said)], task_id=task_id
        )
    )


def line(response: pb.StreamResponse) -> str:
    kind = response.WhichOneof("payload")
    assert kind is not None
    return shown(getattr(response, kind))


async def until_told(sent: AsyncIterator[pb.StreamResponse]) -> str:
    """Read until something was handed out, and give the task's id."""
    task_id = ""
    async for response in sent:
        task_id = response.task.id or task_id
        if response.HasField("artifact_update") or response.task.artifacts:
            return task_id
    raise AssertionError("nothing was handed out")


async def rest_of(sent: AsyncIterator[pb.StreamResponse]) -> list[str]:
    return [line(response) async for response in sent]


async def test_client_comes_back_after_a_kill_and_is_told_the_rest(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(WORKFLOWS)
    port = free_port()
    settings = {"AGENCY_WORKFLOWS__PATHS": str(tmp_path / "flows.py"), "PORT": str(port)}
    url = f"http://127.0.0.1:{port}/a2a/tell"
    with daemons_in(tmp_path, **settings) as daemons:
        child = await asyncio.to_thread(daemons.start)
        first = message("hi")
        async with asyncio.timeout(GUARD_S), client_of(url) as client:
            sent = client.send_message(first)
            task_id = await until_told(sent)
            child.kill()
            with pytest.raises((A2AClientError, httpx.HTTPError)):
                await rest_of(sent)
        child.communicate()

        await asyncio.to_thread(daemons.start)
        async with asyncio.timeout(GUARD_S), client_of(url) as client:
            # The same message again is the same task, which still stands where it was.
            sent = client.send_message(first)
            assert task_id == (await anext(sent)).task.id
            stream = client.subscribe(pb.SubscribeToTaskRequest(id=task_id))
            snapshot = (await anext(stream)).task
            assert ["one "] == texts(snapshot.artifacts[0].parts)
            events = f"http://127.0.0.1:{port}/api/v1/runs/{task_id}/events"
            status, _ = await asyncio.to_thread(post, events, {"name": "go", "payload": None})
            assert status in {200, 202}
            told = await rest_of(sent)
            assert ["log+. two", "status input_required"] == told[-2:]
            async for _ in client.send_message(message("red", task_id)):
                pass
            rest = await rest_of(stream)

        assert ["log+. two", "output. hi red", "status completed"] == [
            one for one in rest if not one.startswith("status") or one == "status completed"
        ]
        _, run = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/api/v1/runs/{task_id}")
        assert ("completed", "hi red") == (run["status"], run["output"])
