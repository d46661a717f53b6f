"""What a push tells of a change: the events that a stream would have, in the version it was set in.

In 1.0 each notification is an event of a stream; in 0.3 it is the whole task.
Source: A2A 1.0, section 4.3.3; A2A 0.3.0, section 9.5.

Importing this module loads the SDK: do it in a thread, when it is first needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from a2a.compat.v0_3 import conversions as convert
from a2a.types import a2a_pb2 as pb

from agency.a2a import wire
from agency.a2a.artifacts import Artifacts
from agency.a2a.following import seen_of
from agency.a2a.telling import TaskEvent, Teller
from agency.a2a.view import written
from agency.core import json
from agency.domain.push import Push, PushProtocol
from agency.domain.task import Task
from agency.domain.update import Update
from agency.errors import TaskNotFound
from agency.ports.task import TaskStore
from agency.ports.workspace import Workspaces


class TaskNews:
    """Tells of tasks; see `agency.a2a.push.sender.News`."""

    def __init__(self, tasks: TaskStore, workspaces: Workspaces | None) -> None:
        """Take where tasks and their files are."""
        self._tasks = tasks
        self._artifacts = Artifacts(tasks, workspaces)

    async def begin(self, push: Push) -> TaskTelling:
        """Begin to tell of a push's task; see `agency.a2a.push.sender.News.begin`."""
        task = await self._tasks.find(push.task_id)
        if task is None:
            raise TaskNotFound(push.task_id)
        return TaskTelling(self._tasks, self._artifacts, task, push)


class TaskTelling:
    """Tells of the changes of one task, as one push wants it."""

    def __init__(self, tasks: TaskStore, artifacts: Artifacts, task: Task, push: Push) -> None:
        self._tasks = tasks
        self._artifacts = artifacts
        self._push = push
        self._teller = Teller(tasks, artifacts, task, address=push.address)

    async def bodies(self, update: Update) -> Sequence[bytes]:
        """Write a change; see `agency.a2a.push.sender.Telling.bodies`."""
        seen = seen_of(update)
        if seen is None:
            return ()
        events = await self._teller.tell(seen)
        if self._push.protocol is PushProtocol.V1_0:
            return [wire.encode(wire.write(_wrapped(event))) for event in events]
        return [await self._whole()] if events else ()

    async def _whole(self) -> bytes:
        task = await self._tasks.find(self._push.task_id)
        if task is None:
            raise TaskNotFound(self._push.task_id)
        artifacts = await self._artifacts.of(task, address=self._push.address)
        whole = convert.to_compat_task(await written(task, artifacts))
        return json.encode(whole.model_dump(mode="json", by_alias=True, exclude_none=True))


def _wrapped(event: TaskEvent) -> pb.StreamResponse:
    if isinstance(event, pb.TaskStatusUpdateEvent):
        return pb.StreamResponse(status_update=event)
    return pb.StreamResponse(artifact_update=event)
