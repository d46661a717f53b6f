"""Agents made with the official SDK: ``python -m tests.a2a_servers.sdk PORT FOLDER``.

There is one at ``/WIRE`` for each of `WIRES`. Tasks are kept in files of FOLDER, so that they
outlive the process, and each message that arrives is a line of ``messages``. What a text asks for:

- ``echo WORDS``: completed with them; ``data``: with a JSON value and a file
- ``ask``: wants a name, and greets; ``login``: wants an authorization
- ``work``: works until the file ``go`` is there; ``fail``, ``reject``: ends so
- ``say``: a message and no task
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, Parse, ParseDict
from google.protobuf.struct_pb2 import Value
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

LOOK_S = 0.05
WIRES = ("1.0", "1.0-rest", "0.3", "0.3-rest", "1.0-poll")
"""Versions of the protocol, over JSON-RPC or HTTP+JSON; ``poll`` does not stream."""


class KeptTasks(InMemoryTaskStore):
    """Keeps tasks in files, too."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(exist_ok=True)

    async def save(self, task: pb.Task, context: ServerCallContext) -> None:
        await super().save(task, context)
        written = json.dumps(MessageToDict(task))
        temporary = self._folder / "new"
        temporary.write_text(written)
        temporary.rename(self._folder / task.id)

    async def get(self, task_id: str, context: ServerCallContext) -> pb.Task | None:
        found = await super().get(task_id, context)
        path = self._folder / task_id
        if found is None and path.is_file():
            found = Parse(path.read_text(), pb.Task())
            await super().save(found, context)
        return found


def text(words: str) -> pb.Part:
    return pb.Part(text=words)


class Agent(AgentExecutor):
    """Does what texts ask for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        assert message is not None
        assert context.task_id is not None
        self._note(message, context)
        words = context.get_user_input()
        if words == "say":
            await event_queue.enqueue_event(
                pb.Message(message_id="m", role=pb.ROLE_AGENT, parts=[text("only said")])
            )
            return
        known = context.current_task
        if known is None:
            await event_queue.enqueue_event(
                pb.Task(
                    id=context.task_id,
                    context_id=context.context_id,
                    status=pb.TaskStatus(state=pb.TASK_STATE_SUBMITTED),
                    history=[message],
                )
            )
        context_id = known.context_id if known is not None else context.context_id
        assert context_id is not None
        updater = TaskUpdater(event_queue, context.task_id, context_id)
        if known is not None:
            await self._answered(updater, message)
        else:
            await self._begun(updater, words)

    def _note(self, message: pb.Message, context: RequestContext) -> None:
        with (self._folder / "messages").open("a") as file:
            headers = (context.call_context.state if context.call_context else {}).get(
                "headers", {}
            )
            line = {
                "id": message.message_id,
                "task": message.task_id,
                "context": message.context_id,
                "hops": MessageToDict(message.metadata).get("agency.hops"),
                "hops_header": headers.get("x-agency-hops"),
                "authorization": headers.get("authorization"),
                "parts": [MessageToDict(part) for part in message.parts],
            }
            file.write(json.dumps(line) + "\n")

    async def _begun(self, updater: TaskUpdater, words: str) -> None:
        await updater.start_work()
        word, _, rest = words.partition(" ")
        match word:
            case "echo":
                await updater.add_artifact([text(rest)], name="echo")
                await updater.complete()
            case "data":
                value = ParseDict({"total": 3, "share": 0.5}, Value())
                picture = pb.Part(raw=b"\x89PNG", media_type="image/png", filename="a.png")
                await updater.add_artifact([pb.Part(data=value), picture], name="result")
                await updater.complete()
            case "ask":
                schema = ParseDict({"schema": {"type": "string"}}, Value())
                asked = updater.new_agent_message([text("Who are you?"), pb.Part(data=schema)])
                await updater.requires_input(asked)
            case "login":
                await updater.requires_auth(updater.new_agent_message([text("Log in at /x.")]))
            case "work":
                while not (self._folder / "go").exists():
                    await asyncio.sleep(LOOK_S)
                await updater.add_artifact([text("worked")], name="work")
                await updater.complete()
            case "fail":
                await updater.failed(updater.new_agent_message([text("no luck")]))
            case "reject":
                await updater.reject(updater.new_agent_message([text("not for you")]))

    async def _answered(self, updater: TaskUpdater, message: pb.Message) -> None:
        parts = message.parts
        answer = parts[0].text or json.dumps(MessageToDict(parts[0].data))
        await updater.add_artifact([text(f"Hello, {answer}!")], name="greeting")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        (self._folder / "cancelled").write_text(context.task_id)
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card_of(port: int, wire: str) -> pb.AgentCard:
    version, _, kind = wire.partition("-")
    binding = "HTTP+JSON" if kind == "rest" else "JSONRPC"
    return pb.AgentCard(
        name="Tester",
        description="Does what it is told.",
        version="7",
        supported_interfaces=[
            pb.AgentInterface(
                url=f"http://127.0.0.1:{port}/{wire}{'' if kind == 'rest' else '/rpc'}",
                protocol_binding=binding,
                protocol_version=version,
            )
        ],
        capabilities=pb.AgentCapabilities(streaming=kind != "poll"),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[pb.AgentSkill(id="echo", name="Echo", description="Says it again.", tags=["t"])],
    )


def mounted(port: int, folder: Path, wire: str) -> Mount:
    card = card_of(port, wire)
    handler = DefaultRequestHandler(Agent(folder), KeptTasks(folder / "tasks"), card)
    is_old = wire.startswith("0.3")
    routes = [
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=is_old),
        *create_rest_routes(handler, enable_v0_3_compat=is_old),
    ]
    return Mount(f"/{wire}", routes=routes)


async def ready(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ready")


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    agents = [mounted(port, folder, wire) for wire in WIRES]
    application = Starlette(routes=[Route("/ready", ready), *agents])
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
