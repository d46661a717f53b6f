"""The operations over a real engine and a database file, that can be closed and opened again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.types import a2a_pb2 as pb

from agency.a2a.operations import ADDRESS, Event, Ground, Operations
from agency.a2a.parts import put
from agency.config.schema import A2a, Publish, Server, Settings
from agency.core.clock import SystemClock
from agency.ports.workspace import Workspaces
from agency.web.patience import Patience
from agency.web.published import Publication
from agency.web.services import Services
from agency.workflows.agent.catalogue import Catalogue
from tests.integration.engine.house import House, open_house

GUARD_S = 15.0
_ids = count(1)


class Caller(User):
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return self._name


def by(name: str = "ann", **state: Any) -> ServerCallContext:
    """The context of a call by somebody."""
    return ServerCallContext(user=Caller(name), state={ADDRESS: "http://desk.example"} | state)


def text(said: str, **more: Any) -> pb.Part:
    return pb.Part(text=said, **more)


def data(value: Any) -> pb.Part:
    part = pb.Part()
    put(part.data, value)
    return part


def request(*parts: pb.Part | str, **more: Any) -> pb.SendMessageRequest:
    """A request that sends a message; what is not of the message is of the configuration."""
    configuration = more.pop("configuration", {})
    message_id = more.pop("message_id", f"m{next(_ids)}")
    said = [text(part) if isinstance(part, str) else part for part in parts]
    message = pb.Message(message_id=message_id, role=pb.ROLE_USER, parts=said, **more)
    return pb.SendMessageRequest(message=message, configuration=configuration)


AT_ONCE = {"return_immediately": True}


class Desk:
    """What callers speak to."""

    def __init__(self, house: House, services: Services, publication: Publication) -> None:
        self.house = house
        self.publication = publication
        self.ground = Ground(services, Patience())

    def speak_for(self, agents: Catalogue, workspaces: Workspaces) -> None:
        """Publish agents as well, which were made over the store of this house."""
        rooms = SimpleNamespace(**vars(self.ground.services) | {"workspaces": workspaces})
        self.ground = Ground(cast(Services, rooms), Patience())
        self.publication = Publication(Publish(), self.house.runs, agents)

    def to(self, name: str) -> Operations:
        return Operations(self.ground, self.publication.get(name))

    async def send(
        self, name: str, *parts: pb.Part | str, caller: str = "ann", **more: Any
    ) -> pb.Task:
        """Send a message that is to be answered with a task."""
        answer = await self.to(name).on_message_send(request(*parts, **more), by(caller))
        assert isinstance(answer, pb.Task), answer
        return answer

    async def get(self, name: str, task_id: str, caller: str = "ann", **more: Any) -> pb.Task:
        return await self.to(name).on_get_task(pb.GetTaskRequest(id=task_id, **more), by(caller))

    async def ended(self, name: str, task_id: str) -> pb.Task:
        await self.house.ended(task_id)
        return await self.get(name, task_id)


def state(task: pb.Task | pb.TaskStatusUpdateEvent) -> str:
    return str(pb.TaskState.Name(task.status.state)).removeprefix("TASK_STATE_").lower()


def texts(parts: Any) -> list[str]:
    return [part.text for part in parts if part.HasField("text")]


def shown(event: Event) -> str:
    """An event in one line."""
    match event:
        case pb.Task():
            return f"task {state(event)}"
        case pb.Message():
            return f"message {' '.join(texts(event.parts))}"
        case pb.TaskStatusUpdateEvent():
            return f"status {state(event)}"
        case _:
            marks = ("+" if event.append else "") + ("." if event.last_chunk else "")
            return f"{event.artifact.artifact_id}{marks} {' '.join(texts(event.artifact.parts))}"


@asynccontextmanager
async def open_desk(
    path: Path,
    *functions: Callable[..., Any],
    a2a: A2a | None = None,
    sync_wait_s: float = GUARD_S,
    **engine: Any,
) -> AsyncIterator[Desk]:
    settings = replace(
        Settings(), a2a=a2a or A2a(), server=replace(Server(), sync_wait_s=sync_wait_s)
    )
    async with open_house(path, *functions, **engine) as house:
        # The rooms that the operations are in.
        rooms = SimpleNamespace(
            tasks=house.store.tasks,
            runs=house.runs,
            updates=house.engine.updates,
            workspaces=None,
            settings=settings,
            clock=SystemClock(),
        )
        yield Desk(house, cast(Services, rooms), Publication(Publish(), house.runs, None))
