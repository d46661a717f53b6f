"""The official client, unchanged, over every transport and version, against real runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from a2a.utils.errors import A2AError

from tests.integration.fronts.conftest import Place

GUARD_S = 20

Speak = Callable[..., Awaitable[Client]]


def message(text: str, **more: Any) -> pb.SendMessageRequest:
    said = pb.Message(
        role=pb.ROLE_USER, message_id=uuid.uuid4().hex, parts=[pb.Part(text=text)], **more
    )
    return pb.SendMessageRequest(message=said)


async def told(client: Client, request: pb.SendMessageRequest) -> list[pb.StreamResponse]:
    async with asyncio.timeout(GUARD_S):
        return [event async for event in client.send_message(request)]


def _card_of(place: Place, name: str, binding: str, version: str) -> pb.AgentCard:
    """Make a card that leaves the client no choice."""
    urls = {"JSONRPC": place.agent(name), "GRPC": f"127.0.0.1:{place.grpc_port}"}
    rest = place.agent(name) + ("/v1" if version == "1.0" else "")
    interface = pb.AgentInterface(
        url=urls.get(binding, rest),
        protocol_binding=binding,
        protocol_version=version,
        tenant=name if binding == "GRPC" else "",
    )
    return pb.AgentCard(
        name=name,
        supported_interfaces=[interface],
        capabilities=pb.AgentCapabilities(streaming=True, push_notifications=True),
    )


TRANSPORTS = [
    pytest.param("JSONRPC", "1.0", id="json-rpc"),
    pytest.param("HTTP+JSON", "1.0", id="http"),
    pytest.param("GRPC", "1.0", id="grpc"),
    pytest.param("JSONRPC", "0.3", id="json-rpc-0.3"),
    pytest.param("HTTP+JSON", "0.3", id="http-0.3"),
]


@pytest.fixture
async def speak(place: Place) -> AsyncIterator[Speak]:
    """Make clients for an agent, a transport and a version; they are closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(name: str, binding: str, version: str, *, streaming: bool = True) -> Client:
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=GUARD_S))
            config = ClientConfig(
                httpx_client=http,
                supported_protocol_bindings=[binding],
                grpc_channel_factory=grpc.aio.insecure_channel,
                streaming=streaming,
            )
            client = ClientFactory(config).create(_card_of(place, name, binding, version))
            return await stack.enter_async_context(client)

        yield make


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS)
async def test_client_starts_answers_and_reads_a_task(
    speak: Speak, binding: str, version: str
) -> None:
    client = await speak("ask", binding, version, streaming=False)
    [asked] = await told(client, message("Hello"))
    task_id = asked.task.id
    [ended] = await told(client, message("green", task_id=task_id))
    read = await client.get_task(pb.GetTaskRequest(id=task_id))

    assert pb.TASK_STATE_INPUT_REQUIRED == asked.task.status.state
    assert "Which colour?" == asked.task.status.message.parts[0].text
    assert pb.TASK_STATE_COMPLETED == ended.task.status.state
    assert "You like green." == read.artifacts[0].parts[0].text
    assert ended.task.context_id == read.context_id


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS)
async def test_client_sees_pieces_as_they_come(speak: Speak, binding: str, version: str) -> None:
    client = await speak("pieces", binding, version)
    events = await told(client, message("Hello"))

    pieces = [event.artifact_update for event in events if event.HasField("artifact_update")]
    statuses = [event.status_update for event in events if event.HasField("status_update")]
    assert events[0].HasField("task")
    assert [("one ", False), ("two", True)] == [
        (piece.artifact.parts[0].text, piece.append) for piece in pieces
    ]
    assert pb.TASK_STATE_COMPLETED == statuses[-1].status.state


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS)
async def test_client_gets_a_message_and_no_task(speak: Speak, binding: str, version: str) -> None:
    client = await speak("answer", binding, version)
    [event] = await told(client, message("Hello"))

    assert "Directly." == event.message.parts[0].text


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS)
async def test_client_watches_a_task_that_somebody_else_answers_and_cancels(
    speak: Speak, binding: str, version: str
) -> None:
    watcher = await speak("ask", binding, version)
    other = await speak("ask", "JSONRPC", "1.0", streaming=False)
    [asked] = await told(other, message("Hello"))
    task_id = asked.task.id

    watched = watcher.subscribe(pb.SubscribeToTaskRequest(id=task_id))
    async with asyncio.timeout(GUARD_S):
        first = await anext(watched)
        cancelled = await other.cancel_task(pb.CancelTaskRequest(id=task_id))
        rest = [event async for event in watched]

    assert task_id == first.task.id
    assert pb.TASK_STATE_CANCELED == cancelled.status.state
    assert pb.TASK_STATE_CANCELED == rest[-1].status_update.status.state


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS)
async def test_client_learns_what_was_wrong(speak: Speak, binding: str, version: str) -> None:
    client = await speak("ask", binding, version)
    with pytest.raises((A2AError, A2AClientError)) as refused:
        await client.get_task(pb.GetTaskRequest(id="nothing"))

    assert "not found" in str(refused.value).lower()


@pytest.mark.parametrize(("binding", "version"), TRANSPORTS[:3])
async def test_client_lists_the_tasks_of_its_context(
    speak: Speak, binding: str, version: str
) -> None:
    context_id = uuid.uuid4().hex
    client = await speak("refuse", binding, version, streaming=False)
    for _ in range(3):
        await told(client, message("Hello", context_id=context_id))
    asking = pb.ListTasksRequest(context_id=context_id, page_size=2)
    first = await client.list_tasks(asking)
    asking.page_token = first.next_page_token
    second = await client.list_tasks(asking)

    listed = [*first.tasks, *second.tasks]
    assert (3, 2, 1) == (first.total_size, len(first.tasks), len(second.tasks))
    assert {pb.TASK_STATE_REJECTED} == {task.status.state for task in listed}
    assert "" == second.next_page_token


async def test_client_chooses_by_the_card_alone(place: Place) -> None:
    async with place.client("greet", streaming=False) as client:
        [event] = await told(client, message("Ada"))

    assert "Hello Ada!" == event.task.artifacts[0].parts[0].text


async def test_stream_of_0_3_says_that_it_ends_where_somebody_is_asked(
    place: Place, http: aiohttp.ClientSession
) -> None:
    said = {
        "kind": "message",
        "role": "user",
        "messageId": uuid.uuid4().hex,
        "parts": [{"kind": "text", "text": "Hello"}],
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"message": said}}

    async with http.post(place.agent("ask"), json=body) as response:
        text = await response.text()

    assert '"final":true' in text.replace(" ", "").split("data:")[-1]
    assert '"input-required"' in text.split("data:")[-1]


async def test_deleting_a_push_configuration_of_0_3_answers_null(
    place: Place, call: Callable[..., Any]
) -> None:
    said = {
        "kind": "message",
        "role": "user",
        "messageId": uuid.uuid4().hex,
        "parts": [{"kind": "text", "text": "Hello"}],
    }
    task = (await call("ask", "message/send", {"message": said}, version=""))["result"]
    params = {"id": task["id"], "pushNotificationConfigId": "nothing"}

    answer = await call("ask", "tasks/pushNotificationConfig/delete", params, version="")

    assert {"jsonrpc": "2.0", "id": 7, "result": None} == answer


async def test_grpc_checks_tokens_and_versions_as_http_does(guarded: Place) -> None:
    sent = message("Hello")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{guarded.grpc_port}") as channel:
        stub = A2AServiceStub(channel)  # type: ignore[no-untyped-call]  # it is generated

        async def refused(*metadata: tuple[str, str]) -> grpc.StatusCode:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.SendMessage(sent, metadata=metadata, timeout=GUARD_S)
            return error.value.code()

        token = ("authorization", f"Bearer {guarded.token}")
        codes = [
            await refused(("a2a-version", "1.0")),
            await refused(("a2a-version", "1.0"), ("authorization", "Bearer agency_wrong")),
            await refused(token),
            await refused(("a2a-version", "1.7"), token),
        ]
        card = await stub.GetExtendedAgentCard(
            pb.GetExtendedAgentCardRequest(tenant="ask"),
            metadata=(("a2a-version", "1.0"), token),
            timeout=GUARD_S,
        )

    unimplemented, unauthenticated = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED
    assert [unauthenticated, unauthenticated, unimplemented, unimplemented] == codes
    assert "ask" == card.name


async def test_extensions_that_were_named_are_echoed(
    guarded: Place, http: aiohttp.ClientSession
) -> None:
    headers = {
        **guarded.headers,
        "A2A-Version": "1.0",
        "A2A-Extensions": "urn:example:mood, urn:example:other",
    }
    url = guarded.agent("ask") + "/v1/tasks"

    async with http.get(url, headers=headers) as response:
        assert 200 == response.status
        assert "application/a2a+json" == response.content_type
        assert "urn:example:mood" == response.headers["A2A-Extensions"]
